//! Docker's own resolver. A container of a user-defined network asks it for
//! names, and it asks on from the container's own network namespace, where the
//! air gap sees a container. But a name server on the loopback interface (a
//! local stub) it can only reach from the host's namespace, as a process of
//! the host: then names are a way out, through the stub, which may ask the
//! network. What tells such questions is the control group of the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::graph::Cgroup;

/// The daemon, as the kernel names its processes.
const DAEMON: &str = "dockerd";
/// Docker's programs that outlive the daemon or leave it, and stay in its group.
const COMPANIONS: [&str; 5] = [
    "containerd",
    "containerd-shim",
    "docker-init",
    "docker-proxy",
    "runc",
];
/// systemd-resolved's stub, in whose place Docker takes the servers behind it…
const RESOLVED_STUB: &str = "127.0.0.53";
/// …from this file.
const RESOLVED_SERVERS: &str = "run/systemd/resolve/resolv.conf";

/// Whether containers can ask the network for names through Docker and a local
/// stub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DockerResolver {
    /// No: no Docker runs here, or it asks no local stub.
    #[default]
    Contained,
    /// No: a rule drops what sockets of this control group ask the stub.
    Closed(Cgroup),
    /// Yes, and this is why nothing tells the daemon's sockets from others.
    Open(String),
}

impl DockerResolver {
    /// Looks at the daemons in the network namespace of this thread.
    pub(crate) fn observe() -> Self {
        let Ok(here) = fs::metadata("/proc/thread-self/ns/net") else {
            return Self::Contained;
        };
        let processes = processes();
        let daemon = processes.iter().find(|(pid, process)| {
            process.name == DAEMON
                && fs::metadata(format!("/proc/{pid}/ns/net"))
                    .is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (here.dev(), here.ino()))
        });
        match daemon {
            Some((pid, _)) if asks_stub(Path::new(&format!("/proc/{pid}/root"))) => {
                control_group(*pid, &processes).map_or_else(Self::Open, Self::Closed)
            }
            _ => Self::Contained,
        }
    }

    /// What will be so when the daemon has started on a host that has just
    /// started itself. Its control group is made here and now: the rule names
    /// it by number, containers begin with the daemon, and systemd takes a
    /// group that is there.
    pub(crate) fn after_boot(&self) -> Self {
        match (self, Self::observe()) {
            (Self::Closed(group), Self::Contained) => {
                make_control_group(&group.path).map_or_else(Self::Open, Self::Closed)
            }
            (Self::Open(_), Self::Contained) => self.clone(),
            (_, now) => now,
        }
    }
}

/// Makes a control group, if it is not there, and names it.
fn make_control_group(path: &str) -> Result<Cgroup, String> {
    let folder = hierarchy()
        .ok_or("no hierarchy of control groups, version 2, is mounted")?
        .join(path);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    identify(path.to_owned(), &folder)
}

/// Whether the daemon passes names on to a server of the loopback interface,
/// by the files below its root.
fn asks_stub(root: &Path) -> bool {
    let servers = |path: &str| -> Vec<String> {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("nameserver")?.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    };
    let mut named = servers("etc/resolv.conf");
    if named == [RESOLVED_STUB] && root.join(RESOLVED_SERVERS).exists() {
        named = servers(RESOLVED_SERVERS);
    }
    named
        .iter()
        .any(|server| server.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

/// A process.
struct Process {
    name: String,
    parent: u32,
}

/// All processes that can be seen, by their numbers.
fn processes() -> BTreeMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            // proc_pid_stat(5): pid (name) state parent …; the name may hold
            // spaces and brackets.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(") ")?;
            let name = head.split_once(" (")?.1.to_owned();
            let parent = tail.split(' ').nth(1)?.parse().ok()?;
            Some((pid, Process { name, parent }))
        })
        .collect()
}

/// The control group of a daemon, if it has one to itself and its children;
/// else why not.
fn control_group(daemon: u32, processes: &BTreeMap<u32, Process>) -> Result<Cgroup, String> {
    let of = |pid: u32| -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(path.to_owned())
    };
    let path = of(daemon).ok_or("its control group cannot be read (cgroups(7), version 2)")?;
    if path.is_empty() {
        return Err("Docker's daemon runs in the root control group".to_owned());
    }
    let descends = |mut pid: u32| {
        // Chains of parents end at 0; the bound is for a snapshot that does not
        // hold together.
        for _ in 0..processes.len() {
            if pid == daemon {
                return true;
            }
            match processes.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    };
    // Another's sockets in the group would be cut from the stub too.
    let stranger = processes.iter().find(|(pid, process)| {
        !COMPANIONS.contains(&process.name.as_str())
            && !descends(**pid)
            && of(**pid).as_ref() == Some(&path)
    });
    if let Some((pid, process)) = stranger {
        return Err(format!(
            "Docker's daemon shares its control group `{path}` with process {pid} (`{}`)",
            process.name
        ));
    }
    let folder = hierarchy()
        .ok_or("no hierarchy of control groups, version 2, is mounted")?
        .join(&path);
    identify(path, &folder)
}

/// A control group by the number that the kernel knows it by.
fn identify(path: String, folder: &Path) -> Result<Cgroup, String> {
    let id = fs::metadata(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .ino();
    let level = u32::try_from(path.split('/').count()).unwrap_or(u32::MAX);
    Ok(Cgroup { level, id, path })
}

/// Where the hierarchy of version 2 is mounted.
fn hierarchy() -> Option<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        // source, folder, kind, …
        let mut fields = line.split(' ').skip(1);
        let folder = fields.next()?;
        (fields.next()? == "cgroup2").then(|| folder.into())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    fn asks(resolv_conf: &str, behind_resolved: Option<&str>) -> bool {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/resolv.conf"), resolv_conf).unwrap();
        if let Some(text) = behind_resolved {
            fs::create_dir_all(folder.path().join("run/systemd/resolve")).unwrap();
            fs::write(folder.path().join(RESOLVED_SERVERS), text).unwrap();
        }
        asks_stub(folder.path())
    }

    #[test]
    fn a_server_on_the_loopback_interface_is_a_stub() {
        assert!(asks("nameserver 127.0.0.1\n", None));
        assert!(asks("nameserver 192.0.2.53\nnameserver ::1\n", None));
        assert!(!asks(
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\n",
            None
        ));
        assert!(!asks("", None));
    }

    #[test]
    fn docker_goes_round_the_stub_of_systemd_resolved() {
        assert!(!asks(
            "nameserver 127.0.0.53\n",
            Some("nameserver 192.0.2.53\n")
        ));
        assert!(asks("nameserver 127.0.0.53\n", None));
        assert!(asks(
            "nameserver 127.0.0.53\nnameserver 192.0.2.53\n",
            Some("nameserver 192.0.2.53\n")
        ));
    }

    #[test]
    fn a_group_that_others_share_is_not_the_daemon_s() {
        let own = std::process::id();
        let mut processes = processes();
        // This very process, as the daemon; its parent, the test runner, is in
        // the same group, or the group is the root.
        assert!(processes.contains_key(&own));
        assert!(control_group(own, &processes).is_err());
        processes.retain(|pid, _| *pid == own);
        if let Ok(group) = control_group(own, &processes) {
            assert_eq!(group.level as usize, group.path.split('/').count());
        }
    }
}
