//! One at a time: who changes an air gap holds the lock of its network
//! namespace. The kernel frees it when its holder ends, however that was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

/// How long to wait for others. One change takes far less than a second; a
/// hundred that came first have their time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// The right to change an air gap and what is kept of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Waits for the lock. `what` is written into it, for others to name the
    /// holder.
    ///
    /// # Errors
    /// [`Error::Locked`] when another holds it for too long; when there can be
    /// no such file.
    pub fn take(path: &Path, what: &str) -> Result<Self, Error> {
        let failed = |source| Error::io(format!("lock {}", path.display()), source);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let begun = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    // Only a courtesy: on a full disk the lock has no name.
                    let _ = sign(&mut lock, what);
                    return Ok(Self(lock));
                }
                Err((back, Errno::EWOULDBLOCK)) if begun.elapsed() < PATIENCE => {
                    file = back;
                    thread::sleep(PAUSE);
                }
                Err((mut back, Errno::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    let read = back
                        .rewind()
                        .and_then(|()| back.read_to_string(&mut holder));
                    return Err(Error::Locked {
                        holder: read.map_or_else(|_| String::new(), |_| holder),
                        waited: begun.elapsed(),
                    });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }
}

fn sign(file: &mut File, what: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "process {} ({what})", std::process::id())
}
