//! One at a time: who changes an air gap holds the lock of its network
//! namespace. The kernel frees it when its holder ends, however that was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

/// How long to wait for others. One change takes far less than a second; a
/// hundred that came first have their time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// What stands before the number of the holder.
const SIGNATURE: &str = "process ";

/// The right to change an air gap and what is kept of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Waits for the lock, for `patience` at most. `what` is written into it, for
    /// others to name the holder.
    ///
    /// # Errors
    /// [`Error::Locked`] when another holds it for too long; when there can be
    /// no such file.
    pub fn take(path: &Path, what: &str, patience: Duration) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(path, what)? {
                return Ok(lock);
            }
            if begun.elapsed() >= patience {
                return Err(Error::Locked {
                    holder: fs::read_to_string(path).unwrap_or_default(),
                    waited: begun.elapsed(),
                });
            }
            thread::sleep(PAUSE);
        }
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// When there can be no such file.
    pub fn try_take(path: &Path, what: &str) -> Result<Option<Self>, Error> {
        let failed = |source| Error::io(format!("lock {}", path.display()), source);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // Only a courtesy: on a full disk the lock has no name.
                let _ = sign(&mut lock, what);
                Ok(Some(Self(lock)))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

/// Whether anybody holds the lock.
pub(super) fn is_held(path: &Path) -> bool {
    // A shared lock, which those who ask at the same time can all have.
    File::open(path).is_ok_and(|file| {
        matches!(
            Flock::lock(file, FlockArg::LockSharedNonblock),
            Err((_, Errno::EWOULDBLOCK))
        )
    })
}

/// The number of the process that signed the lock last.
pub(super) fn signer(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    text.strip_prefix(SIGNATURE)?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

fn sign(file: &mut File, what: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{SIGNATURE}{} ({what})", std::process::id())
}
