//! Answers the cases of a folder by the crate; see run.py.
#![allow(missing_docs, clippy::expect_used)] // a test

use std::path::Path;
use std::{env, fs};

use airgap::policy::{Diagnostic, Severity, Style};
use airgap::{ChangeKind, Error, FlowVerdict, Host, Policy, explain, host_warnings};

fn say(key: &str, value: impl ToString) {
    println!(
        "{}",
        serde_json::to_string(&[key, &value.to_string()]).expect("two texts")
    );
}

fn fields(diagnostic: &Diagnostic, rendered: &str) -> String {
    [
        match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        &diagnostic.place.line.to_string(),
        &diagnostic.place.column.to_string(),
        &diagnostic.end.line.to_string(),
        &diagnostic.end.column.to_string(),
        &diagnostic.path,
        &diagnostic.message,
        &diagnostic.label,
        diagnostic.help.as_deref().unwrap_or_default(),
        rendered,
    ]
    .join("|")
}

fn failed(at: &str, error: &Error) {
    let code = serde_json::to_value(error.kind()).expect("a kind is a text");
    say(
        &format!("{at} code"),
        code.as_str().expect("a kind is a text"),
    );
    say(&format!("{at} message"), error);
    say(&format!("{at} errno"), error.errno().unwrap_or(0));
    for (index, one) in error.diagnostics().iter().enumerate() {
        let rendered = match error {
            Error::Policy(policy) => {
                airgap::policy::render(one, policy.policy_source(), Style::Plain)
            }
            _ => one.message.clone(),
        };
        say(&format!("{at} mistake {index}"), fields(one, &rendered));
    }
}

fn case(path: &Path, flows: &str) -> Result<(), (&'static str, Error)> {
    let policy = Policy::load(path).map_err(|error| ("load", error.into()))?;
    say("hash", policy.hash());
    say("json", policy.to_json());
    for flow in flows.lines() {
        match explain(&policy, flow) {
            Ok(known) => {
                let verdict = match known.verdict {
                    FlowVerdict::Passes => "passes",
                    FlowVerdict::Dropped => "dropped",
                    FlowVerdict::Undecided => "undecided",
                };
                say(&format!("flow {flow} verdict"), verdict);
                say(&format!("flow {flow} text"), &known);
                let json = serde_json::to_string(&known).expect("JSON");
                say(&format!("flow {flow} json"), json);
            }
            Err(error) => failed(&format!("flow {flow}"), &error),
        }
    }
    let host = Host::open().map_err(|error| ("open", error))?;
    let plan = host.plan(&policy).map_err(|error| ("plan", error))?;
    say("plan", serde_json::to_string(&plan).expect("JSON"));
    for (index, change) in plan.changes.iter().enumerate() {
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        let place = change
            .origin
            .as_ref()
            .map(|origin| origin.place)
            .unwrap_or_default();
        let path = change
            .origin
            .as_ref()
            .map(|origin| origin.path())
            .unwrap_or_default();
        let was = change.was.unwrap_or_default();
        let line = format!(
            "{kind}|{}|{}|{}|{was}|{path}",
            place.line, place.column, change.opening
        );
        say(&format!("change {index}"), line);
    }
    let mut warnings = policy.warnings();
    warnings.extend(host_warnings(&policy, &plan.surroundings));
    for (index, one) in warnings.iter().enumerate() {
        say(
            &format!("warning {index}"),
            fields(one, &policy.render(one, Style::Plain)),
        );
    }
    say("nft", plan.graph());
    let proof = host
        .verify_compiled(&policy)
        .map_err(|error| ("verify", error))?;
    say("verify json", serde_json::to_string(&proof).expect("JSON"));
    let applied = host.apply(&plan).map_err(|error| ("apply", error))?;
    say("applied", applied.changed);
    let proof = host.verify(&policy).map_err(|error| ("verify", error))?;
    say("live json", serde_json::to_string(&proof).expect("JSON"));
    let status = host.status(true).map_err(|error| ("status", error))?;
    say("status", serde_json::to_string(&status).expect("JSON"));
    say("removed", host.remove().map_err(|error| ("remove", error))?);
    Ok(())
}

fn main() {
    let name = env::args().nth(1).expect("the name of a policy file");
    let flows = fs::read_to_string("flows").expect("flows");
    if let Err((at, error)) = case(Path::new(&name), &flows) {
        failed(at, &error);
    }
    if let Err(error) = Host::in_netns("no-such-namespace") {
        failed("netns", &error);
    }
}
