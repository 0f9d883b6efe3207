//! The systemd units: what `airgap install` and `airgap uninstall` do, and
//! whether the air gap comes back after a boot.
//!
//! The units are those of the Debian package. Where that package has put them,
//! they are only enabled; else they are written for this very program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::commands::Failure;

/// Loads the last confirmed policy at boot. To start or stop it by hand would
/// do nothing, but stop Docker.
const BOOT: Unit = Unit {
    name: "airgap.service",
    text: include_str!("../debian/units/airgap.service"),
    runs: false,
};
/// Puts back what others change.
const WATCH: Unit = Unit {
    name: "airgap-watch.service",
    text: include_str!("../debian/units/airgap-watch.service"),
    runs: true,
};
const UNITS: [Unit; 2] = [BOOT, WATCH];
/// The program, as the package's unit calls it.
const PACKAGED_PROGRAM: &str = "/usr/sbin/airgap";
/// Where administrators' units are.
const OWN_UNITS: &str = "etc/systemd/system";
/// Where those of packages are.
const PACKAGED_UNITS: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

struct Unit {
    name: &'static str,
    text: &'static str,
    /// Whether it has a process, which is started and ended with the unit's
    /// being enabled and disabled.
    runs: bool,
}

/// What was done to a unit.
#[derive(Serialize)]
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

    /// Has the last confirmed policy loaded at each boot, and what is loaded
    /// watched.
    ///
    /// # Errors
    /// When a unit cannot be written or enabled.
    pub fn install(&self) -> Result<Vec<Done>, Failure> {
        let mut done = Vec::new();
        for unit in &UNITS {
            let file = if self.is_packaged(unit) {
                None
            } else {
                Some(self.write(unit)?)
            };
            done.push(Done {
                unit: unit.name,
                file,
            });
        }
        self.reload()?;
        for unit in &UNITS {
            self.switch("enable", unit)?;
        }
        Ok(done)
    }

    /// Takes that back. No rule is touched.
    ///
    /// # Errors
    /// When a unit cannot be disabled or removed.
    pub fn uninstall(&self) -> Result<Vec<Done>, Failure> {
        let mut done = Vec::new();
        for unit in &UNITS {
            let own = self.own(unit);
            if self.is_packaged(unit) || own.exists() {
                self.switch("disable", unit)?;
            }
            let mut file = None;
            if own.exists() {
                fs::remove_file(&own).map_err(|e| failed("remove", &own, &e))?;
                file = Some(own);
            }
            done.push(Done {
                unit: unit.name,
                file,
            });
        }
        self.reload()?;
        Ok(done)
    }

    /// Enables or disables a unit, and its process with it.
    fn switch(&self, verb: &str, unit: &Unit) -> Result<(), Failure> {
        if unit.runs && !self.is_image {
            self.systemctl(&[verb, "--now", unit.name])
        } else {
            self.systemctl(&[verb, unit.name])
        }
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
