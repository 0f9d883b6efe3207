//! What is kept of a policy: enough to load it again as it was, and to tell
//! drift from a world that has changed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clock::on_the_wall;
use super::file::{self, Draft};
use crate::error::Error;
use crate::policy::{Form, Policy, PolicyError};
use crate::surroundings::Surroundings;

/// What is kept of a policy beside its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The hash of the policy, which the kernel holds too.
    pub hash: String,
    /// Where the policy was read from.
    pub source: String,
    /// When it was loaded, in seconds since 1970 UTC.
    pub since: u64,
    /// What it was compiled with.
    pub surroundings: Surroundings,
    /// The form of the policy's text.
    form: Form,
    /// The administrators' way in by it, as JSON.
    way_in: String,
}

/// A policy that was loaded. In a file the head stands first, and behind it the
/// policy as it was written: a million pairs need not be put into another form.
/// The hash of what the policy says is its checksum.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    head: Head,
    text: Text,
}

/// The text of a policy.
#[derive(Debug, Clone)]
enum Text {
    Of(Policy),
    Read(String, PathBuf),
}

impl Deref for Record {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Head {
        &mut self.head
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.text() == other.text()
    }
}

impl Head {
    /// Reads the head of a file that holds a record, none where there is no such
    /// file: the policy behind it can be long.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let mut lines = Vec::new();
        let read = File::open(path).and_then(|file| {
            let mut file = BufReader::new(file);
            file.read_until(b'\n', &mut lines)?;
            file.read_until(b'\n', &mut lines)
        });
        match read {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(format!("read {}", path.display()), source)),
        }
        let head = match file::opened(&lines) {
            Some((head, _)) => serde_json::from_slice(head).map_err(io::Error::from),
            None => Err(file::no_checksum()),
        };
        head.map(Some).map_err(|e| file::damaged(path, e))
    }

    /// What tells it from any other.
    ///
    /// # Errors
    /// None that is known; the writer of JSON may have its own.
    pub(super) fn checksum(&self) -> Result<String, Error> {
        let lines = String::from_utf8(file::json(self)?).unwrap_or_default();
        Ok(lines.lines().nth(1).unwrap_or_default().to_owned())
    }
}

impl Record {
    pub fn new(policy: &Policy, surroundings: &Surroundings) -> Self {
        Self {
            head: Head {
                hash: policy.hash().to_owned(),
                source: policy.source().name().to_owned(),
                since: on_the_wall(),
                surroundings: surroundings.clone(),
                form: policy.source().form().unwrap_or(Form::Json),
                way_in: policy.way_in().to_json(),
            },
            text: Text::Of(policy.clone()),
        }
    }

    /// The policy.
    ///
    /// # Errors
    /// When what is kept is not what was written.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        let (text, path) = match &self.text {
            Text::Of(policy) => return Ok(policy.clone()),
            Text::Read(text, path) => (text, path),
        };
        let damaged = |why: String| {
            let message = format!("what is kept in {} is damaged: {why}", path.display());
            PolicyError::unread(&self.source, message, None)
        };
        match Policy::from_kept(text, &self.source, self.form) {
            Ok(policy) if policy.hash() == self.hash => Ok(policy),
            Ok(_) => Err(damaged("the policy does not have its hash".to_owned())),
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    /// What it was compiled with.
    pub fn into_surroundings(self) -> Surroundings {
        self.head.surroundings
    }

    /// The record of the way in, which is small however large the policy is. It
    /// is kept in a file of its own: what damages one spares the other.
    ///
    /// # Errors
    /// When this record does not hold one.
    pub fn way_in(&self) -> Result<Self, Error> {
        let source = format!("the way in of {}", self.source);
        let policy = Policy::from_json_named(&self.way_in, &source)?;
        let mut surroundings = Surroundings {
            devices: self.surroundings.devices.clone(),
            denied_log: self.surroundings.denied_log,
            ..Surroundings::default()
        };
        for name in policy.admitted_names() {
            if let Some(addresses) = self.surroundings.names.get(name) {
                surroundings
                    .names
                    .insert(name.to_owned(), addresses.clone());
            }
        }
        let mut record = Self::new(&policy, &surroundings);
        record.since = self.since;
        Ok(record)
    }

    /// Writes a draft of a file that holds the record.
    ///
    /// # Errors
    /// As [`Draft::write`].
    pub(super) fn draft(&self, path: &Path) -> Result<Draft, Error> {
        Draft::write(path, &[&file::json(&self.head)?, self.text().as_bytes()])
    }

    fn text(&self) -> Cow<'_, str> {
        match &self.text {
            Text::Read(text, _) => text.into(),
            // Data of a program has no text.
            Text::Of(policy) if policy.source().form().is_none() => policy.to_json().into(),
            Text::Of(policy) => policy.source().text().into(),
        }
    }

    /// Reads a file that holds a record, none where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let Some(mut bytes) = file::content(path)? else {
            return Ok(None);
        };
        let damaged = |e| file::damaged(path, e);
        let (head, rest) = file::opened(&bytes).ok_or_else(|| damaged(file::no_checksum()))?;
        let head = serde_json::from_slice(head).map_err(|e| damaged(e.into()))?;
        let begin = bytes.len() - rest.len();
        bytes.drain(..begin);
        let text = String::from_utf8(bytes).map_err(|e| damaged(io::Error::other(e)))?;
        Ok(Some(Self {
            head,
            text: Text::Read(text, path.to_owned()),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use std::fs;

    use super::*;

    fn through_a_file(record: &Record) -> Record {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        record.draft(&path).unwrap().publish().unwrap();
        Record::read(&path).unwrap().unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let texts = [
            (
                "version = 1\n[[bridge]]\nname = \"br0\"\ncomment = \"\\\"\\u00e9\"\n",
                "p.toml",
            ),
            (
                "{\"version\": 1,\r\n\t\"bridge\": [{\"name\": \"br\\u0030\"}]}",
                "p.json",
            ),
            ("# é\r\nversion = 1", "-"),
        ];
        for (text, name) in texts {
            let policy = Policy::from_bytes(name, text.as_bytes()).unwrap();
            let record = Record::new(&policy, &Surroundings::default());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("record");
            record.draft(&path).unwrap().publish().unwrap();
            let head = Head::read(&path).unwrap().unwrap();
            let read = Record::read(&path).unwrap().unwrap();
            assert_eq!(read, record);
            assert_eq!(head, *record);
            assert_eq!(read.policy().unwrap(), policy);
            assert_eq!(read.policy().unwrap().source().text(), text);
            // And from there once more.
            assert_eq!(through_a_file(&read).policy().unwrap(), policy);
        }
    }

    #[test]
    fn a_policy_without_a_text_is_kept_too() {
        use crate::policy::node::{Entry, Node, Value};
        let version = Entry::data("version", Value::Integer(1));
        let root = Node::data(Value::Table(vec![version]));
        let policy = Policy::from_node(&root, "a program").unwrap();
        let record = through_a_file(&Record::new(&policy, &Surroundings::default()));
        assert_eq!(record.policy().unwrap(), policy);
    }

    #[test]
    fn the_way_in_is_kept_without_the_rest() {
        let text = "version = 1\n[[admit]]\nfrom = \"192.0.2.10\"\nport = 22\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n";
        let policy = Policy::from_toml(text).unwrap();
        let record = Record::new(&policy, &Surroundings::default());
        let way_in = through_a_file(&record.way_in().unwrap());
        assert_eq!(way_in.policy().unwrap(), policy.way_in());
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let text = "version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n";
        let policy = Policy::from_toml(text).unwrap();
        let record = Record::new(&policy, &Surroundings::default());
        record.draft(&path).unwrap().publish().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for (was, is) in [
            // Another good policy, a bad one, and another head.
            ("192.0.2.1", "192.0.2.7"),
            ("port = 443", "port = [43"),
            ("\"since\":1", "\"since\":2"),
        ] {
            assert!(whole.contains(was), "{whole}");
            fs::write(&path, whole.replace(was, is)).unwrap();
            let error = match Record::read(&path) {
                Ok(record) => record.unwrap().policy().unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains("damaged"), "{error}");
            assert!(error.contains("record"), "{error}");
        }
    }
}
