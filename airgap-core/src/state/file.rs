//! Files that are whole or not there: what a crash, a full disk or a second
//! writer leaves is what was there before.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// What the name of a file that is not published yet ends in.
const DRAFT: &str = "new";
/// The length of a checksum's line: SHA-256 in hex between two line breaks.
const CHECKSUM: usize = 66;

/// The content of a file, none where there is no such file.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io(format!("read {}", path.display()), source)),
    };
    let damaged = |source| {
        Error::io(
            format!("understand {}, which is damaged", path.display()),
            source,
        )
    };
    let json = text
        .split_last_chunk::<CHECKSUM>()
        .filter(|(json, sum)| checksum(json) == sum.as_slice())
        .map(|(json, _)| json)
        .ok_or_else(|| damaged(io::Error::other("its checksum is not that of its content")))?;
    serde_json::from_slice(json)
        .map(Some)
        .map_err(|e| damaged(e.into()))
}

/// JSON for a file, and a checksum behind it: a damaged address would still be
/// an address.
///
/// # Errors
/// None that is known; the writer of JSON may have its own.
pub(super) fn json(content: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec(content)
        .map_err(|e| Error::io("write what is kept as JSON", io::Error::other(e)))?;
    let checksum = checksum(&text);
    text.extend_from_slice(&checksum);
    Ok(text)
}

/// A line with the SHA-256 of a text.
fn checksum(text: &[u8]) -> Vec<u8> {
    let mut line = vec![b'\n'];
    for byte in Sha256::digest(text) {
        line.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    line.push(b'\n');
    line
}

/// Removes a file, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), e))
        }
        _ => Ok(()),
    }
}

/// Makes a folder that only the superuser reads: what is kept tells an intruder
/// what is open.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file that lies whole on the disk under a name of its own, and takes the
/// place of the old one when it is published. Only who holds the lock writes
/// one.
#[derive(Debug)]
pub(super) struct Draft {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    /// Where the draft of a file is.
    pub fn of(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(DRAFT);
        path.with_file_name(name)
    }

    /// Writes a file and has it on the disk.
    ///
    /// # Errors
    /// When there is no room or no right to; no draft is left then.
    pub fn write(path: &Path, content: &[u8]) -> Result<Self, Error> {
        let draft = Self::of(path);
        let result = (|| {
            make_folder(path.parent().unwrap_or(Path::new("/")))?;
            let mut file = File::create(&draft)?;
            file.write_all(content)?;
            file.sync_all()
        })();
        let path = path.to_owned();
        match result {
            Ok(()) => Ok(Self { draft, path }),
            Err(source) => {
                // What is left of it is of no use; the first error is told.
                let _ = fs::remove_file(&draft);
                Err(Error::io(format!("write {}", draft.display()), source))
            }
        }
    }

    /// Puts the draft in the place of the file, and has that on the disk.
    ///
    /// # Errors
    /// When the file system refuses; the old file is still there then.
    pub fn publish(self) -> Result<(), Error> {
        let result = fs::rename(&self.draft, &self.path)
            .and_then(|()| File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all());
        result.map_err(|source| {
            Error::io(format!("put {} in its place", self.path.display()), source)
        })
    }

    /// Forgets the draft; the file stays as it was.
    pub fn discard(self) {
        // Whoever writes the next one overwrites what is left.
        let _ = fs::remove_file(&self.draft);
    }
}
