//! A thread that resolves host names again when their answers have had their
//! time. It may wait for name servers; the watch must not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ttl::time_to_live;
use crate::error::Error;
use crate::surroundings::resolve;

/// No name is asked for more often than this, however short its time to live.
const OFTEN: Duration = Duration::from_secs(5);
/// A name is asked for again after this, however long its time to live.
const SELDOM: Duration = Duration::from_secs(3600);
/// When a name is asked for again that no name server knows, as one of
/// `/etc/hosts`.
const UNKNOWN: Duration = Duration::from_secs(60);
/// When a name is asked for again that did not resolve.
const FAILED: Duration = Duration::from_secs(10);

/// What a name stands for now.
#[derive(Debug)]
pub(super) struct Answer {
    pub name: String,
    /// Its addresses, or why it does not resolve.
    pub addresses: Result<Vec<IpAddr>, String>,
}

/// The way to the thread, which ends when this is dropped.
pub(super) struct Resolver {
    names: Sender<BTreeSet<String>>,
    answers: Receiver<Answer>,
    /// Can be read from when there are answers.
    bell: UnixStream,
}

impl Resolver {
    /// Begins a thread in the network namespace of this one.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors.
    pub fn begin() -> Result<Self, Error> {
        let failed = |source| Error::io("begin to resolve names", source);
        let (bell, rope) = UnixStream::pair().map_err(failed)?;
        bell.set_nonblocking(true).map_err(failed)?;
        let (names, asked) = channel();
        let (told, answers) = channel();
        // Not waited for when the watch ends: a lookup can take its time.
        thread::Builder::new()
            .name("airgap-names".to_owned())
            .spawn(move || run(&asked, &told, &rope))
            .map_err(failed)?;
        Ok(Self {
            names,
            answers,
            bell,
        })
    }

    /// From now on these names are resolved, new ones at once.
    pub fn ask(&self, names: BTreeSet<String>) {
        // If the thread has ended, `take` says so.
        let _ = self.names.send(names);
    }

    /// Takes the answers that came since the last time.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn take(&self) -> Result<Vec<Answer>, Error> {
        let mut buffer = [0; 64];
        // Non-blocking: it ends with an error when all is read.
        while (&self.bell)
            .read(&mut buffer)
            .is_ok_and(|length| length > 0)
        {}
        let mut answers = Vec::new();
        loop {
            match self.answers.try_recv() {
                Ok(answer) => answers.push(answer),
                Err(TryRecvError::Empty) => return Ok(answers),
                Err(TryRecvError::Disconnected) => {
                    return Err(Error::Protocol("the thread that resolves names has ended"));
                }
            }
        }
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn run(asked: &Receiver<BTreeSet<String>>, told: &Sender<Answer>, mut bell: &UnixStream) {
    let mut due: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let next = due.iter().min_by_key(|(_, time)| **time);
        let wait = next.map_or(SELDOM, |(_, time)| {
            time.saturating_duration_since(Instant::now())
        });
        match asked.recv_timeout(wait) {
            Ok(names) => {
                due.retain(|name, _| names.contains(name));
                for name in names {
                    due.entry(name).or_insert_with(Instant::now);
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some((name, time)) = due.iter_mut().min_by_key(|(_, time)| **time) else {
            continue;
        };
        let addresses = resolve(name).map_err(|error: io::Error| error.to_string());
        let pause = match addresses {
            Ok(_) => time_to_live(name).map_or(UNKNOWN, |ttl| ttl.clamp(OFTEN, SELDOM)),
            Err(_) => FAILED,
        };
        *time = Instant::now() + pause;
        let name = name.clone();
        if told.send(Answer { name, addresses }).is_err() || bell.write_all(&[0]).is_err() {
            return;
        }
    }
}
