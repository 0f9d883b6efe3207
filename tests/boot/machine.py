"""The machine, in qemu under software emulation, and the network that it is on.

All of it is in a network namespace of the test's own: a tap device is the
machine's wire, and the far side of it has every address that the test talks
about. What the machine sends is written down by qemu itself, from the first
frame that its network card hands out.
"""

import ctypes
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from image import Image, call, say

HERE = Path(__file__).resolve().parent
MAC = "52:54:00:12:34:56"
ADMIN, STRANGER, MACHINE = "192.0.2.10", "192.0.2.99", "192.0.2.2"
# Without AppArmor: to compile its profiles takes an emulated machine a minute.
KERNEL_LINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off apparmor=0 panic=-1 random.trust_cpu=on"
# What a boot may take, and a command in the machine. Emulated on a busy computer both are slow.
BOOT_TIMEOUT = 1800.0
COMMAND_TIMEOUT = 900.0


def die_with_parent() -> None:
    """What the test starts must not outlive it, not even when it is killed outright."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def make_wire() -> None:
    """The tap device, and on it the far side's addresses. In this namespace, which is the test's own."""
    for line in (
        "link set lo up",
        "tuntap add dev wire mode tap",
        # The far side's own frames must not be taken for the machine's.
        "link set wire address 02:00:00:00:00:01 up",
        *(f"addr add {address}/24 dev wire" for address in ("192.0.2.1", "192.0.2.53", ADMIN, STRANGER)),
        "addr add 2001:db8::1/64 dev wire nodad",
        *(f"addr add {address}/32 dev lo" for address in ("203.0.113.9", "203.0.113.66", "203.0.113.67",
                                                           "203.0.113.68", "203.0.113.77")),
        *(f"addr add 2001:db8:66::{who}/128 dev lo nodad" for who in (66, 67, 68, 77)),
    ):
        call("ip", *line.split())


class FarSide:
    """Answers what gets out, and asks the machine what it must not answer."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(HERE / "far_side.py")], preexec_fn=die_with_parent)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Machine:
    """One machine: its disk outlives its boots."""

    def __init__(self, image: Image, folder: Path):
        self.image = image
        self.folder = folder
        self.disk = folder / "disk.qcow2"
        self.boots = 0
        self.qemu: subprocess.Popen | None = None
        call("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, self.disk)

    @property
    def frames(self) -> Path:
        """What was on the wire since this boot began, as pcap."""
        return self.folder / f"boot-{self.boots}.pcap"

    @property
    def console(self) -> Path:
        return self.folder / f"boot-{self.boots}.console"

    def boot(self) -> None:
        """Switches it on."""
        self.boots += 1
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
             "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", KERNEL_LINE,
             "-drive", f"file={self.disk},if=virtio,format=qcow2,cache=writeback",
             "-netdev", "tap,id=net,ifname=wire,script=no,downscript=no,vnet_hdr=off",
             "-device", f"virtio-net-pci,netdev=net,mac={MAC}",
             "-object", f"filter-dump,id=dump,netdev=net,file={self.frames}",
             "-serial", f"file:{self.console}"],
            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)

    def wait_for_console(self, text: str, timeout: float = BOOT_TIMEOUT) -> None:
        """Waits until the machine has written `text` on its console."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            if self.console.exists() and text in self.console.read_text(errors="replace"):
                return
            self.check_alive()
            time.sleep(0.2)
        raise RuntimeError(f"the machine did not write {text!r} in {timeout:g} s; see {self.console}")

    def check_alive(self) -> None:
        if self.qemu is None or self.qemu.poll() is not None:
            raise RuntimeError(f"the machine went off; see {self.console}")

    def ssh_words(self, source: str) -> list[str]:
        # One connection for all commands of a boot: to open one is slow.
        return ["ssh", "-q", "-i", str(self.image.key), "-b", source, "-o", "BatchMode=yes", "-o", "ConnectTimeout=60",
                "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.folder}/hosts",
                "-o", "ControlMaster=auto", "-o", f"ControlPath={self.folder}/{source}-{self.boots}.ssh",
                "-o", "ControlPersist=yes", "-o", "ServerAliveInterval=30", f"root@{MACHINE}"]

    def hang_up(self) -> None:
        """Ends the connections of this boot."""
        for path in self.folder.glob(f"*-{self.boots}.ssh"):
            subprocess.run(["ssh", "-q", "-O", "exit", "-o", f"ControlPath={path}", MACHINE],
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def ssh(self, command: str, source: str = ADMIN, check: bool = True) -> str:
        """Runs a command in the machine, and returns its output."""
        done = subprocess.run(
            [*self.ssh_words(source), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=COMMAND_TIMEOUT, check=False)
        if check and done.returncode:
            raise RuntimeError(f"in the machine: {command}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def copy_in(self, file: Path, target: str) -> None:
        with open(file, "rb") as content:
            subprocess.run([*self.ssh_words(ADMIN), f"cat >{target}"], stdin=content, check=True, timeout=COMMAND_TIMEOUT)

    def wait_for_ssh(self) -> None:
        """Waits until the administrator gets in, and every unit has had its turn."""
        give_up = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < give_up:
            self.check_alive()
            # "degraded" where a unit failed.
            if self.ssh("systemctl is-system-running", check=False).strip() in ("running", "degraded"):
                return
            time.sleep(2)
        raise RuntimeError(f"the machine did not start in {BOOT_TIMEOUT:g} s; see {self.console}")

    def reboot(self) -> None:
        """As an administrator does; the next boot is another run of qemu."""
        self.ssh("systemctl reboot", check=False)
        try:
            self.qemu.wait(timeout=BOOT_TIMEOUT)
        except subprocess.TimeoutExpired:
            say("the machine does not go down; its power is cut")
        self.cut_power()
        self.boot()

    def cut_power(self) -> None:
        """What the machine has not written to its disk is lost."""
        self.hang_up()
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()

    def keep(self, folder: Path) -> None:
        """Saves what tells what went wrong."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in [*self.folder.glob("*.pcap"), *self.folder.glob("*.console")]:
            shutil.copy(file, folder)
