//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use airgap::DeniedLog;
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;

/// Seals a Linux host with containers behind an air gap that has exactly the
/// openings its policy names.
///
/// Answers go to standard output, errors and warnings to standard error. Exit
/// codes: 0 done, or nothing to do; 1 it failed, and says whether anything was loaded;
/// 2 bad policy or usage; 3 there is a difference; 4 there is no air gap.
#[derive(Parser)]
#[command(
    name = "airgap",
    version,
    max_term_width = 100,
    after_help = "Example:\n  airgap apply /etc/airgap/policy.toml"
)]
pub struct Arguments {
    /// Acts in this network namespace: a name of ip-netns(8), or a path such as
    /// /proc/PID/ns/net
    #[arg(long, global = true, value_name = "NAME")]
    pub netns: Option<PathBuf>,
    /// How answers and errors are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Reads and judges a policy
    ///
    /// All mistakes are reported in one run, each with its line and column.
    #[command(
        after_help = "Example:\n  airgap check policy.toml\n\nExit codes: 0 good, 2 bad policy."
    )]
    Check(PolicyFile),
    /// Shows what would be loaded
    #[command(
        after_help = "Examples:\n  airgap show policy.toml\n  airgap show policy.toml --format dot | dot -Tsvg > policy.svg"
    )]
    Show {
        #[command(flatten)]
        policy: PolicyFile,
        /// nft(8) text, JSON, or a picture for dot(1)
        #[arg(long, value_enum, default_value_t = Format::Nft)]
        format: Format,
        #[command(flatten)]
        log: LogDenied,
    },
    /// Prints the JSON Schema of policies, for editors
    #[command(after_help = "Example:\n  airgap schema > policy.schema.json")]
    Schema,
    /// Shows the difference between the host and a policy; changes nothing
    #[command(
        after_help = "Example:\n  airgap plan policy.toml\n\nExit codes: 0 no difference, 3 there is one."
    )]
    Plan {
        #[command(flatten)]
        policy: PolicyFile,
        #[command(flatten)]
        log: LogDenied,
    },
    /// Proves that the openings are the policy's: none more, none missing
    ///
    /// Over all packets that there can be, not over a sample. What differs is
    /// shown as a flow, with what else its packet is. The hooks of IP are looked
    /// at: not the egress chains of `strict`, nor chains of family bridge.
    #[command(
        after_help = "Examples:\n  airgap verify policy.toml\n  airgap verify --live policy.toml\n\nExit codes: 0 proved, 3 with a counterexample, 1 undecided."
    )]
    Verify {
        /// Looks at what the kernel holds, everybody's tables, and not at what
        /// the policy compiles to
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        policy: PolicyFile,
    },
    /// Loads a policy, in one transaction, and reads it back
    ///
    /// With --confirm-within it returns when the policy is loaded and somebody
    /// waits for the time. Unless `airgap confirm` comes before it is over, what
    /// was there before is loaded again, whatever has become of this terminal.
    #[command(
        after_help = "Examples:\n  airgap apply policy.toml\n  airgap apply --confirm-within 60s policy.toml\n\nExit codes: 0 loaded, or already there, 1 it failed: the kernel said no, a policy is pending, or it would cut the connection over which you are here."
    )]
    Apply {
        #[command(flatten)]
        policy: PolicyFile,
        /// Rolls back unless `airgap confirm` comes within this time, such as
        /// 60s, 5m or 1h
        #[arg(long, value_name = "TIME", value_parser = time)]
        confirm_within: Option<Duration>,
        /// Loads it also if it cuts the connection over which you are here
        #[arg(long)]
        even_if_locked_out: bool,
        #[command(flatten)]
        log: LogDenied,
    },
    /// Keeps the policy that is pending
    #[command(
        after_help = "Example:\n  airgap confirm\n\nExit codes: 0 kept, 1 nothing is pending, or it failed."
    )]
    Confirm,
    /// Takes the policy that is pending back now
    #[command(
        after_help = "Example:\n  airgap rollback\n\nExit codes: 0 what was there before is loaded again, 1 nothing is pending, or it failed."
    )]
    Rollback,
    /// Waits for the time of a pending policy and takes it back then; systemd
    /// is given this to carry
    #[command(hide = true)]
    AwaitConfirmation {
        /// The name of what is pending
        id: String,
    },
    /// Shows what is loaded, since when, what was dropped, and any drift
    #[command(
        after_help = "Example:\n  airgap status\n\nExit codes: 0 as loaded, 3 drift, 4 no air gap."
    )]
    Status {
        /// Compares sets of more than 10,000 elements one by one too
        #[arg(long)]
        full: bool,
    },
    /// Keeps what is loaded as it is until ended: what others change, flush or
    /// delete is put back at once, and new network devices are covered
    ///
    /// Each event is a line of standard output. One watch at a time runs in a
    /// network namespace. SIGTERM and SIGINT end it, and leave the air gap as it
    /// is.
    #[command(
        after_help = "Example:\n  airgap watch\n\nExit codes: 0 ended by a signal, 1 it cannot watch, or another watch runs."
    )]
    Watch {
        /// Leaves the tables to everybody. Without this the watch owns them where
        /// the kernel can (6.9 and later): it then refuses what others change, and
        /// airgap loads through the watch
        #[arg(long)]
        heal_only: bool,
    },
    /// Says what happens to a flow, and which line or rule decides
    ///
    /// A flow reads `host -> tcp 203.0.113.9:443`, `tcp 203.0.113.9 -> host:22` or
    /// `docker0 172.17.0.2 -> tcp 203.0.113.9:443`; names of hosts and of running
    /// containers may stand for addresses. `as USER` at the end names the user
    /// whose process opens it. It passes if its answers do too.
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:\n  airgap explain policy.toml 'host -> tcp 203.0.113.9:443'\n  airgap explain --live 'tcp 203.0.113.9 -> host:22'\n\nExit codes: 0 passes, 3 dropped, 1 cannot be told."
    )]
    Explain {
        /// The policy: TOML, JSON where the name ends in .json, or - for
        /// standard input
        #[arg(
            value_name = "POLICY",
            required_unless_present = "live",
            conflicts_with = "live"
        )]
        policy: Option<PathBuf>,
        /// The flow
        #[arg(value_name = "FLOW", required = true)]
        flow: String,
        /// Under what the kernel holds now, everybody's tables, in place of a
        /// policy
        #[arg(long)]
        live: bool,
    },
    /// Takes the air gap away
    #[command(after_help = "Example:\n  airgap remove")]
    Remove,
    /// Loads the last confirmed policy, as the unit does before there is a
    /// network
    ///
    /// Host names, users and name servers stand for what they did when it was
    /// confirmed. If it cannot be loaded, nothing passes but what its admits
    /// let in to the host itself, and that is a failure. Where no policy was
    /// ever confirmed nothing is done.
    #[command(
        after_help = "Example:\n  airgap boot\n\nExit codes: 0 loaded, or nothing was ever confirmed, 1 it could not be loaded."
    )]
    Boot {
        /// Loads only the administrators' way in
        #[arg(long)]
        way_in: bool,
    },
    /// Has the last confirmed policy loaded at each boot, by systemd, and
    /// watched
    ///
    /// Enables the units airgap.service, without which Docker then does not
    /// start, and airgap-watch.service, which runs `airgap watch`. No rule is
    /// loaded now.
    #[command(after_help = "Example:\n  airgap install")]
    Install(Root),
    /// Takes back what `install` did; what is loaded stays loaded
    #[command(after_help = "Example:\n  airgap uninstall")]
    Uninstall(Root),
    /// Prints completions for a shell
    #[command(after_help = "Example:\n  airgap completions bash > /etc/bash_completion.d/airgap")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Prints the manual page
    #[command(after_help = "Example:\n  airgap man > /usr/local/share/man/man8/airgap.8")]
    Man,
}

/// A policy.
#[derive(clap::Args)]
pub struct PolicyFile {
    /// The policy: TOML, JSON where the name ends in .json, or - for standard
    /// input
    #[arg(value_name = "POLICY")]
    pub path: PathBuf,
}

/// Where units are put.
#[derive(clap::Args)]
pub struct Root {
    /// Does it in the image of a host below this folder
    #[arg(long = "root", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Whether drops are logged.
#[derive(clap::Args)]
pub struct LogDenied {
    /// Logs what is dropped, 10 packets a second for each rule, with the chain
    /// in front: `kernel`, `nflog:GROUP`, or `off`; without this option as it is
    /// loaded
    #[arg(long = "log-denied", value_name = "WHERE", value_parser = log_target)]
    pub target: Option<LogTarget>,
}

/// Where drops are logged, or nowhere.
#[derive(Clone, Copy)]
pub struct LogTarget(pub Option<DeniedLog>);

/// A time, such as `60s` or `5m`.
fn time(text: &str) -> Result<Duration, String> {
    let wanted = "expected a time such as 60s, 5m or 1h";
    let time: SignedDuration = text.parse().map_err(|e| format!("{wanted}: {e}"))?;
    Duration::try_from(time)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{wanted}, and not none or less"))
}

fn log_target(text: &str) -> Result<LogTarget, String> {
    match text {
        "off" => Ok(LogTarget(None)),
        _ => text.parse().map(|log| LogTarget(Some(log))),
    }
}

/// Ways to show a rule graph.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// A file for nft -f
    Nft,
    /// The graph as JSON
    Json,
    /// A digraph for dot(1)
    Dot,
}
