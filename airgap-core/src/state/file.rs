//! Files that are whole or not there: what a crash, a full disk or a second
//! writer leaves is what was there before.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
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
    let Some(text) = content(path)? else {
        return Ok(None);
    };
    let whole = match opened(&text) {
        Some((json, [])) => serde_json::from_slice(json).map_err(io::Error::from),
        _ => Err(no_checksum()),
    };
    whole.map(Some).map_err(|e| damaged(path, e))
}

/// The bytes of a file, none where there is no such file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn content(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(format!("read {}", path.display()), source)),
    }
}

/// A file that holds something else than was written there.
pub(super) fn damaged(path: &Path, why: io::Error) -> Error {
    let what = format!(
        "understand {}, which is damaged (`airgap rollback` takes back what is pending, `airgap apply` replaces what is \
         loaded)",
        path.display()
    );
    Error::io(what, why)
}

pub(super) fn no_checksum() -> io::Error {
    io::Error::other("its checksum is not that of its content")
}

/// A line of JSON for a file, and behind it a line with its checksum: a damaged
/// address would still be an address.
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

/// The JSON of such lines, and what follows them; none where the checksum is
/// another.
pub(super) fn opened(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (json, rest) = text.split_at_checked(end)?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    (checksum(json) == sum).then_some((json, rest))
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

/// A file that is written whole under a name of its own, and takes the place of
/// the old one when it is published. Only who holds the lock writes one.
#[derive(Debug)]
pub(crate) struct Draft {
    draft: PathBuf,
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Where the draft of a file is.
    pub fn of(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(DRAFT);
        path.with_file_name(name)
    }

    /// Writes a file of these parts, and takes the room for it on the disk.
    ///
    /// # Errors
    /// When there is no room or no right to; no draft is left then.
    pub fn write(path: &Path, parts: &[&[u8]]) -> Result<Self, Error> {
        let draft = Self::of(path);
        let result = (|| {
            make_folder(path.parent().unwrap_or(Path::new("/")))?;
            let mut file = File::create(&draft)?;
            take_room(&file, parts.iter().map(|part| part.len()).sum())?;
            for part in parts {
                file.write_all(part)?;
            }
            Ok(file)
        })();
        let path = path.to_owned();
        match result {
            Ok(file) => Ok(Self { draft, path, file }),
            Err(source) => {
                // What is left of it is of no use; the first error is told.
                let _ = fs::remove_file(&draft);
                Err(Error::io(format!("write {}", draft.display()), source))
            }
        }
    }

    /// Puts the draft in the place of the file, for as long as the host runs:
    /// what is in /run does not outlive that.
    ///
    /// # Errors
    /// When the file system refuses; the old file is still there then.
    pub fn publish(self) -> Result<(), Error> {
        fs::rename(&self.draft, &self.path).map_err(|source| {
            Error::io(format!("put {} in its place", self.path.display()), source)
        })
    }

    /// Forgets the draft; the file stays as it was.
    pub fn discard(self) {
        // Whoever writes the next one overwrites what is left.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Drafts in one folder that are brought to the disk while something else is
/// done.
#[derive(Debug)]
pub(super) struct Lasting {
    drafts: Vec<Draft>,
    to_disk: JoinHandle<io::Result<Vec<File>>>,
}

impl Lasting {
    /// Begins to bring these to the disk.
    ///
    /// # Errors
    /// When there are no files to be had.
    pub fn begin(drafts: Vec<Draft>) -> Result<Self, Error> {
        let files: io::Result<Vec<File>> = drafts.iter().map(|d| d.file.try_clone()).collect();
        let files = files.map_err(|e| Error::io("write what is to be loaded", e))?;
        let to_disk = thread::spawn(move || {
            files.iter().try_for_each(File::sync_all)?;
            Ok(files)
        });
        Ok(Self { drafts, to_disk })
    }

    /// Waits until they are there, and puts each in the place of its file in
    /// their order.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn publish(self) -> Result<(), Error> {
        let Some(path) = self.drafts.first().map(|draft| draft.path.clone()) else {
            return Ok(());
        };
        let panicked = |_| Err(io::Error::other("the thread that did it panicked"));
        self.to_disk.join().unwrap_or_else(panicked).map_err(|e| {
            Error::io(
                format!("bring {} to the disk", Draft::of(&path).display()),
                e,
            )
        })?;
        self.drafts.into_iter().try_for_each(Draft::publish)?;
        folder_to_disk(&path)
    }

    /// Forgets them; the files stay as they were.
    pub fn discard(self) {
        self.drafts.into_iter().for_each(Draft::discard);
    }
}

/// Has what is in the folder of a file on the disk.
fn folder_to_disk(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io(format!("write the folder {}", folder.display()), source))
}

/// Takes room on the disk, so that what is written there finds it: some file
/// systems look for it only when they bring a file to the disk.
fn take_room(file: &File, bytes: usize) -> io::Result<()> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can.
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
