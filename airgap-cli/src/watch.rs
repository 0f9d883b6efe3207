//! The command `airgap watch`: a small daemon in the foreground, for systemd or
//! another supervisor.

use std::io;
use std::os::fd::AsFd as _;

use airgap::{Host, WatchEvent, WatchOptions};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;
use serde_json::json;

use crate::arguments::Output;
use crate::commands::Failure;
use crate::print;

/// Watches until a signal ends it.
pub fn run(host: &Host, options: &WatchOptions, output: Output) -> Result<(), Failure> {
    // Blocked, so that they are read as what ends the watch. The threads that
    // are begun later take this over.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(io::Error::from)?;
    let ended = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(io::Error::from)?;
    host.watch(options, ended.as_fd(), &mut |event| tell(event, output))?;
    Ok(())
}

/// Prints an event, and tells a supervisor that asked for it. If either cannot
/// be reached, to keep watch matters more.
fn tell(event: &WatchEvent, output: Output) {
    let _ = match output {
        Output::Json => print::text(format_args!("{}\n", json!(event))),
        Output::Text => print::text(format_args!("{event}\n")),
    };
    let status = NotifyState::Status(&event.to_string());
    let _ = match event {
        WatchEvent::Watching { .. } => sd_notify::notify(false, &[NotifyState::Ready, status]),
        _ => sd_notify::notify(false, &[status]),
    };
}
