//! The way of a batch to the kernel: by the caller's own socket, or, where a
//! watch owns the tables, by that of the watch.
//!
//! Who asks has the lock and decides what is loaded; the watch only sends it.
//! Its socket lies in a folder of the superuser's, and it hears nobody else.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use crate::error::Error;
use crate::graph::Origins;
use crate::netlink::{Batch, Kernel, Operation, judge};
use crate::state::State;

/// How long a caller waits for the watch: a million elements take the kernel
/// seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the watch waits for a caller, who has all at hand.
const QUESTION: Duration = Duration::from_secs(2);
/// The longest batch or answer in bytes.
const LENGTH_MAX: u64 = 1 << 31;

/// Sends a batch as one transaction.
///
/// # Errors
/// As [`Kernel::transact`].
pub(crate) fn transact(
    kernel: &Kernel,
    batch: &Batch,
    operations: &[Operation],
    origins: &Origins,
) -> Result<(), Error> {
    let mut errors = match kernel.transact(batch, operations, origins) {
        Err(Error::Kernel(errors)) if errors.iter().any(|e| e.errno == libc::EPERM) => errors,
        result => return result,
    };
    let path = State::of_this_namespace()?.relay_path();
    match UnixStream::connect(&path) {
        Ok(watch) => {
            let answers = ask(&watch, &batch.bytes())
                .map_err(|e| Error::io("send the batch by the watch, which owns the tables", e))?;
            judge(&answers, batch, operations, origins)
        }
        Err(_) => {
            for error in errors.iter_mut().filter(|e| e.errno == libc::EPERM) {
                let hint = "the table is another process's, and no watch answers";
                error.text.get_or_insert_with(|| hint.to_owned());
            }
            Err(Error::Kernel(errors))
        }
    }
}

fn ask(mut watch: &UnixStream, batch: &[u8]) -> io::Result<Vec<u8>> {
    watch.set_read_timeout(Some(ANSWER))?;
    watch.set_write_timeout(Some(ANSWER))?;
    write_whole(&mut watch, batch)?;
    read_whole(&mut watch)
}

/// Where a watch takes the batches of others.
pub(crate) struct Relay(UnixListener);

impl Relay {
    /// Opens it. Only who has the right to watch does this.
    ///
    /// # Errors
    /// When there can be no such socket.
    pub fn open(state: &State) -> Result<Self, Error> {
        let path = state.relay_path();
        let failed = |source| Error::io(format!("listen at {}", path.display()), source);
        // What a watch that was killed has left.
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self(listener))
    }

    /// Sends what waits, and says whether there was anything. Who does not keep
    /// to the form gets no answer.
    pub fn serve(&self, kernel: &Kernel) -> bool {
        let mut served = false;
        while let Ok((caller, _)) = self.0.accept() {
            served |= serve(&caller, kernel).is_ok();
        }
        served
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn serve(mut caller: &UnixStream, kernel: &Kernel) -> io::Result<()> {
    let who = getsockopt(&caller, sockopt::PeerCredentials)?;
    if who.uid() != 0 && who.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Accepted sockets do not take the listener's mode over.
    caller.set_read_timeout(Some(QUESTION))?;
    caller.set_write_timeout(Some(QUESTION))?;
    let mut batch = read_whole(&mut caller)?;
    let answers = kernel.send_owning(&mut batch).map_err(io::Error::other)?;
    write_whole(&mut caller, &answers)
}

/// Writes bytes behind their number.
fn write_whole(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_ne_bytes())?;
    to.write_all(bytes)
}

fn read_whole(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_ne_bytes(length);
    if length > LENGTH_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Room is taken as bytes come, not as they are promised.
    let mut bytes = Vec::new();
    if from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bytes in [&b""[..], b"a", &[7; 100_000]] {
            let mut written = Vec::new();
            assert!(write_whole(&mut written, bytes).is_ok());
            assert_eq!(
                read_whole(&mut written.as_slice()).ok().as_deref(),
                Some(bytes)
            );
            written.pop();
            assert!(read_whole(&mut written.as_slice()).is_err());
        }
        assert!(read_whole(&mut &u64::MAX.to_ne_bytes()[..]).is_err());
    }
}
