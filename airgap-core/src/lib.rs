//! Puts a Linux host with containers behind an air gap that has exactly the
//! openings its policy names.
//!
//! ```text
//! policy text -> Policy -> RuleGraph -> batch -> kernel
//!                              ^  \                |
//!                              |   plan, show      |
//!                              +------ decode <- dump
//! ```
//!
//! ```no_run
//! use airgap::{Host, Policy};
//!
//! # fn main() -> Result<(), airgap::Error> {
//! let policy = Policy::from_toml("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n")?;
//! let host = Host::open()?;
//! let plan = host.plan(&policy)?;
//! for change in &plan.changes {
//!     println!("{:?} {}", change.kind, change.opening);
//! }
//! host.apply(&plan)?;
//! # Ok(())
//! # }
//! ```

mod changes;
mod compile;
mod delta;
mod denied;
mod difference;
mod docker;
mod error;
pub mod flow;
mod foreign;
pub mod graph;
mod host;
mod netlink;
mod netns;
pub mod policy;
mod relay;
mod state;
mod surroundings;
mod verify;
mod warnings;
mod watch;

pub use changes::{Change, ChangeKind, Changes};
pub use denied::DeniedLog;
pub use docker::DockerResolver;
pub use error::{Error, ErrorKind, KernelError, Unresolved};
pub use flow::{Explanation, Flow, FlowVerdict};
pub use foreign::ForeignDrop;
pub use graph::RuleGraph;
pub use host::{
    Applied, Booted, ChainDrops, Cut, Guard, Host, PendingPolicy, Plan, Status, WatchStatus,
    explain,
};
pub use netlink::{Device, FakeKernel};
pub use policy::{Policy, PolicyError};
pub use state::{Differences, Healed, Journal, NameStatus, Process, Rollback, RollbackReason};
pub use surroundings::Surroundings;
pub use verify::{Counterexample, CounterexampleKind, Verification, verify, verify_in};
pub use warnings::host_warnings;
pub use watch::{WatchEvent, WatchOptions};
