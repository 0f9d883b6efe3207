//! Who waits for the time of a pending policy, and takes the way back if nobody
//! has confirmed it. It must outlive whoever loaded the policy: the caller may
//! be killed, and its terminal, its session or its service may end, by the very
//! policy that it loaded.
//!
//! In the host's own network namespace systemd, where it runs, carries the
//! command `airgap` as a transient unit, and starts it again should it be
//! killed. Else, and in programs that have no such command, it is a copy of the
//! calling process, in a session of its own.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2};

use super::rollback::roll_back;
use super::{Host, Place};
use crate::error::Error;
use crate::netlink::{FakeKernel, Kernel, in_process_of_its_own};
use crate::state::{RollbackReason, State};

/// How long one who waits may take to begin to.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
/// How often it looks whether it is still needed.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// How long it lets others finish when the time has come. A process that was
/// stopped while it held the lock must not keep the host out of reach.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it rests before it tries again, when others keep changing the
/// ruleset.
const RESTS: Duration = Duration::from_millis(50);
/// The command that is asked to wait by systemd, where a program brings none.
const COMMAND: &str = "/usr/sbin/airgap";
/// There where systemd is the first process, by sd_booted(3).
const SYSTEMD: &str = "/run/systemd/system";

impl Host {
    /// Has somebody wait for the time of the pending policy `id`, if nobody
    /// does. When this returns, somebody does.
    pub(super) fn arm(&self, state: &State, id: &str) -> Result<(), Error> {
        if let Place::Fake(kernel) = &self.place {
            // It ends with this process, as its kernel does.
            in_a_thread(kernel.clone(), state.clone(), id.to_owned());
            return Ok(());
        }
        if state.is_waited_for(id) {
            return Ok(());
        }
        let command = self.command.as_deref().unwrap_or(Path::new(COMMAND));
        if state.is_of_the_host()
            && Path::new(SYSTEMD).exists()
            && command.exists()
            && by_systemd(command, state, id).is_ok()
        {
            return Ok(());
        }
        by_a_copy(state, id).map_err(|source| Error::io("have somebody wait for the time", source))
    }

    /// Waits until the pending policy `id` is confirmed or its time has come,
    /// and takes it back then. This is what the command does that systemd is
    /// given to carry.
    ///
    /// # Errors
    /// When somebody waits for it already, or it could not be taken back.
    #[doc(hidden)]
    pub fn await_confirmation(&self, id: &str) -> Result<(), Error> {
        self.enter(|| {
            let state = State::of_this_namespace()?;
            let _waiting = state.wait_for(id)?;
            wait(&state, id)
        })
    }
}

/// Waits for the time, and takes the way back.
fn wait(state: &State, id: &str) -> Result<(), Error> {
    let Some(pending) = state.pending()?.filter(|pending| pending.id == id) else {
        return Ok(());
    };
    // What cannot be read any more was not decided on either.
    let is_pending = || match state.pending() {
        Ok(now) => now.is_some_and(|now| now.id == id),
        Err(_) => true,
    };
    while is_pending() {
        if pending.until.left().is_some() {
            pending.until.wait(LOOKS_EVERY);
            continue;
        }
        let lock = state.lock_within("rollback", PATIENCE);
        // Somebody may have decided while this waited for the lock.
        if !is_pending() {
            break;
        }
        let reason = RollbackReason::NotConfirmed;
        match Kernel::open().and_then(|kernel| roll_back(&kernel, state, &pending, reason)) {
            Err(Error::Conflict) => {}
            result => return result.map(|_| ()),
        }
        drop(lock);
        thread::sleep(RESTS);
    }
    Ok(())
}

/// A kernel in memory is in this process alone.
fn in_a_thread(kernel: FakeKernel, state: State, id: String) {
    thread::spawn(move || kernel.enter(|| wait(&state, &id)));
}

fn by_systemd(command: &Path, state: &State, id: &str) -> io::Result<()> {
    let variables = state
        .variables()
        .map(|(name, folder)| format!("--setenv={name}={}", folder.display()));
    let status = Command::new("systemd-run")
        .args(["--quiet", "--collect", "--service-type=exec"])
        .arg(format!("--unit=airgap-rollback-{id}"))
        .arg("--description=Takes back an air gap that nobody confirms")
        .args(
            ["Restart=on-failure", "RestartSec=0", "OOMScoreAdjust=-1000"]
                .map(|p| format!("--property={p}")),
        )
        .args(variables)
        .arg(command)
        .args(["await-confirmation", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let begun = Instant::now();
    while status.success() && begun.elapsed() < BEGINS_WITHIN {
        if state.is_waited_for(id) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("systemd has not started it"))
}

fn by_a_copy(state: &State, id: &str) -> io::Result<()> {
    let (ready, tell) = pipe2(OFlag::O_CLOEXEC)?;
    in_process_of_its_own(tell, |tell| {
        leave_the_caller();
        // What goes wrong before it is told is an end of the pipe to the caller;
        // afterwards nobody listens.
        if let Ok(_waiting) = state.wait_for(id)
            && nix::unistd::write(&tell, &[1]).is_ok()
        {
            drop(tell);
            let _ = wait(state, id);
        }
    })?;
    heard(ready)
}

/// Whether the copy says that it waits.
fn heard(ready: OwnedFd) -> io::Result<()> {
    let timeout = PollTimeout::try_from(BEGINS_WITHIN).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(
            &mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Err(nix::Error::EINTR) => {}
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    fs::File::from(ready).read_exact(&mut [0])
}

/// Cuts what still ties a copy of a process to it.
fn leave_the_caller() {
    // Each is for the case that something else goes wrong, and none is missed
    // where it cannot be had.
    if let Ok(null) = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    let _ = std::env::set_current_dir("/");
    let _ = fs::write("/proc/self/comm", "airgap-rollback");
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    if Path::new(SYSTEMD).exists() {
        // The end of a service or session ends all in its control group.
        let _ = fs::write("/sys/fs/cgroup/cgroup.procs", "0");
    }
}
