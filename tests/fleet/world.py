"""A fleet in network namespaces: a controller and managed hosts on one link,
each host with a root, processes and an sshd of its own."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ansible"))

import collection

HERE = Path(__file__).resolve().parent
CONTROLLER = "192.0.2.10"
SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
PasswordAuthentication no
StrictModes no
Subsystem sftp internal-sftp
MaxStartups 100
"""
SSH = "-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=3"


def run(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], check=True, text=True, **more)


class Host:
    """A managed host."""

    def __init__(self, number: int, folder: Path, key: Path, first: str) -> None:
        self.name = f"host{number:02}"
        self.address = f"192.0.2.{100 + number}"
        self.folder = folder / self.name
        self.wire = f"airgap-{number}"
        (self.folder / "layer").mkdir(parents=True)
        shutil.copy(key.with_suffix(".pub"), self.folder / "authorized_keys")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host_key")
        (self.folder / "sshd_config").write_text(SSHD.format(folder=self.folder))
        self.log = (self.folder / "log").open("w")
        # Its first process; all others end with it.
        apart = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
        # With the run, whatever ends it.
        words = ["setpriv", "--pdeathsig", "KILL", *apart, "sh", str(HERE / "host.sh"), str(self.folder), str(collection.TARGET), first]
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def inside(self, *words: str) -> str:
        """What a command says that is run on the host, past ssh and the air gap."""
        [first] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        enter = ["nsenter", f"--target={first}", "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wdns=/"]
        return run(*enter, *words, stdout=subprocess.PIPE).stdout

    def exists(self, path: str) -> bool:
        return self.inside("sh", "-c", f"test -e {path} && echo yes || echo no") == "yes\n"

    def ruleset(self) -> str:
        return self.inside("nft", "--stateless", "list", "ruleset")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.log.close()


class Fleet:
    """The controller, in whose namespace the caller is, and its hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.inventory = folder / "inventory.ini"
        self.hosts: list[Host] = []

    def start(self, count: int, first: str) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "link0", "type", "bridge")
        run("ip", "link", "set", "link0", "up")
        run("ip", "address", "add", f"{CONTROLLER}/24", "dev", "link0")
        for number in range(1, count + 1):
            self.hosts.append(Host(number, self.folder, self.key, first))
        for host in self.hosts:
            self._connect(host)
        self.inventory.write_text(
            "".join(f"{host.name} ansible_host={host.address}\n" for host in self.hosts)
            + "[all:vars]\n"
            + f"ansible_user=root\nansible_ssh_private_key_file={self.key}\n"
            + f"ansible_python_interpreter={collection.MANAGED}/bin/python\n"
        )
        self._wait_for_ssh()

    def _connect(self, host: Host) -> None:
        pid = host.process.pid
        here = os.stat("/proc/self/ns/net").st_ino
        deadline = time.monotonic() + 20
        while os.stat(f"/proc/{pid}/ns/net").st_ino == here:
            self._wait(host, deadline)
        run("ip", "link", "add", host.wire, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "link", "set", host.wire, "up", "master", "link0")
        into = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        run(*into, "address", "add", f"{host.address}/24", "dev", "eth0")
        run(*into, "link", "set", "eth0", "up")

    def _wait(self, host: Host, deadline: float) -> None:
        if host.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{host.name} did not start:\n{(host.folder / 'log').read_text()}")
        time.sleep(0.02)

    def _wait_for_ssh(self) -> None:
        deadline = time.monotonic() + 60
        for host in self.hosts:
            while subprocess.run(self.ssh(host, "true"), capture_output=True).returncode:
                self._wait(host, deadline)

    def ssh(self, host: Host, *words: str) -> list[str]:
        return ["ssh", *SSH.split(), "-i", str(self.key), f"root@{host.address}", *words]

    def play(self, book: Path, *words: str, **variables: object) -> "Play":
        """Runs a playbook against the hosts, as an administrator would."""
        begin = time.monotonic()
        done = collection.playbook(
            book,
            *("-i", str(self.inventory), *words),
            *[word for name, value in variables.items() for word in ("-e", f"{name}={value}")],
            ANSIBLE_SSH_ARGS=f"{SSH} -o ControlMaster=auto -o ControlPersist=60s",
            ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.folder / "cp"),
            ANSIBLE_HOST_KEY_CHECKING="false",
            ANSIBLE_FORKS="20",
        )
        return Play(done, time.monotonic() - begin)

    def end(self) -> None:
        for host in self.hosts:
            host.end()
        subprocess.run(["ip", "link", "delete", "link0"])


class Play:
    """What a run of a playbook said."""

    def __init__(self, done: subprocess.CompletedProcess[str], seconds: float) -> None:
        self.code = done.returncode
        self.said = done.stdout + done.stderr
        self.seconds = seconds

    def recap(self) -> dict[str, dict[str, int]]:
        """The counts of each host, from the last lines."""
        _, _, lines = self.said.partition("PLAY RECAP")
        counts = {}
        for line in lines.splitlines()[1:]:
            name, colon, rest = line.partition(":")
            if colon and "ok=" in rest:
                counts[name.strip()] = {k: int(v) for k, _, v in (word.partition("=") for word in rest.split())}
        return counts


@contextlib.contextmanager
def fleet(count: int, first: str = "sshd") -> Iterator[Fleet]:
    """Hosts that are gone in the end, whose first process is `sshd` or `systemd`."""
    with tempfile.TemporaryDirectory(prefix="airgap-fleet-") as folder:
        made = Fleet(Path(folder))
        try:
            made.start(count, first)
            yield made
        finally:
            made.end()
