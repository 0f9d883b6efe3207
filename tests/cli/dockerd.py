"""Processes that are called as Docker's daemon is, in control groups of their
own, and ask a local stub for names."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from command import Case, sh

STUB = "nameserver 127.0.0.1\n"
ASK = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'?', ('127.0.0.1', 53))"


class WithDaemon(Case):
    """A test with such processes."""

    def setUp(self) -> None:
        super().setUp()
        roots = [fields[1] for line in Path("/proc/self/mounts").read_text().splitlines()
                 if (fields := line.split())[2] == "cgroup2"]
        self.assertTrue(roots, "no hierarchy of control groups, version 2, is mounted")
        self.root = Path(roots[0])
        self.resolv_conf = self.folder / "resolv.conf"
        self.resolv_conf.write_text(STUB)
        shutil.copy("/bin/sleep", self.folder / "dockerd")
        sh("ip", "link", "set", "lo", "up")

    def group(self, name: str) -> Path:
        path = self.root / f"airgap-test-{os.getpid()}-{name}"
        path.mkdir()

        def remove() -> None:
            # A process that was killed leaves its group a moment later.
            for _ in range(100):
                try:
                    return path.rmdir()
                except OSError:
                    time.sleep(0.05)

        self.addCleanup(remove)
        return path

    def daemon(self, group: Path) -> subprocess.Popen:
        script = ('echo $$ >"$1/cgroup.procs" && mount --make-rprivate / && '
                  'mount --bind "$2/resolv.conf" "$(readlink -f /etc/resolv.conf)" && exec "$2/dockerd" 600')
        process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", str(group), str(self.folder)])
        self.addCleanup(self.end, process)
        until = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/comm").read_text() != "dockerd\n":
            self.assertLess(time.monotonic(), until, "the process did not start")
            time.sleep(0.02)
        return process

    def end(self, process: subprocess.Popen) -> None:
        process.kill()
        process.wait()

    def passes(self, group: Path) -> bool:
        """Whether a process of this group can ask the stub."""
        return sh("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec python3 -c "$1"', str(group), ASK,
                  check=False).returncode == 0
