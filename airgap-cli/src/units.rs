//! The systemd units: what `airgap install` and `airgap uninstall` do, and
//! whether the air gap comes back after a boot.
//!
//! The unit is the one of the Debian package. Where that package has put it, it
//! is only enabled; else it is written for this very program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::Failure;

/// The unit that loads the last confirmed policy at boot.
const BOOT: Unit = Unit {
    name: "airgap.service",
    text: include_str!("../debian/units/airgap.service"),
};
/// The program, as the package's unit calls it.
const PACKAGED_PROGRAM: &str = "/usr/sbin/airgap";
/// Where administrators' units are.
const OWN_UNITS: &str = "etc/systemd/system";
/// Where those of packages are.
const PACKAGED_UNITS: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

struct Unit {
    name: &'static str,
    text: &'static str,
}

/// What was done to a unit.
pub struct Done {
    /// Its name.
    pub unit: &'static str,
    /// The file that was written or removed; none where the package's is used.
    pub file: Option<PathBuf>,
}

/// A host, or the root of an image of one.
pub struct Units {
    root: PathBuf,
    is_image: bool,
}

impl Units {
    /// Those of this host, or of the image below `root`.
    ///
    /// # Errors
    /// When systemd does not run here and no image was named.
    pub fn of(root: Option<PathBuf>) -> Result<Self, Failure> {
        match root {
            Some(root) => Ok(Self {
                root,
                is_image: true,
            }),
            None if systemd_runs() => Ok(Self {
                root: PathBuf::from("/"),
                is_image: false,
            }),
            None => Err(Failure::Units(
                "systemd does not run here, so that there is nothing that would load a policy at boot; with `--root \
                 DIR` the unit is put into an image"
                    .to_owned(),
            )),
        }
    }

    /// Has the last confirmed policy loaded at each boot.
    ///
    /// # Errors
    /// When the unit cannot be written or enabled.
    pub fn install(&self) -> Result<Done, Failure> {
        let file = if self.is_packaged(&BOOT) {
            None
        } else {
            Some(self.write(&BOOT)?)
        };
        self.reload()?;
        self.systemctl(&["enable", BOOT.name])?;
        Ok(Done {
            unit: BOOT.name,
            file,
        })
    }

    /// Takes that back. No rule is touched, and no running unit stopped: Docker
    /// would stop with it.
    ///
    /// # Errors
    /// When the unit cannot be disabled or removed.
    pub fn uninstall(&self) -> Result<Done, Failure> {
        let own = self.own(&BOOT);
        let mut file = None;
        if self.is_packaged(&BOOT) || own.exists() {
            self.systemctl(&["disable", BOOT.name])?;
        }
        if own.exists() {
            fs::remove_file(&own).map_err(|e| failed("remove", &own, &e))?;
            file = Some(own);
        }
        self.reload()?;
        Ok(Done {
            unit: BOOT.name,
            file,
        })
    }

    fn own(&self, unit: &Unit) -> PathBuf {
        self.root.join(OWN_UNITS).join(unit.name)
    }

    fn is_packaged(&self, unit: &Unit) -> bool {
        PACKAGED_UNITS
            .iter()
            .any(|folder| self.root.join(folder).join(unit.name).exists())
    }

    fn write(&self, unit: &Unit) -> Result<PathBuf, Failure> {
        let path = self.own(unit);
        let program = program(self.is_image)?;
        let text = unit.text.replace(PACKAGED_PROGRAM, &program);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let draft = path.with_extension("new");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&draft, text))
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| failed("write", &path, &e))?;
        Ok(path)
    }

    fn reload(&self) -> Result<(), Failure> {
        if self.is_image {
            Ok(())
        } else {
            self.systemctl(&["daemon-reload"])
        }
    }

    fn systemctl(&self, words: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new("systemctl");
        if self.is_image {
            command.arg("--root").arg(&self.root);
        }
        let told = format!("systemctl {}", words.join(" "));
        let output = command
            .args(words)
            .output()
            .map_err(|e| Failure::Units(format!("could not run `{told}`: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::Units(format!(
            "`{told}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// Whether the last confirmed policy is loaded at the next boot; none where
/// systemd does not run.
pub fn comes_back() -> Option<bool> {
    let link = Path::new("/")
        .join(OWN_UNITS)
        .join("sysinit.target.wants")
        .join(BOOT.name);
    // The link itself: that what it points to is gone, systemd minds too.
    systemd_runs().then(|| link.exists())
}

/// sd_booted(3).
fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The program that the unit is to start. An image has it where the package
/// would put it.
fn program(is_image: bool) -> Result<String, Failure> {
    if is_image {
        return Ok(PACKAGED_PROGRAM.to_owned());
    }
    let path = std::env::current_exe()
        .map_err(|e| Failure::Units(format!("could not tell where this program is: {e}")))?;
    match path.to_str() {
        // systemd.service(5) would take such characters for its own.
        Some(path) if !path.contains(|c: char| c.is_whitespace() || "\"'\\%$;".contains(c)) => {
            Ok(path.to_owned())
        }
        _ => Err(Failure::Units(format!(
            "systemd cannot start a program of the name {}: move it, as to /usr/local/sbin/airgap",
            path.display()
        ))),
    }
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Units(format!("could not {action} {}: {error}", path.display()))
}
