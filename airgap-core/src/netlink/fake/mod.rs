//! A kernel for the tests of programs that embed this crate: nf_tables in
//! memory, without root. It is asked and answers in the bytes of netlink(7), so
//! that all but the socket is what runs on a real host.

mod answers;
mod ruleset;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mnl::Bus;
use nftnl::nftnl_sys::libc;

use self::answers::Answers;
use self::ruleset::{Request, Ruleset};
use super::attr::Attributes;
use super::route::Device;
use super::socket::messages;
use crate::error::Error;

/// A kernel for tests: nf_tables in memory.
///
/// It holds tables, chains, rules, sets and the generation of the ruleset, and
/// refuses what a real kernel refuses, with its error numbers: names that are
/// not there, what exists otherwise, what others refer to, sets that are full,
/// a batch for another generation. It knows no packets, no timeouts and no
/// limits of memory, and takes every expression.
///
/// Clones are the same kernel. What an air gap keeps on a host is kept in a
/// folder under the one for temporary files, which goes with the last clone.
#[derive(Debug, Clone)]
pub struct FakeKernel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    folder: PathBuf,
}

#[derive(Debug, Default)]
struct State {
    ruleset: Ruleset,
    devices: Vec<Device>,
    refusals: VecDeque<i32>,
    panics: bool,
    last_batch: Vec<u8>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A folder for temporary files may keep what nobody could remove.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`
const BATCH_BEGIN: i32 = 16;
const BATCH_END: i32 = 17;
/// `NFNL_BATCH_GENID`
const BATCH_GENID: u16 = 1;

impl FakeKernel {
    /// A kernel with an empty ruleset and the loopback device.
    ///
    /// # Errors
    /// When there can be no temporary folder.
    pub fn new() -> Result<Self, Error> {
        let template = std::env::temp_dir().join("airgap-fake-XXXXXX");
        let folder = nix::unistd::mkdtemp(&template)
            .map_err(|e| Error::io(format!("make a folder {}", template.display()), e.into()))?;
        let lo = Device {
            name: "lo".to_owned(),
            index: 1,
            kind: None,
            master: None,
            addresses: Vec::new(),
            default_route: false,
        };
        let state = State {
            devices: vec![lo],
            ..State::default()
        };
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(state),
            folder,
        })))
    }

    /// Gives it these network devices.
    pub fn set_devices(&self, devices: Vec<Device>) {
        self.state().devices = devices;
    }

    /// The next `times` requests are refused with this error number: `EPERM`
    /// as without rights, `ERESTART` as while another program changes the
    /// ruleset, any other as the kernel's answer to the first operation.
    pub fn refuse(&self, errno: i32, times: usize) {
        self.state()
            .refusals
            .extend(std::iter::repeat_n(errno, times));
    }

    /// The next request ends in a panic, as a defect of this crate would.
    pub fn panic_once(&self) {
        self.state().panics = true;
    }

    /// Raises the generation, as a change by another program does.
    pub fn touch(&self) {
        let mut state = self.state();
        state.ruleset.generation = state.ruleset.generation.wrapping_add(1);
    }

    /// The bytes of the last batch that was sent, carried out or refused;
    /// empty before the first. The messages are those of netlink(7), and hold
    /// for a real kernel too.
    #[must_use]
    pub fn last_batch(&self) -> Vec<u8> {
        self.state().last_batch.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left is whole: changes are made on a copy.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` with this kernel in place of the real one, in this thread.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Leave(Option<FakeKernel>);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _leave = Leave(CURRENT.replace(Some(self.clone())));
        work()
    }
}

thread_local! {
    /// The kernel of this thread, none for the real one: as a network namespace
    /// is a matter of the thread too.
    static CURRENT: RefCell<Option<FakeKernel>> = const { RefCell::new(None) };
}

/// The kernel of this thread, if it is a fake.
pub(super) fn current() -> Option<FakeKernel> {
    CURRENT.with_borrow(Clone::clone)
}

/// The folder for what is kept of this thread's kernel, if it is a fake.
pub(crate) fn folder() -> Option<PathBuf> {
    current().map(|kernel| kernel.0.folder.clone())
}

/// A socket to a fake kernel.
#[derive(Debug)]
pub(super) struct FakeSocket {
    kernel: FakeKernel,
    bus: Bus,
    answers: RefCell<VecDeque<Vec<u8>>>,
}

impl FakeSocket {
    pub fn new(kernel: FakeKernel, bus: Bus) -> Self {
        Self {
            kernel,
            bus,
            answers: RefCell::default(),
        }
    }

    /// Another for each kernel.
    pub fn cookie(&self) -> u64 {
        // No two are at one address at a time.
        Arc::as_ptr(&self.kernel.0).addr() as u64
    }

    /// Sends a request or a batch, which is carried out at once.
    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.kernel.state();
        let answers = match self.bus {
            Bus::Netfilter => state.netfilter(bytes),
            _ => state.others(bytes),
        };
        self.answers.borrow_mut().extend(answers.into_datagrams());
    }

    /// Receives a datagram, as much of it as there is room for.
    ///
    /// # Errors
    /// `EAGAIN` when there is none: nobody will ever send one.
    pub fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let datagram = self.answers.borrow_mut().pop_front();
        let datagram = datagram.ok_or(nix::Error::EAGAIN)?;
        let length = datagram.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), datagram.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }
}

impl State {
    /// Answers on the bus of nf_tables.
    #[allow(clippy::panic)] // it was asked for
    fn netfilter(&mut self, bytes: &[u8]) -> Answers {
        let mut answers = Answers::default();
        if std::mem::take(&mut self.panics) {
            panic!("the fake kernel was told to panic");
        }
        let Some(first) = messages(bytes).next() else {
            return answers;
        };
        let header = bytes.get(..16).unwrap_or_default();
        let begins = i32::from(first.kind) == BATCH_BEGIN;
        if begins {
            self.last_batch = bytes.to_vec();
        }
        match self.refusals.front() {
            // The kernel's answer to an operation is for a batch to hear.
            Some(errno) if begins || *errno == libc::EPERM => {
                let sequence = match *errno {
                    libc::EPERM | libc::ERESTART => first.sequence,
                    _ => first.sequence + 1,
                };
                answers.error(*errno, sequence, header);
                self.refusals.pop_front();
                return answers;
            }
            _ => {}
        }
        if begins {
            self.batch(bytes, &mut answers);
            return answers;
        }
        for message in messages(bytes) {
            let header = bytes.get(..16).unwrap_or_default();
            let Some((head, attributes)) = message.payload.split_at_checked(4) else {
                answers.error(libc::EINVAL, message.sequence, header);
                continue;
            };
            let family = head.first().copied().unwrap_or_default();
            let kind = i32::from(message.kind & 0xff);
            let flags = i32::from(message.flags);
            let of_nf_tables = i32::from(message.kind >> 8) == libc::NFNL_SUBSYS_NFTABLES;
            if flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP {
                let result = if of_nf_tables {
                    answers.dump(&self.ruleset, kind, family, Attributes(attributes))
                } else {
                    Ok(())
                };
                match result {
                    Ok(()) => answers.done(),
                    Err(errno) => answers.error(errno, message.sequence, header),
                }
            } else if of_nf_tables && kind == libc::NFT_MSG_GETGEN {
                answers.generation(&self.ruleset);
                if flags & libc::NLM_F_ACK != 0 {
                    answers.error(0, message.sequence, header);
                }
            } else {
                answers.error(libc::EOPNOTSUPP, message.sequence, header);
            }
        }
        answers
    }

    /// Carries a batch out, or nothing of it.
    fn batch(&mut self, bytes: &[u8], answers: &mut Answers) {
        let mut changed = self.ruleset.clone();
        let (mut operations, mut failed, mut ended) = (0, false, false);
        let mut at = 0;
        for message in messages(bytes) {
            let header = bytes.get(at..at + 16).unwrap_or_default();
            at += (16 + message.payload.len()).next_multiple_of(4);
            let (head, attributes) = message.payload.split_at_checked(4).unwrap_or_default();
            match i32::from(message.kind) {
                BATCH_BEGIN => {
                    let generation = Attributes(attributes).be32(BATCH_GENID).unwrap_or(0);
                    if generation != 0 && generation != self.ruleset.generation {
                        answers.error(libc::ERESTART, message.sequence, header);
                        return;
                    }
                }
                BATCH_END => ended = true,
                kind => {
                    let request = Request {
                        kind: kind & 0xff,
                        flags: message.flags.into(),
                        family: head.first().copied().unwrap_or_default(),
                        attributes: Attributes(attributes),
                    };
                    operations += 1;
                    // An operation that is refused leaves the copy as it was
                    // up to there; the whole copy is then thrown away.
                    if let Err(errno) = changed.change(&request) {
                        failed = true;
                        answers.error(errno, message.sequence, header);
                    }
                }
            }
        }
        if ended && !failed && operations > 0 {
            changed.commit();
            self.ruleset = changed;
        }
    }

    /// Answers on the other buses, whose dumps are the devices or empty.
    fn others(&mut self, bytes: &[u8]) -> Answers {
        let mut answers = Answers::default();
        if let Some(message) = messages(bytes).next() {
            answers.route(message.kind, &self.devices);
            answers.done();
        }
        answers
    }
}
