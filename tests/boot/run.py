#!/usr/bin/env python3
"""Installs the package on a Debian 12 with Docker, seals it, boots it again and counts what gets out.

    tests/boot/run.py --deb target/debian/airgap_*.deb      # as root

The machine is full of programs that talk from the first moment on; a boot
without a policy shows that all of them are heard. Everything runs in a network
namespace made for it, and is gone when this ends.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
from frames import Count, count  # noqa: E402
from image import Image, say  # noqa: E402
from machine import STRANGER, FarSide, Machine, make_wire  # noqa: E402

OUTSIDE = "AIRGAP_TEST_OUTSIDE"
# How long the machine is left to talk once it is up.
LISTEN = 20.0
# What must be heard of a machine that is not sealed, by a part of its name.
HEARD = {
    "udp of the host, from the first moment": "udp to 203.0.113.66 port 9001",
    "the same over IPv6": "udp to 2001:db8:66::66 port 9002",
    "udp of a careless service": "udp to 203.0.113.67 port 9001",
    "udp of a service that waits for the network": "udp to 203.0.113.68 port 9001",
    "tcp of the host": "tcp to 203.0.113.66 port 9004",
    "tcp over IPv6": "tcp to 2001:db8:66::66 port 9004",
    "ping": "icmp to 203.0.113.66",
    "broadcasts": "udp to 255.255.255.255 port 9003",
    "multicasts": "udp to 224.0.0.251 port 5353",
    "packet sockets, IP": "udp to 203.0.113.66 port 9005",
    "packet sockets, neither IP nor ARP": "frames of EtherType 0x88b5",
    "a container's udp": "names of a container to 203.0.113.77",
    "a container's names, through Docker and the stub": "names of a container to 192.0.2.53",
    "a container's tcp": "tcp to 203.0.113.77 port 9010",
    "answers to strangers": "answers to strangers, tcp",
}
CONTAINER = """\
mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/bin/ && ln -sf busybox /tmp/image/bin/sh &&
tar -C /tmp/image -c . | docker import - talk >/dev/null &&
docker network create talk >/dev/null &&
docker run -d --restart=always --network talk --name talk talk /bin/busybox sh -c '
    while true; do
        /bin/busybox timeout 1 /bin/busybox nslookup out.container.example 203.0.113.77
        /bin/busybox timeout 1 /bin/busybox nslookup stub.container.example
        /bin/busybox nc -w 1 203.0.113.77 9010 </dev/null
    done' >/dev/null
"""
REACH = "/usr/bin/python3 -c 'import socket; print(socket.create_connection((\"{}\", {}), 10).recv(9).decode())'"
KEPT = "/var/lib/airgap/host"


class Findings:
    """What was asked of the machine, and whether it was so."""

    def __init__(self) -> None:
        self.failed = 0
        self.passed = 0

    def check(self, what: str, good: bool, told: object = "") -> None:
        if good:
            self.passed += 1
            print(f"  ok    {what}", flush=True)
        else:
            self.failed += 1
            print(f"  WRONG {what} {told}", flush=True)


class Story:
    """The boots of one machine, one after the other."""

    def __init__(self, machine: Machine, deb: Path):
        self.machine = machine
        self.deb = deb
        self.found = Findings()

    def tell(self, title: str) -> None:
        print(f"boot {self.machine.boots}: {title}", flush=True)

    def counted(self, listen: float = LISTEN) -> Count:
        time.sleep(listen)
        found = count(self.machine.frames)
        print(f"  sent: {found.leaked} frames without an opening, {found.opened} by the openings, {found.way_in} to the "
              f"administrator, {found.neighbourly} of the link's own", flush=True)
        return found

    def is_active(self, unit: str) -> str:
        return self.machine.ssh(f"systemctl is-active {unit}", check=False).strip()

    def expect_sealed(self, sent: Count) -> None:
        self.found.check("nothing leaked from the first frame on", sent.leaked == 0, sent.leaks.most_common(5))
        self.found.check("the administrator gets in", sent.way_in > 0)
        self.found.check("a stranger does not", "up" not in self.machine.ssh("echo up", source=STRANGER, check=False))

    def install(self) -> None:
        self.machine.boot()
        self.machine.wait_for_ssh()
        self.tell("Debian as it comes; the package is installed, and a container that talks")
        self.machine.ssh(CONTAINER)
        self.machine.copy_in(self.deb, "/root/airgap.deb")
        told = self.machine.ssh("dpkg -i /root/airgap.deb 2>&1")
        self.found.check("the package installs", "Setting up airgap" in told, told)
        self.found.check("its unit is enabled", "enabled" in self.machine.ssh("systemctl is-enabled airgap.service"))
        self.found.check("the watch runs", self.is_active("airgap-watch") == "active")
        self.found.check("Docker still runs", self.is_active("docker") == "active")
        self.found.check("nothing is loaded", self.machine.ssh("nft list tables | grep -c airgap", check=False).strip() == "0")

    def control(self) -> None:
        self.machine.reboot()
        self.machine.wait_for_ssh()
        self.tell("with the package, without a policy: everything is heard")
        self.found.check("the unit succeeds", self.is_active("airgap") == "active")
        self.found.check("Docker runs", self.is_active("docker") == "active")
        sent = self.counted()
        for what, leak in HEARD.items():
            heard = sum(n for kind, n in sent.leaks.items() if kind.startswith(leak))
            self.found.check(f"{what}: {heard} frames", heard > 0)

    def seal(self) -> None:
        self.machine.copy_in(Path(__file__).parent / "guest/policy.toml", "/etc/airgap/policy.toml")
        self.machine.ssh("airgap apply /etc/airgap/policy.toml")
        # The file is what an administrator wrote, not what is loaded at boot.
        self.machine.ssh("echo 'version = [' >/etc/airgap/policy.toml && sync")

    def sealed(self) -> None:
        self.machine.reboot()
        self.machine.wait_for_ssh()
        self.tell("sealed, and the policy's own file damaged since")
        self.found.check("the unit succeeds", self.is_active("airgap") == "active")
        self.found.check("Docker runs", self.is_active("docker") == "active")
        self.found.check("the watch runs", self.is_active("airgap-watch") == "active")
        self.found.check("its container runs", "talk" in self.machine.ssh("docker ps"))
        status = self.machine.ssh("airgap status", check=False)
        self.found.check("status knows of no drift", "drift:   none" in status, status)
        self.found.check("the allow pair is open", "far side" in self.machine.ssh(REACH.format("203.0.113.9", 443)))
        self.machine.ssh("/usr/bin/python3 -c 'import socket; socket.gethostbyname(\"host.example\")' & sleep 3; kill %1",
                         check=False)
        sent = self.counted()
        self.expect_sealed(sent)
        self.found.check("the host may ask for names", sent.opened_names > 0)

    def damaged(self) -> None:
        self.machine.ssh(f"dd if=/dev/urandom of={KEPT}/confirmed.json bs=64 count=1 seek=1 conv=notrunc 2>/dev/null; sync")
        self.machine.cut_power()
        self.machine.boot()
        self.machine.wait_for_ssh()
        self.tell("the record of the confirmed policy damaged, and the power cut")
        self.found.check("the unit fails", self.is_active("airgap") == "failed")
        self.found.check("Docker does not start", self.is_active("docker") != "active")
        told = self.machine.ssh("systemctl start docker 2>&1; systemctl is-active docker", check=False)
        self.found.check("nor when it is asked to", "\nactive" not in told, told)
        told = self.machine.ssh("journalctl -u airgap --no-pager")
        self.found.check("the journal says why", "damaged" in told, told)
        self.found.check("systemd closes the host after any failure", "it was asked for" in told, told)
        sent = self.counted()
        self.expect_sealed(sent)
        self.found.check("not even the openings are open", sent.opened == 0, sent.opened)

    def repaired(self) -> None:
        self.machine.copy_in(Path(__file__).parent / "guest/policy.toml", "/etc/airgap/policy.toml")
        self.machine.ssh("airgap apply /etc/airgap/policy.toml")
        self.machine.ssh("systemctl start docker")
        self.tell("the policy is applied again")
        self.found.check("Docker starts", self.is_active("docker") == "active")
        self.found.check("the allow pair is open", "far side" in self.machine.ssh(REACH.format("203.0.113.9", 443)))
        sent = self.counted(listen=5)
        self.found.check("nothing leaked meanwhile", sent.leaked == 0, sent.leaks.most_common(5))

    def removed(self) -> None:
        self.tell("the package is removed, and installed again")
        airgap = "nft -s list table inet airgap"
        before = self.machine.ssh(airgap)
        told = self.machine.ssh("dpkg -r airgap 2>&1")
        self.found.check("it says what stays", "stays sealed until its next boot" in told, told)
        self.found.check("no rule is touched", self.machine.ssh(airgap) == before)
        self.found.check("Docker still runs", self.is_active("docker") == "active")
        sent = self.counted(listen=5)
        self.found.check("nothing leaked meanwhile", sent.leaked == 0, sent.leaks.most_common(5))
        self.machine.ssh("systemctl restart docker")
        self.found.check("it starts without the package", self.is_active("docker") == "active")
        self.machine.ssh("dpkg -i /root/airgap.deb && airgap apply /etc/airgap/policy.toml")

    def lost(self) -> None:
        self.machine.ssh(f"echo >{KEPT}/confirmed.json; echo >{KEPT}/way-in.json; sync")
        self.machine.cut_power()
        self.machine.boot()
        # Nobody gets in: only the wire and the console are left to look at.
        self.machine.wait_for_console("login:")
        self.tell("all that was kept is damaged")
        sent = self.counted()
        self.found.check("nothing leaked from the first frame on", sent.leaked == 0, sent.leaks.most_common(5))
        self.found.check("nobody gets in", sent.way_in == 0 and "up" not in self.machine.ssh("echo up", check=False))

    def run(self) -> None:
        for chapter in (self.install, self.control, self.seal, self.sealed, self.damaged, self.repaired,
                        self.removed, self.lost):
            chapter()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deb", type=Path, required=True, help="the package")
    parser.add_argument("--keep", type=Path, help="where frames and consoles are kept")
    chosen = parser.parse_args()
    image = Image()
    if OUTSIDE not in os.environ:
        # It comes from Debian's archive, which only the machine's own network reaches.
        image.ensure()
    here = str(os.stat("/proc/self/ns/net").st_ino)
    if OUTSIDE not in os.environ:
        os.environ[OUTSIDE] = here
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    if os.environ[OUTSIDE] == here:
        print("this is the machine's own network namespace; unshare(1) did not make another", file=sys.stderr)
        return 1
    # A polite end must run the clean-up below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="airgap-boot-") as folder:
        make_wire()
        far_side = FarSide()
        machine = Machine(image, Path(folder))
        story = Story(machine, chosen.deb)
        try:
            story.run()
        finally:
            machine.cut_power()
            far_side.stop()
            if chosen.keep:
                machine.keep(chosen.keep)
    say(f"{time.monotonic() - begun:.0f} s")
    print(f"{story.found.passed} passed, {story.found.failed} failed")
    return 1 if story.found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
