//! Allow pairs of one address and one port, read without a table in between.
//! Whatever else an allow pair holds is left to be read as any table is: the
//! cursor then stands where it stood.

use std::net::IpAddr;

use super::{Cursor, Form};
use crate::policy::address;
use crate::policy::allow::ExactPair;
use crate::policy::model::{Place, Proto};

/// What the keys read so far say.
#[derive(Default)]
struct Keys {
    address: Option<IpAddr>,
    port: Option<u16>,
    proto: Option<Proto>,
}

impl Keys {
    /// Reads the value of a key that was not there yet.
    fn value(&mut self, key: &str, cursor: &mut Cursor<'_>) -> Option<()> {
        match key {
            "to" if self.address.is_none() => {
                let text = cursor.alone(Cursor::string)?;
                self.address = Some(address::exact(text)?);
            }
            "port" if self.port.is_none() => self.port = Some(cursor.alone(Cursor::port)?),
            "proto" if self.proto.is_none() => {
                self.proto = Some(match cursor.string()? {
                    "tcp" => Proto::Tcp,
                    "udp" => Proto::Udp,
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(())
    }

    fn pair(self, place: Place) -> Option<ExactPair> {
        Some(ExactPair {
            address: self.address?,
            port: self.port?,
            proto: self.proto.unwrap_or_default(),
            place,
        })
    }
}

impl<'t> Cursor<'t> {
    /// A value, or a list of just this one.
    fn alone<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        let list = self.take(b'[').is_some();
        let value = read(self)?;
        if list {
            self.take(b']')?;
        }
        Some(value)
    }

    /// A port in digits.
    fn port(&mut self) -> Option<u16> {
        let mut port: u16 = 0;
        let start = self.at;
        while let digit @ b'0'..=b'9' = self.peek() {
            port = port.checked_mul(10)?.checked_add(u16::from(digit - b'0'))?;
            self.at += 1;
            // Also where it begins with a zero, which TOML does not allow.
            if port == 0 {
                return None;
            }
        }
        (self.at > start).then_some(port)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over a line end, if there is one here.
    fn line(&mut self) -> bool {
        if self.peek() == b'\r' && self.text.as_bytes().get(self.at + 1) == Some(&b'\n') {
            self.at += 1;
        }
        let is_there = self.peek() == b'\n';
        if is_there {
            self.newline();
        }
        is_there
    }

    /// A short word in small letters.
    fn key(&mut self) -> &'t str {
        let start = self.at;
        while self.peek().is_ascii_lowercase() {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }
}

/// Reads a pair whose opening stands at `place`: the cursor is behind the
/// brackets of TOML, or at the brace of JSON.
pub(super) fn pair(cursor: &mut Cursor<'_>, form: Form, place: Place) -> Option<ExactPair> {
    let start = cursor.clone();
    let pair = match form {
        Form::Toml => toml(cursor),
        Form::Json => json(cursor),
    };
    let pair = pair.and_then(|keys| keys.pair(place));
    if pair.is_none() {
        *cursor = start;
    }
    pair
}

/// Keys on lines of their own up to the next table.
fn toml(cursor: &mut Cursor<'_>) -> Option<Keys> {
    let mut keys = Keys::default();
    loop {
        cursor.line().then_some(())?;
        while cursor.line() {}
        if cursor.peek() == b'[' || cursor.is_at_end() {
            return Some(keys);
        }
        let key = cursor.key();
        cursor.blanks();
        cursor.take(b'=')?;
        cursor.blanks();
        keys.value(key, cursor)?;
        if cursor.is_at_end() {
            return Some(keys);
        }
    }
}

fn json(cursor: &mut Cursor<'_>) -> Option<Keys> {
    let mut keys = Keys::default();
    cursor.take(b'{')?;
    loop {
        cursor.space(Form::Json)?;
        let key = cursor.string()?;
        cursor.take(b':')?;
        cursor.blanks();
        keys.value(key, cursor)?;
        cursor.space(Form::Json)?;
        if cursor.take(b',').is_none() {
            cursor.take(b'}')?;
            return Some(keys);
        }
    }
}
