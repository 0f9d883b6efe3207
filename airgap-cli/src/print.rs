//! How answers and errors look.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::time::Duration;

use airgap::policy::{Diagnostic, Style};
use airgap::{
    Applied, Booted, ChangeKind, Changes, DockerResolver, Error, ErrorKind, Plan, Policy, Status,
    WatchStatus,
};
use serde::Serialize;
use serde_json::json;

use crate::arguments::Output;
use crate::commands::Failure;
use crate::units::Done;

/// More changes than this of one kind are counted, not listed. JSON lists all.
const LISTED_MAX: usize = 50;
/// So many changes by others are listed, the newest first. JSON lists more.
const HEALED_MAX: usize = 3;

/// Writes text as it is.
pub fn text(what: impl Display) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    write!(out, "{what}")?;
    out.flush()
}

/// Writes bytes as they are.
pub fn bytes(what: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(what)?;
    out.flush()
}

/// Writes one JSON object.
pub fn json(what: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, what)?;
    writeln!(out)?;
    out.flush()
}

fn colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn error_style() -> Style {
    if colour(io::stderr().is_terminal()) {
        Style::Coloured
    } else {
        Style::Plain
    }
}

/// Writes warnings about a policy to standard error.
pub fn warnings(policy: &Policy, warnings: &[Diagnostic], output: Output) {
    for warning in warnings {
        match output {
            Output::Text => eprintln!("{}", policy.render(warning, error_style())),
            Output::Json => eprintln!("{}", json!({ "warning": warning })),
        }
    }
}

/// Writes why a command failed to standard error.
pub fn error(failure: &Failure, output: Output) {
    match (failure, output) {
        (Failure::Output(error), _) if error.kind() == io::ErrorKind::BrokenPipe => {}
        (Failure::Output(error), _) => eprintln!("airgap: could not write the answer: {error}"),
        (Failure::Units(error), Output::Text) => eprintln!("airgap: {error}"),
        (Failure::Units(error), Output::Json) => {
            eprintln!(
                "{}",
                json!({ "error": error, "code": "units", "errno": null })
            );
        }
        (Failure::Library(Error::Policy(error)), Output::Text) => {
            eprintln!("{}", error.render(error_style()))
        }
        (Failure::Library(Error::Policy(error)), Output::Json) => {
            // The text of a flow is answered as that of a policy.
            let what = match error.policy_source().name() {
                "<flow>" => "the flow has mistakes",
                _ => "the policy has mistakes",
            };
            eprintln!(
                "{}",
                json!({ "error": what, "code": ErrorKind::Policy, "diagnostics": error.diagnostics() })
            );
        }
        (Failure::Library(error), Output::Text) => eprintln!("airgap: {error}"),
        (Failure::Library(error), Output::Json) => {
            eprintln!(
                "{}",
                json!({ "error": error.to_string(), "code": error.kind(), "errno": error.errno() })
            );
        }
    }
}

/// Writes the verdict on a good policy.
pub fn checked(policy: &Policy, warnings: usize) -> io::Result<()> {
    let warned = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        n => format!(", {n} warnings"),
    };
    text(format_args!(
        "{}: good{warned} (sha256:{})\n",
        policy.source().name(),
        policy.hash()
    ))
}

/// Writes what would change.
pub fn plan(plan: &Plan) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if plan.changed() {
        list(&mut out, &plan.changes)?;
        if plan.changes.is_empty() {
            writeln!(
                out,
                "No opening changes; what is loaded is brought up to the policy's text and this version."
            )?;
        }
    } else {
        writeln!(out, "Nothing to change: the host is as the policy says.")?;
    }
    for (name, addresses) in &plan.surroundings.names {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "  {name} is {}", addresses.join(", "))?;
    }
    cuts(&mut out, plan)?;
    foreign(&mut out, &plan.foreign)?;
    out.flush()
}

fn list(out: &mut impl io::Write, changes: &Changes) -> io::Result<()> {
    let coloured = colour(io::stdout().is_terminal());
    for (kind, code) in [
        (ChangeKind::Added, 32),
        (ChangeKind::Changed, 33),
        (ChangeKind::Removed, 31),
    ] {
        for change in changes.of_kind(kind).take(LISTED_MAX) {
            if coloured {
                writeln!(out, "\x1b[{code}m{change}\x1b[0m")?;
            } else {
                writeln!(out, "{change}")?;
            }
        }
        let more = changes.count_of(kind).saturating_sub(LISTED_MAX);
        if more > 0 {
            writeln!(out, "{} and {more} more", kind.sign())?;
        }
    }
    Ok(())
}

/// Connections that stand and would be cut.
fn cuts(out: &mut impl io::Write, plan: &Plan) -> io::Result<()> {
    for cut in plan.cuts.iter().take(LISTED_MAX) {
        writeln!(out, "cuts: {cut}")?;
    }
    let more = plan.cuts.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        writeln!(out, "cuts: and {more} more")?;
    }
    Ok(())
}

/// Chains of other programs that could cut an opening.
fn foreign(out: &mut impl io::Write, drops: &[airgap::ForeignDrop]) -> io::Result<()> {
    for drop in drops {
        let owner = drop
            .owner
            .as_deref()
            .map(|owner| format!(" of {owner}"))
            .unwrap_or_default();
        let why = if drop.policy_drop {
            "drops what its rules do not accept"
        } else {
            "has rules that drop"
        };
        writeln!(
            out,
            "note: chain {} in table {}{owner}, at hook {}, {why}; it can cut an opening of the policy",
            drop.chain, drop.table, drop.hook
        )?;
    }
    Ok(())
}

/// Writes what an apply did.
pub fn applied(plan: &Plan, applied: &Applied, left: Option<Duration>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if applied.changed {
        list(&mut out, &plan.changes)?;
        writeln!(
            out,
            "Loaded and read back: the host has the openings of {}.",
            plan.policy().source().name()
        )?;
    } else {
        writeln!(
            out,
            "Nothing was sent: the host already is as the policy says."
        )?;
    }
    if let Some(left) = left {
        writeln!(
            out,
            "Pending: it is rolled back in {} unless `airgap confirm` comes before.",
            time(left)
        )?;
    }
    out.flush()
}

/// A time in words, to the second.
fn time(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// What is pending, and what was.
fn pending(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    if let Some(pending) = &status.pending {
        let waits = if pending.awaited {
            ""
        } else {
            "; nobody waits for that, and the next `airgap apply`, `confirm` or `rollback` sees to it"
        };
        writeln!(
            out,
            "pending: sha256:{} from {}, loaded by {}, is rolled back in {} unless confirmed{waits}",
            pending.hash,
            pending.source,
            pending.by,
            time(Duration::from_secs(pending.left))
        )?;
    }
    if let Some(rollback) = &status.last_rollback {
        writeln!(out, "before:  {rollback}")?;
    }
    Ok(())
}

/// Writes the state of an air gap, and whether it comes back after a boot where
/// that can be told.
pub fn status(status: &Status, comes_back: Option<bool>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if !status.sealed {
        writeln!(out, "No air gap.")?;
        if let Some(source) = &status.source {
            writeln!(out, "One was loaded from {source}; something took it away.")?;
        }
        watch(&mut out, status.watch.as_ref())?;
        pending(&mut out, status)?;
        return out.flush();
    }
    writeln!(out, "Sealed.")?;
    if let Some(hash) = &status.hash {
        writeln!(out, "policy:  sha256:{hash}{}", source_of(status))?;
    }
    if let Some(since) = status.since.and_then(|since| i64::try_from(since).ok()) {
        match jiff::Timestamp::from_second(since) {
            Ok(time) => writeln!(out, "since:   {time}")?,
            Err(_) => writeln!(out, "since:   an impossible time")?,
        }
    }
    pending(&mut out, status)?;
    if let Some(surroundings) = &status.surroundings {
        for (name, addresses) in &surroundings.names {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let watched = status.watch.as_ref();
            let more = watched.and_then(|watch| watch.journal.names.get(name));
            let more = more.map(ToString::to_string).unwrap_or_default();
            writeln!(out, "name:    {name} is {}{more}", addresses.join(", "))?;
        }
        if let Some(log) = surroundings.denied_log {
            writeln!(out, "log:     what is dropped goes to {log}")?;
        }
    }
    if let Some(DockerResolver::Open(reason)) =
        status.surroundings.as_ref().map(|s| &s.docker_resolver)
    {
        writeln!(
            out,
            "open:    containers can ask the network for names through Docker and the local resolver: {reason}"
        )?;
    }
    match comes_back {
        Some(true) => writeln!(out, "boot:    the last confirmed policy is loaded at boot")?,
        Some(false) => writeln!(
            out,
            "boot:    nothing loads a policy at boot; `airgap install` sees to it"
        )?,
        None => {}
    }
    for drop in status.dropped.iter().filter(|drop| drop.packets > 0) {
        let reason = drop.reason.as_deref().unwrap_or("no opening");
        writeln!(
            out,
            "dropped: {} packets, {} bytes in {} {} ({reason})",
            drop.packets, drop.bytes, drop.family, drop.chain
        )?;
    }
    match status.drift.as_slice() {
        [] => writeln!(out, "drift:   none")?,
        drift => {
            for difference in drift {
                writeln!(out, "drift:   {difference}")?;
            }
        }
    }
    foreign(&mut out, &status.foreign)?;
    watch(&mut out, status.watch.as_ref())?;
    out.flush()
}

fn watch(out: &mut impl io::Write, status: Option<&WatchStatus>) -> io::Result<()> {
    let Some(WatchStatus { running, journal }) = status else {
        return Ok(());
    };
    let running = match (running, journal.owns) {
        (true, true) => "running, and the kernel lets nobody else change the air gap",
        (true, false) => "running",
        (false, _) => "not running",
    };
    match journal.healed {
        0 => writeln!(out, "watch:   {running}; nothing was changed by others")?,
        1 => writeln!(out, "watch:   {running}; healed once")?,
        n => writeln!(out, "watch:   {running}; healed {n} times")?,
    }
    if let Some(failure) = &journal.failure {
        writeln!(out, "watch:   does not work: {failure}")?;
    }
    for healed in journal.history.iter().rev().take(HEALED_MAX) {
        match i64::try_from(healed.at).map(jiff::Timestamp::from_second) {
            Ok(Ok(time)) => writeln!(out, "healed:  {time} {healed}")?,
            _ => writeln!(out, "healed:  {healed}")?,
        }
    }
    Ok(())
}

/// Writes what a boot loaded. Where that is less than the policy, why.
pub fn booted(booted: &Booted) -> io::Result<()> {
    match booted {
        Booted::Nothing => {
            text("No policy was ever confirmed here, so that there is none to load.\n")
        }
        Booted::Policy {
            hash,
            source,
            notes,
        } => {
            for note in notes {
                eprintln!("airgap: note: {note}");
            }
            text(format_args!(
                "Loaded the last confirmed policy, sha256:{hash} from {source}.\n"
            ))
        }
        Booted::Pending { hash, source } => text(format_args!(
            "A policy is loaded and waits to be confirmed, sha256:{hash} from {source}: nothing was done.\n"
        )),
        Booted::WayIn {
            reason,
            admits,
            notes,
        } => {
            eprintln!("airgap: the last confirmed policy is not loaded: {reason}");
            for note in notes {
                eprintln!("airgap: note: {note}");
            }
            let open = match admits {
                0 => "Nothing is open".to_owned(),
                1 => "Only the way in is open, 1 admit".to_owned(),
                n => format!("Only the way in is open, {n} admits"),
            };
            text(format_args!(
                "{open}. Apply a policy, then start Docker: `systemctl start docker`.\n"
            ))
        }
    }
}

/// Writes that the air gap comes back after a boot.
pub fn installed(done: &[Done]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for Done { unit, file } in done {
        match file {
            Some(file) => writeln!(out, "Enabled {unit}, as {}.", file.display())?,
            None => writeln!(out, "Enabled {unit}.")?,
        }
    }
    writeln!(
        out,
        "The last confirmed policy is loaded at each boot, and Docker does not start without it."
    )?;
    out.flush()
}

/// Writes what is left when the air gap no longer comes back.
pub fn uninstalled(done: &[Done], sealed: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for Done { unit, .. } in done {
        writeln!(out, "Disabled {unit}.")?;
    }
    if sealed {
        writeln!(
            out,
            "The air gap stays loaded until the next boot, after which this host is open; `airgap remove` takes it away \
             now."
        )?;
    }
    out.flush()
}

fn source_of(status: &Status) -> String {
    status
        .source
        .as_ref()
        .map(|source| format!(" from {source}"))
        .unwrap_or_default()
}

/// Writes the manual page with those of all commands behind it.
pub fn manual(command: clap::Command) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let page = clap_mangen::Man::new(command.clone()).section("8");
    page.render(&mut out)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
    {
        writeln!(out, ".SH \"AIRGAP {}\"", sub.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(sub.clone());
        page.render_description_section(&mut out)?;
        page.render_options_section(&mut out)?;
        page.render_extra_section(&mut out)?;
    }
    out.flush()
}
