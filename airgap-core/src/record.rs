//! What is kept on the host of an air gap that was loaded: the policy and what
//! it took from its surroundings, for each network namespace.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::netlink::fake_folder;
use crate::policy::Policy;
use crate::surroundings::Surroundings;

/// Moves `/run/airgap`.
const RUN_DIR: &str = "AIRGAP_RUN_DIR";
const RUN_DIR_DEFAULT: &str = "/run/airgap";
const LOADED: &str = "loaded.json";

/// A policy that was loaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The policy in its JSON form.
    pub policy: String,
    /// The hash of the policy, which the kernel holds too.
    pub hash: String,
    /// Where the policy was read from.
    pub source: String,
    /// When it was loaded, in seconds since 1970 UTC.
    pub since: u64,
    /// What it was compiled with.
    pub surroundings: Surroundings,
}

impl Record {
    pub fn new(policy: &Policy, surroundings: &Surroundings) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            policy: policy.to_json(),
            hash: policy.hash().to_owned(),
            source: policy.source().name().to_owned(),
            since: now.as_secs(),
            surroundings: surroundings.clone(),
        }
    }
}

/// The folder of one network namespace.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder of the network namespace of this thread. The host's own is
    /// called `host`, the others by their number, which is theirs while they
    /// last.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn of_this_namespace() -> Result<Self, Error> {
        if let Some(folder) = fake_folder() {
            return Ok(Self(folder));
        }
        let identity = |path: &str| {
            fs::metadata(path)
                .map(|m| (m.dev(), m.ino()))
                .map_err(|source| {
                    Error::io(format!("tell the network namespace by {path}"), source)
                })
        };
        let here = identity("/proc/thread-self/ns/net")?;
        // Without the right to look at process 1 this is a namespace of its own.
        let name = match identity("/proc/1/ns/net") {
            Ok(first) if first == here => "host".to_owned(),
            _ => format!("netns-{}", here.1),
        };
        let base =
            env::var_os(RUN_DIR).map_or_else(|| PathBuf::from(RUN_DIR_DEFAULT), PathBuf::from);
        Ok(Self(base.join(name)))
    }

    fn file(&self) -> PathBuf {
        self.0.join(LOADED)
    }

    /// The record of what was loaded last, none if nothing was.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(&self) -> Result<Option<Record>, Error> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(format!("read {}", path.display()), source)),
        };
        let record = serde_json::from_slice(&text).map_err(|e| {
            Error::io(
                format!("understand {}", path.display()),
                io::Error::other(e),
            )
        })?;
        Ok(Some(record))
    }

    /// Keeps a record. The old one stays until the new one is whole.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.file();
        write_whole(&path, record).map_err(|source| {
            Error::io(
                format!(
                    "keep what was loaded in {} (the ruleset itself is loaded)",
                    path.display()
                ),
                source,
            )
        })
    }

    /// Forgets the record.
    ///
    /// # Errors
    /// When there is one that cannot be removed.
    pub fn clear(&self) -> Result<(), Error> {
        let path = self.file();
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }
}

fn write_whole(path: &Path, record: &Record) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // The policy tells an intruder what is open: only for the superuser.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let draft = folder.join(format!("{LOADED}.{}.new", std::process::id()));
    let result = (|| {
        let mut file = io::BufWriter::new(fs::File::create(&draft)?);
        serde_json::to_writer(&mut file, record)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&draft, path)
    })();
    if result.is_err() {
        // What is left of the draft is of no use; the first error is told.
        let _ = fs::remove_file(&draft);
    }
    result
}
