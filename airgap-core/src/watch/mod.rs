//! Staying sealed in spite of others: a watch hears of every change of the
//! ruleset and of the network's devices, and puts back what was loaded.

mod bring;
mod event;
mod keeper;
mod meant;
mod names;
mod process;
mod resolver;
mod ttl;

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use self::event::WatchEvent;
use self::keeper::Keeper;
use crate::error::Error;
use crate::host::Host;
use crate::netlink::{DeviceEvents, RulesetEvents};
use crate::state::State;

/// How an air gap is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// Whether to own the tables where the kernel can (6.9 and later): it then
    /// refuses others' changes with `EPERM`, and what this library loads goes
    /// through the watch. When the watch ends, however it does, the tables stay
    /// and are everybody's.
    pub own: bool,
}

impl Default for WatchOptions {
    /// Owning where the kernel can.
    fn default() -> Self {
        Self { own: true }
    }
}

impl Host {
    /// Watches the air gap until `stop` can be read from (a pipe, or a
    /// signalfd(2)), and tells `report` what happens. When others change, flush
    /// or delete anything of it, what was loaded is put back at once; when
    /// network devices or Docker's daemon come and go, or host names of the
    /// policy get other addresses, the air gap follows.
    /// Loading and removing policies meanwhile goes as ever, in this process or
    /// any other.
    ///
    /// One process at a time watches a network namespace.
    ///
    /// # Errors
    /// When another process watches already, the caller may not listen, or this
    /// is a fake host, whose kernel tells no changes. What fails later is told
    /// as [`WatchEvent::Failed`] and tried again.
    pub fn watch(
        &self,
        options: &WatchOptions,
        stop: BorrowedFd,
        report: &mut (dyn FnMut(&WatchEvent) + Send),
    ) -> Result<(), Error> {
        if self.is_fake() {
            return Err(Error::Protocol("a fake kernel tells no changes"));
        }
        self.enter(|| watch(options, stop, report))
    }
}

/// Watches in the network namespace of this thread.
fn watch(
    options: &WatchOptions,
    stop: BorrowedFd,
    report: &mut dyn FnMut(&WatchEvent),
) -> Result<(), Error> {
    let state = State::of_this_namespace()?;
    let Some(_only) = state.try_watch()? else {
        return Err(Error::Watched);
    };
    // First listen, then look: nothing falls between.
    let mut ruleset = RulesetEvents::open()?;
    let devices = DeviceEvents::open()?;
    let mut keeper = Keeper::begin(state, options, report)?;
    loop {
        let mut waiting: Vec<PollFd> = [stop, ruleset.as_fd(), devices.as_fd(), keeper.answers()]
            .into_iter()
            .chain(keeper.questions())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(keeper.patience()).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::io("wait for changes", errno.into())),
        }
        let mut ready = waiting.iter().map(|fd| fd.any() == Some(true));
        let mut next = || ready.next().unwrap_or_default();
        let (stopped, changed, moved, answered, asked) = (next(), next(), next(), next(), next());
        if stopped {
            return Ok(());
        }
        if changed {
            keeper.ruleset_changed(ruleset.take()?);
        }
        if moved {
            devices.clear()?;
            keeper.host_changed();
        }
        if answered {
            keeper.take_answers()?;
        }
        if asked {
            keeper.relay();
        }
        keeper.work();
    }
}
