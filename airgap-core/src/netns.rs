//! Network namespaces: by path, or by a name of ip-netns(8) with the files that
//! belong to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::Error;

/// Where ip-netns(8) keeps named network namespaces.
const NAMED: &str = "/run/netns";
/// Where it keeps, by name, what stands in place of files of `/etc` in one.
const FILES: &str = "/etc/netns";

/// A network namespace that is not the caller's.
#[derive(Debug, Clone)]
pub(crate) struct NetworkNamespace {
    path: PathBuf,
    /// What takes the place of files of `/etc` in it, such as `resolv.conf`.
    files: Option<PathBuf>,
}

impl NetworkNamespace {
    /// By a path, or by a name of ip-netns(8), which has no slash.
    pub fn new(netns: &Path) -> Self {
        if netns.components().count() == 1 && netns.is_relative() {
            Self {
                path: Path::new(NAMED).join(netns),
                files: Some(Path::new(FILES).join(netns)).filter(|files| files.is_dir()),
            }
        } else {
            Self {
                path: netns.to_owned(),
                files: None,
            }
        }
    }

    /// Does `work` in the namespace. A thread of its own enters it, so that the
    /// caller's threads stay where they are.
    ///
    /// # Errors
    /// When there is no such namespace, or the caller may not enter it.
    pub fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let doing = |what: &str| format!("{what} the network namespace {}", self.path.display());
        let namespace =
            File::open(&self.path).map_err(|source| Error::io(doing("open"), source))?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET)
                    .map_err(|source| Error::io(doing("enter"), source.into()))?;
                if let Some(files) = &self.files {
                    put_in_place(files)?;
                }
                work()
            });
            thread
                .join()
                .unwrap_or(Err(Error::Protocol("a thread of this program ended early")))
        })
    }
}

/// Puts each file of a folder in the place of its namesake in `/etc`, for this
/// thread alone, as `ip netns exec` does.
fn put_in_place(files: &Path) -> Result<(), Error> {
    let failed = |source| Error::io(format!("use the files of {}", files.display()), source);
    unshare(CloneFlags::CLONE_NEWNS).map_err(|source| failed(source.into()))?;
    // What is mounted here must not show elsewhere.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .map_err(|source| failed(source.into()))?;
    for file in fs::read_dir(files).map_err(failed)? {
        let file = file.map_err(failed)?;
        let place = Path::new("/etc").join(file.file_name());
        if place.exists() {
            mount(
                Some(&file.path()),
                &place,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .map_err(|source| failed(source.into()))?;
        }
    }
    Ok(())
}
