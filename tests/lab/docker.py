"""Containers by a real dockerd that lives in the host's network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from containers import Bridge, Container
from net import Cleanup, LabError, Namespace, run

IMAGE = "lab"
BUSYBOX = "/bin/busybox"


class Docker:
    """A dockerd of our own: its data, socket and rules go away with the laboratory."""

    kind = "docker"

    def __init__(self, cleanup: Cleanup, host: Namespace, nameserver: str) -> None:
        for tool in ("dockerd", "docker", "iptables"):
            if not shutil.which(tool):
                raise LabError(f"`{tool}` is not installed (Debian: docker.io, iptables); or use --containers plain")
        if not os.path.exists(BUSYBOX):
            raise LabError(f"{BUSYBOX} is missing (Debian: busybox-static): the containers' image is made of it")
        self._host = host
        self._dir = tempfile.mkdtemp(prefix="ag-docker-")
        cleanup.add(lambda: shutil.rmtree(self._dir, ignore_errors=True))
        # What dockerd takes for the host's /etc/resolv.conf.
        with open(f"{self._dir}/resolv.conf", "w") as file:
            file.write(f"nameserver {nameserver}\n")
        self._group = _control_group(cleanup, os.path.basename(self._dir))
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containers: list[Container] = []
        cleanup.add(self._remove_all)

    def start(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Starts dockerd, then networks and containers."""
        self._start_daemon()
        self._make_image()
        self.add([bridge for bridge in bridges if bridge.name != "docker0"], containers)

    def add(self, bridges: list[Bridge], containers: list[Container]) -> None:
        """Adds user-defined networks and containers."""
        for bridge in bridges:
            self._docker("network", "create", "--ipv6", "--subnet", bridge.net4, "--gateway", bridge.gateway4,
                         "--subnet", bridge.net6, "--gateway", bridge.gateway6,
                         "--opt", f"com.docker.network.bridge.name={bridge.name}", bridge.name)
        # On docker0 the addresses go by the order of arrival, elsewhere we name them.
        on_default = [one for one in containers if one.bridge.name == "docker0"]
        others = [one for one in containers if one.bridge.name != "docker0"]
        for container in on_default:
            self._run_container(container)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._run_container, others))
        names = {f"lab-{one.name}": one for one in containers}
        pids = self._docker("inspect", "--format", "{{.Name}} {{.State.Pid}}", *names)
        for line in pids.split("\n"):
            if line:
                name, pid = line.lstrip("/").split()
                names[name].ns = Namespace(f"/proc/{pid}/ns/net")
        self._containers += containers

    def restart(self) -> None:
        """Restarts the daemon; the containers live on, all its rules are written anew."""
        self._stop_daemon()
        self._start_daemon()

    def _run_container(self, container: Container) -> None:
        command = ["run", "-d", "--name", f"lab-{container.name}", "--network",
                   "bridge" if container.bridge.name == "docker0" else container.bridge.name]
        if container.bridge.name != "docker0":
            command += ["--ip", container.ip4, "--ip6", container.ip6]
        for outer, inner in container.publish_tcp.items():
            command += ["-p", f"{outer}:{inner}/tcp"]
        for outer, inner in container.publish_udp.items():
            command += ["-p", f"{outer}:{inner}/udp"]
        self._docker(*command, IMAGE, "/bin/busybox", "sleep", "86400")

    def _docker(self, *arguments: str) -> str:
        return run(["docker", "-H", f"unix://{self._dir}/sock", *arguments])

    def _start_daemon(self) -> None:
        # In a mount namespace of its own, so that its resolv.conf can be the laboratory's.
        script = ('echo $$ >"$4/cgroup.procs" && mount --make-rprivate / && mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)" && '
                  'exec nsenter --net="$2" dockerd --data-root "$1/data" --exec-root "$1/exec" -H "unix://$1/sock" '
                  '-p "$1/pid" --storage-driver "$3" --bip 172.17.0.1/16 --ipv6 --fixed-cidr-v6 2001:db8:17::/64 '
                  '--live-restore')
        log = open(f"{self._dir}/log", "ab")
        self._daemon = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", self._dir, self._host.path, "vfs",
                                         self._group],
                                        stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()
        until = time.monotonic() + 40
        while time.monotonic() < until:
            if self._daemon.poll() is not None:
                break
            try:
                self._docker("version")
                return
            except LabError:
                time.sleep(0.1)
        with open(f"{self._dir}/log") as file:
            raise LabError("dockerd did not start:\n" + "".join(file.readlines()[-12:]))

    def _stop_daemon(self) -> None:
        if self._daemon is None:
            return
        self._daemon.terminate()
        try:
            self._daemon.wait(20)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._daemon = None

    def _make_image(self) -> None:
        root = f"{self._dir}/root"
        os.makedirs(f"{root}/bin")
        shutil.copy(BUSYBOX, f"{root}/bin/busybox")
        run(["sh", "-c", f"tar -C {root} -c . | docker -H unix://{self._dir}/sock import - {IMAGE}"])

    def _remove_all(self) -> None:
        for container in self._containers:
            if container.ns:
                container.ns.close()
        if self._daemon is not None and self._daemon.poll() is None:
            ids = run(["docker", "-H", f"unix://{self._dir}/sock", "ps", "-aq"], check=False).split()
            if ids:
                run(["docker", "-H", f"unix://{self._dir}/sock", "rm", "-f", *ids], check=False)
        self._stop_daemon()
        # Mounts that a killed daemon left behind would keep the folder from going away.
        with open("/proc/self/mounts") as file:
            mounts = [line.split()[1] for line in file if f"{self._dir}/" in line]
        for mount in reversed(mounts):
            run(["umount", "-l", mount], check=False)


def _control_group(cleanup: Cleanup, name: str) -> str:
    """A control group of version 2 for the daemon alone, such as systemd gives it."""
    with open("/proc/self/mounts") as file:
        roots = [fields[1] for line in file if (fields := line.split())[2] == "cgroup2"]
    if not roots:
        raise LabError("no hierarchy of control groups, version 2, is mounted (`mount -t cgroup2`)")
    path = f"{roots[0]}/{name}"
    os.mkdir(path)

    def remove() -> None:
        # What the daemon started is on its way out, and holds the group until then.
        for _ in range(50):
            try:
                os.rmdir(path)
                return
            except OSError:
                time.sleep(0.1)

    cleanup.add(remove)
    return path
