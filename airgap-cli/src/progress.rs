//! What is being done, for somebody at a terminal, once it takes longer than a
//! second.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Nobody waits for what is done by then; and so often the seconds are told.
const SECOND: Duration = Duration::from_secs(1);
/// Back to the beginning of the line, and empties it (ECMA-48).
const NEW_LINE: &str = "\r\x1b[K";

/// Tells on the terminal what is being done, until it is dropped. Without a
/// terminal it tells nothing.
pub struct Progress {
    end: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to do `what`.
    pub fn begin(what: impl Into<String>) -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                end: None,
                teller: None,
            };
        }
        let what = what.into();
        let (end, ended) = mpsc::channel::<()>();
        let teller = thread::spawn(move || {
            let start = Instant::now();
            let mut told = false;
            while ended.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
                let passed = start.elapsed().as_secs();
                // A terminal that is gone needs no telling.
                let _ = write!(io::stderr(), "{NEW_LINE}{what}, {passed} s");
                told = true;
            }
            if told {
                let _ = write!(io::stderr(), "{NEW_LINE}");
            }
        });
        Self {
            end: Some(end),
            teller: Some(teller),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(teller) = self.teller.take() {
            // It has nothing to say that counts.
            let _ = teller.join();
        }
    }
}
