"""Builds the disk that the machine boots from: Debian 12 with systemd, Docker, and programs that talk.

mmdebstrap installs the packages as Debian's installer would, maintainer scripts
and all; the kernel and its initramfs are Debian's own. `airgap` is not on the
disk: a test installs its package in the running machine.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "boot"

MIRRORS = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
]
PACKAGES = """
    systemd systemd-sysv udev dbus kmod procps
    linux-image-cloud-amd64 initramfs-tools
    ifupdown iproute2 iputils-ping openssh-server
    docker.io iptables nftables busybox-static
    libnftnl11 libmnl0
    python3-minimal libpython3-stdlib
""".split()
DISK_SIZE = "3G"

# Who talks, when it begins, and the name server that a container could talk through.
PROGRAMS = ["talk", "stub"]
UNITS = ["talk-early", "talk-plain", "talk-late", "stub"]

# What has nothing to do with it, and would take its time.
SLOW = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    logrotate.timer man-db.timer getty@tty1.service systemd-timesyncd.service
""".split()


def say(text: str) -> None:
    print(f"boot: {text}", file=sys.stderr, flush=True)


def call(*words: str | Path, **options) -> str:
    """Runs a program and returns its output, which is shown if it fails."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def recipe() -> str:
    """A digest of all that decides what is on the disk."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted((HERE / "guest").iterdir())]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Image:
    """What is kept under `target/`."""

    def __init__(self, folder: Path = CACHE):
        self.folder = folder
        self.kernel = folder / "vmlinuz"
        self.initrd = folder / "initrd.img"
        self.disk = folder / "disk.ext4"
        self.key = folder / "key"
        self.stamp = folder / "stamp"

    def ensure(self) -> None:
        """Builds it unless it is there; two runs at once wait for each other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.stamp.exists() or self.stamp.read_text() != recipe():
                self.build()

    def build(self) -> None:
        self.stamp.unlink(missing_ok=True)
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        if not self.key.exists():
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        say("installing Debian 12 (a minute or two)")
        call("mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", "--skip=check/empty",
             "--aptopt=APT::Install-Recommends \"false\"", f"--include={','.join(PACKAGES)}",
             "bookworm", root, *MIRRORS)
        self.configure(root)
        shutil.copy(root / "vmlinuz", self.kernel)
        shutil.copy(root / "initrd.img", self.initrd)
        draft = self.folder / "disk.new"
        draft.unlink(missing_ok=True)
        call("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, draft, DISK_SIZE)
        draft.replace(self.disk)
        shutil.rmtree(root)
        self.stamp.write_text(recipe())

    def configure(self, root: Path) -> None:
        def write(path: str, text: str, mode: int = 0o644) -> None:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(mode)

        write("etc/hostname", "sealed\n")
        write("etc/hosts", "127.0.0.1 localhost sealed\n::1 localhost\n")
        write("etc/fstab", "LABEL=root / ext4 defaults 0 1\n")
        write("etc/resolv.conf", "nameserver 127.0.0.1\n")
        write("etc/network/interfaces", (HERE / "guest/interfaces").read_text())
        write("root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text(), 0o600)
        for program in PROGRAMS:
            write(f"usr/local/sbin/{program}", (HERE / "guest" / program).read_text(), 0o755)
        for unit in UNITS:
            write(f"etc/systemd/system/{unit}.service", (HERE / f"guest/{unit}.service").read_text())
        # The packages of Debian enable their own units; these are ours.
        call("systemctl", f"--root={root}", "enable", *UNITS)
        call("systemctl", f"--root={root}", "mask", *SLOW)
