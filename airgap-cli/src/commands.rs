//! What each command does: it asks the library, and prints the answer.

use std::io;

use airgap::policy::schema;
use airgap::{
    Booted, Error, FlowVerdict, Host, Plan, Policy, Status, Surroundings, Verification,
    WatchOptions, host_warnings,
};
use clap::CommandFactory as _;
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Arguments, Command, Format, LogDenied, LogTarget, Output, PolicyFile};
use crate::progress::Progress;
use crate::units::{self, Units};
use crate::{print, watch};

/// Why a command failed.
pub enum Failure {
    /// The library said so.
    Library(Error),
    /// The answer could not be written.
    Output(io::Error),
    /// The units could not be put in their place or taken away.
    Units(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<airgap::PolicyError> for Failure {
    fn from(error: airgap::PolicyError) -> Self {
        Self::Library(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// The exit code that says it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Library(Error::Policy(_)) => 2,
            // Who reads the answer has had enough, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }
}

/// The state of an air gap, and of the unit that loads it at boot.
#[derive(Serialize)]
struct StatusHere<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// Whether it comes back after a boot; none where no unit could.
    comes_back: Option<bool>,
}

const UNDECIDED: u8 = 1;
const DIFFERENT: u8 = 3;
const NO_AIR_GAP: u8 = 4;

/// Runs a command and answers its exit code.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    let Arguments {
        netns,
        output,
        command,
    } = arguments;
    let host = || match &netns {
        Some(netns) => Host::in_netns(netns),
        None => Host::open(),
    };
    match command {
        Command::Check(file) => return check(&file, output),
        Command::Show {
            policy,
            format,
            log,
        } => {
            let policy = read(&policy, output)?;
            // Without one of these it needs no rights.
            let graph = if netns.is_some() || log.target.is_some() {
                logging(host()?, &log).compile(&policy)?
            } else {
                airgap::RuleGraph::compile(&policy)?
            };
            match format {
                Format::Nft => print::text(&graph)?,
                Format::Json => print::json(&graph)?,
                Format::Dot => print::text(graph.to_dot())?,
            }
        }
        Command::Schema => print::json(&schema())?,
        Command::Plan { policy, log } => {
            let policy = read(&policy, output)?;
            let plan = plan(&logging(host()?, &log), &policy)?;
            print::warnings(&policy, &host_warnings(&policy, &plan.surroundings), output);
            match output {
                Output::Json => print::json(&plan)?,
                Output::Text => print::plan(&plan)?,
            }
            return Ok(if plan.changed() { DIFFERENT } else { 0 });
        }
        Command::Verify { live, policy } => {
            let policy = read(&policy, output)?;
            let host = host()?;
            let found = if live {
                host.verify(&policy)?
            } else {
                host.verify_compiled(&policy)?
            };
            match output {
                Output::Json => print::json(&found)?,
                Output::Text => print::text(&found)?,
            }
            return Ok(match found {
                Verification::Verified => 0,
                Verification::Counterexample(_) => DIFFERENT,
                Verification::Undecided { .. } => UNDECIDED,
            });
        }
        Command::Apply {
            policy,
            confirm_within,
            even_if_locked_out,
            log,
        } => {
            let policy = read(&policy, output)?;
            let host = logging(host()?, &log).even_if_locked_out(even_if_locked_out);
            let plan = plan(&host, &policy)?;
            print::warnings(&policy, &host_warnings(&policy, &plan.surroundings), output);
            let count = plan.graph().element_count();
            let progress = Progress::begin(format!("loading a ruleset of {count} elements"));
            let (applied, left) = match confirm_within {
                None => (host.apply(&plan)?, None),
                Some(within) => {
                    let guard = waiting(host)?.apply_guarded(&plan, within)?;
                    (guard.applied(), Some(guard.remaining().unwrap_or_default()))
                }
            };
            drop(progress);
            match output {
                Output::Json => print::json(&json!({
                    "applied": applied,
                    "plan": plan,
                    "pending": left.map(|left| json!({ "left": left.as_secs() })),
                }))?,
                Output::Text => print::applied(&plan, &applied, left)?,
            }
        }
        Command::Confirm => {
            waiting(host()?)?.confirm()?;
            match output {
                Output::Json => print::json(&json!({ "confirmed": true }))?,
                Output::Text => print::text("Confirmed: the policy stays, after a reboot too.\n")?,
            }
        }
        Command::Rollback => {
            let rollback = waiting(host()?)?.rollback()?;
            match output {
                Output::Json => print::json(&rollback)?,
                Output::Text => print::text(
                    "Rolled back and read back: what was there before is loaded again.\n",
                )?,
            }
        }
        Command::AwaitConfirmation { id } => host()?.await_confirmation(&id)?,
        Command::Status { full } => {
            let progress = Progress::begin("reading the ruleset");
            let status = host()?.status(full)?;
            drop(progress);
            // Units act in the host's own network namespace.
            let comes_back = netns.is_none().then(units::comes_back).flatten();
            match output {
                Output::Json => print::json(&StatusHere {
                    status: &status,
                    comes_back,
                })?,
                Output::Text => print::status(&status, comes_back)?,
            }
            return Ok(match () {
                () if !status.sealed => NO_AIR_GAP,
                () if !status.drift.is_empty() => DIFFERENT,
                () => 0,
            });
        }
        Command::Watch { heal_only } => {
            watch::run(&host()?, &WatchOptions { own: !heal_only }, output)?;
        }
        Command::Explain { policy, flow, .. } => {
            let explanation = match policy {
                None => host()?.explain_live(&flow)?,
                Some(path) => {
                    let policy = read(&PolicyFile { path }, output)?;
                    match netns.is_some() {
                        true => host()?.explain(&policy, &flow)?,
                        // Without it this needs no rights.
                        false => airgap::explain(&policy, &flow)?,
                    }
                }
            };
            match output {
                Output::Json => print::json(&explanation)?,
                Output::Text => print::text(format_args!("{explanation}\n"))?,
            }
            return Ok(match explanation.verdict {
                FlowVerdict::Passes => 0,
                FlowVerdict::Dropped => DIFFERENT,
                FlowVerdict::Undecided => 1,
            });
        }
        Command::Remove => {
            let removed = host()?.remove()?;
            match output {
                Output::Json => print::json(&json!({ "removed": removed }))?,
                Output::Text if removed => print::text("The air gap is removed.\n")?,
                Output::Text => print::text("There was no air gap.\n")?,
            }
        }
        Command::Boot { way_in } => {
            let host = host()?;
            let booted = if way_in {
                host.boot_way_in()
            } else {
                host.boot()
            }?;
            match output {
                Output::Json => print::json(&booted)?,
                Output::Text => print::booted(&booted)?,
            }
            return Ok(u8::from(matches!(booted, Booted::WayIn { .. })));
        }
        Command::Install(root) => {
            let done = Units::of(root.folder)?.install()?;
            match output {
                Output::Json => print::json(&json!({ "units": done }))?,
                Output::Text => print::installed(&done)?,
            }
        }
        Command::Uninstall(root) => {
            let here = root.folder.is_none();
            let done = Units::of(root.folder)?.uninstall()?;
            let sealed = here && host()?.status(false).is_ok_and(|status| status.sealed);
            match output {
                Output::Json => print::json(&json!({ "units": done, "sealed": sealed }))?,
                Output::Text => print::uninstalled(&done, sealed)?,
            }
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "airgap", &mut script);
            print::bytes(&script)?;
        }
        Command::Man => print::manual(Arguments::command())?,
    }
    Ok(0)
}

/// The host, told where to log drops.
fn logging(host: Host, log: &LogDenied) -> Host {
    match log.target {
        Some(LogTarget(target)) => host.log_denied(target),
        None => host,
    }
}

/// The host, told that this program can wait for a confirmation.
fn waiting(host: Host) -> io::Result<Host> {
    Ok(host.command(std::env::current_exe()?))
}

/// Reads a policy and prints its warnings.
fn read(file: &PolicyFile, output: Output) -> Result<Policy, Failure> {
    let progress = Progress::begin("reading the policy");
    let policy = Policy::load(&file.path)?;
    let warnings = policy.warnings();
    drop(progress);
    print::warnings(&policy, &warnings, output);
    Ok(policy)
}

/// Plans, which reads the whole air gap.
fn plan(host: &Host, policy: &Policy) -> Result<Plan, Failure> {
    let _progress = Progress::begin("comparing the ruleset with the policy");
    Ok(host.plan(policy)?)
}

fn check(file: &PolicyFile, output: Output) -> Result<u8, Failure> {
    let policy = match Policy::load(&file.path) {
        Ok(policy) => policy,
        // In JSON the mistakes are the answer.
        Err(error) if output == Output::Json => {
            print::json(&json!({ "ok": false, "diagnostics": error.diagnostics() }))?;
            return Ok(2);
        }
        Err(error) => return Err(error.into()),
    };
    let mut warnings = policy.warnings();
    // What only the host can tell is told where it can be asked.
    if let Ok(surroundings) = Surroundings::observe(&policy) {
        warnings.extend(host_warnings(&policy, &surroundings));
    }
    if output == Output::Json {
        print::json(&json!({ "ok": true, "hash": policy.hash(), "diagnostics": warnings }))?;
    } else {
        print::warnings(&policy, &warnings, output);
        print::checked(&policy, warnings.len())?;
    }
    Ok(0)
}
