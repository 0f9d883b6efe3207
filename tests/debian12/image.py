"""Builds what the guest boots from: Debian's kernel, a small initramfs and a root file system.

Everything comes from Debian's archive through apt, which checks every package
against the archive's signed list. The packages are unpacked, not installed: no
maintainer script runs, so the build is quick and leaves this machine alone.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "target" / "debian12"
KERNEL_METAPACKAGE = "linux-image-cloud-amd64"

# What this machine needs to build and boot: the file that shows it is there, and its package.
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "cpio": "cpio",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "modprobe": "kmod",
}

# What the guest's root holds; apt adds what these depend on.
PACKAGES = """
    base-files base-passwd libc-bin netbase login
    bash dash coreutils findutils grep sed mawk gzip tar hostname procps
    busybox-static util-linux mount kmod iproute2 iputils-ping ethtool
    nftables iptables libnftnl11 libmnl0 conntrack tcpdump strace
    python3
""".split()

# Modules that the initramfs needs before the root file system (ext4 is built in).
EARLY_MODULES = ["virtio_pci", "virtio_blk"]

# Debian chooses these by update-alternatives in maintainer scripts, which do not run here.
ALTERNATIVES = {
    "usr/bin/sh": "dash",
    "usr/bin/awk": "mawk",
    **{
        f"usr/sbin/{family}{suffix}": f"{family}-nft{suffix}"
        for family in ("iptables", "ip6tables", "ebtables", "arptables")
        for suffix in ("", "-save", "-restore")
    },
}


class BuildError(Exception):
    """The guest could not be built; the text says why."""


def say(text):
    print(f"debian12: {text}", file=sys.stderr, flush=True)


def call(*argv, **options):
    """Runs a program and returns its output; what it says is shown only when it fails."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def find_tool(name):
    """The path of a program; sbin is often missing from an ordinary user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")


def install_tools():
    missing = sorted({package for tool, package in TOOLS.items() if not find_tool(tool)})
    if missing:
        say(f"installing {' '.join(missing)}")
        refresh_apt_lists_if_empty()
        call("apt-get", "install", "-y", "--no-install-recommends", *missing,
             env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def refresh_apt_lists_if_empty():
    known = call("apt-cache", "policy", KERNEL_METAPACKAGE)
    if not known or "Candidate: (none)" in known:
        call("apt-get", "update")


def recipe():
    """A digest of all that decides what the image holds; a cached image of another recipe is stale."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted((HERE / "guest").iterdir())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Image:
    """The cached files to boot from."""

    def __init__(self, folder=CACHE):
        self.folder = folder
        self.kernel = folder / "vmlinuz"
        self.initramfs = folder / "initramfs.gz"
        self.root = folder / "root.ext4"
        self.stamp = folder / "stamp"

    def release(self):
        return self.stamp.read_text().split()[1]

    def is_current(self):
        return self.stamp.exists() and self.stamp.read_text().split()[0] == recipe()

    def ensure(self, fresh=False):
        """Builds the image unless it is there; two runs at once wait for each other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            install_tools()
            if fresh:
                call("apt-get", "update")
            if fresh or not self.is_current():
                self.build()

    def build(self):
        refresh_apt_lists_if_empty()
        self.stamp.unlink(missing_ok=True)
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        root = work / "root"
        make_merged_usr(root)

        say("fetching packages")
        for package in self.fetch_userland():
            # dpkg-deb -x would put a folder in the place of the link /bin.
            call("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"', "sh", package, root)
        release = self.unpack_kernel(work / "kernel", root)
        configure(root)

        say(f"building the image of kernel {release}")
        call(find_tool("depmod"), "-b", root, release)
        build_initramfs(work / "initramfs", root, release, self.initramfs)
        # Sparse, and without a journal: every run works on a throw-away copy.
        replacement = work / "root.ext4"
        call(find_tool("mke2fs"), "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, replacement, "1500M")
        # A guest that is still running keeps the old file.
        replacement.replace(self.root)
        shutil.rmtree(work)
        self.stamp.write_text(f"{recipe()} {release}\n")

    def fetch_userland(self):
        """Downloads the packages and all that they depend on; returns the files."""
        archives = self.folder / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        # An empty list of installed packages makes apt resolve the whole closure.
        nothing_installed = self.folder / "no-packages"
        nothing_installed.write_text("")
        options = ["-o", f"Dir::State::status={nothing_installed}", "-o", f"Dir::Cache::archives={archives}",
                   "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1", "--no-install-recommends"]
        call("apt-get", "install", "-y", "--download-only", *options, *PACKAGES)
        plan = call("apt-get", "install", "-y", "--simulate", *options, *PACKAGES)
        # "Inst NAME (VERSION ARCHIVE [ARCHITECTURE])"; files of older versions may lie there too.
        wanted = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        newest = {}
        for path in sorted(archives.glob("*.deb"), key=lambda path: path.stat().st_mtime):
            newest[path.name.split("_")[0]] = path
        return [newest[name.split(":")[0]] for name in wanted]

    def unpack_kernel(self, folder, root):
        """Fetches the kernel that the metapackage stands for; returns its release."""
        depends = call("apt-cache", "depends", KERNEL_METAPACKAGE)
        names = [word for word in depends.split() if word.startswith("linux-image-") and word != KERNEL_METAPACKAGE]
        if not names:
            raise BuildError(f"{KERNEL_METAPACKAGE} names no kernel package; is this Debian 12?")
        folder.mkdir()
        downloads = self.folder / "kernel"
        downloads.mkdir(exist_ok=True)
        call("apt-get", "download", "-o", "APT::Sandbox::User=root", names[0], cwd=downloads)
        package = max(downloads.glob(f"{names[0]}_*.deb"), key=lambda path: path.stat().st_mtime)
        call("dpkg-deb", "-x", package, folder)
        release = names[0].removeprefix("linux-image-")
        shutil.copy(folder / "boot" / f"vmlinuz-{release}", self.kernel)
        # All modules: which one a first use asks for is part of what is tested.
        shutil.move(folder / "lib/modules" / release, root / "lib/modules" / release)
        return release


def make_merged_usr(root):
    """The links /bin -> usr/bin and so on, which Debian's installer makes before any package."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    (root / "lib/modules").mkdir()


def configure(root):
    """What maintainer scripts would have done, as far as the guest needs it."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "etc/hosts").write_text("127.0.0.1 localhost debian12\n::1 localhost\n")
    (root / "etc/hostname").write_text("debian12\n")
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    for link, target in ALTERNATIVES.items():
        if not os.path.lexists(root / link):
            (root / link).symlink_to(target)
    # Applets for whatever Debian's own packages above do not hold; last in the guest's PATH.
    applets = root / "usr/lib/busybox-applets"
    applets.mkdir()
    for name in call(root / "usr/bin/busybox", "--list").split():
        (applets / name).symlink_to("/bin/busybox")
    for name in ("proc", "sys", "dev", "run", "tmp", "mnt", "opt", "srv", "share", "job"):
        (root / name).mkdir(exist_ok=True)
    shutil.copy(HERE / "guest/init", root / "usr/sbin/guest-init")
    (root / "usr/sbin/guest-init").chmod(0o755)
    call(find_tool("ldconfig"), "-r", root)


def build_initramfs(folder, root, release, out):
    """A shell, the disk's driver, and a first program that mounts the root."""
    for name in ("bin", "proc", "dev", "root", "modules"):
        (folder / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", folder / "bin/busybox")
    shutil.copy(HERE / "guest/early-init", folder / "init")
    (folder / "init").chmod(0o755)
    order = []
    for module in EARLY_MODULES:
        # modprobe knows the order; busybox's insmod in the guest then only follows a list.
        for line in call(find_tool("modprobe"), "-d", root, "-S", release, "--show-depends", module).splitlines():
            kind, path = line.split()[:2]
            if kind == "insmod" and Path(path).name not in order:
                shutil.copy(path, folder / "modules")
                order.append(Path(path).name)
    (folder / "modules/order").write_text("\n".join(order) + "\n")
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    call("sh", "-c", 'printf "%s\\n" "$1" | cpio --quiet -o -H newc | gzip -1 >"$2"', "sh", names, out, cwd=folder)
