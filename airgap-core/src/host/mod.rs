//! A host: plans, applies, looks at and removes its air gap.

mod apply;
mod boot;
mod explain;
mod guard;
mod lockout;
mod plan;
pub(crate) mod reading;
mod rollback;
mod status;
mod verify;
mod waiter;

use std::path::{Path, PathBuf};

pub use self::apply::Applied;
pub use self::boot::Booted;
pub use self::explain::explain;
pub use self::guard::Guard;
pub use self::lockout::Cut;
pub use self::plan::Plan;
pub use self::status::{ChainDrops, PendingPolicy, Status, WatchStatus};
use crate::denied::DeniedLog;
use crate::error::Error;
use crate::graph::RuleGraph;
use crate::netlink::{Depth, FakeKernel, Kernel};
use crate::netns::NetworkNamespace;

/// A host, or one network namespace of it.
///
/// It may be used from any thread; each call opens a socket of its own.
#[derive(Debug, Clone)]
pub struct Host {
    place: Place,
    /// Where drops are to be logged from the next plan on; none to leave that
    /// as it is.
    denied_log: Option<Option<DeniedLog>>,
    /// Whether a policy is loaded that cuts the caller's own way in.
    even_if_locked_out: bool,
    /// The command that systemd is given to wait for a confirmation.
    command: Option<PathBuf>,
}

/// Where a host's kernel is met.
#[derive(Debug, Clone)]
enum Place {
    /// In the network namespace of the calling thread.
    Here,
    Netns(NetworkNamespace),
    Fake(FakeKernel),
}

impl Host {
    /// The network namespace in which the caller runs.
    ///
    /// # Errors
    /// When the kernel has no nf_tables.
    pub fn open() -> Result<Self, Error> {
        Kernel::open()?;
        Ok(Self {
            place: Place::Here,
            denied_log: None,
            command: None,
            even_if_locked_out: false,
        })
    }

    /// Another network namespace: a path such as `/proc/PID/ns/net`, or a name
    /// of ip-netns(8), whose files in `/etc/netns/NAME/` then stand for those
    /// of `/etc`.
    ///
    /// # Errors
    /// When there is no such namespace, or the caller may not enter it.
    pub fn in_netns(netns: impl AsRef<Path>) -> Result<Self, Error> {
        let host = Self {
            place: Place::Netns(NetworkNamespace::new(netns.as_ref())),
            denied_log: None,
            command: None,
            even_if_locked_out: false,
        };
        host.enter(|| Kernel::open().map(|_| ()))?;
        Ok(host)
    }

    /// A host for tests, whose kernel is a fake: without root, and without any
    /// change to the machine.
    #[must_use]
    pub fn fake(kernel: &FakeKernel) -> Self {
        Self {
            place: Place::Fake(kernel.clone()),
            denied_log: None,
            command: None,
            even_if_locked_out: false,
        }
    }

    /// The same host, whose plans log what is dropped there, or nowhere. A plan
    /// of a host that was not told leaves it as it is loaded.
    #[must_use]
    pub fn log_denied(mut self, log: Option<DeniedLog>) -> Self {
        self.denied_log = Some(log);
        self
    }

    /// The same host, which also loads a policy that cuts the connection over
    /// which the caller is here.
    #[must_use]
    pub fn even_if_locked_out(mut self, yes: bool) -> Self {
        self.even_if_locked_out = yes;
        self
    }

    /// The same host, where this program, which must be the command `airgap`, is
    /// what a transient unit of systemd runs to wait for a confirmation; without
    /// it, `/usr/sbin/airgap`, where it is there.
    #[must_use]
    pub fn command(mut self, program: impl Into<PathBuf>) -> Self {
        self.command = Some(program.into());
        self
    }

    /// Does `work` in the host's network namespace.
    pub(crate) fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        match &self.place {
            Place::Here => work(),
            Place::Netns(netns) => netns.enter(work),
            Place::Fake(kernel) => kernel.enter(work),
        }
    }

    /// Whether its kernel is a fake.
    pub(crate) fn is_fake(&self) -> bool {
        matches!(self.place, Place::Fake(_))
    }

    /// The whole ruleset of the namespace, everybody's tables.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn live(&self) -> Result<RuleGraph, Error> {
        self.enter(|| Ok(Kernel::open()?.read(false, Depth::Full)?.0))
    }
}
