"""A policy that cuts the way by which it is loaded is refused."""

import json
import os
import subprocess
import sys
import textwrap

from command import AIRGAP, Case, sh

CUTS = 'version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 443\n'
ADMITS = CUTS + '[[admit]]\nfrom = "192.0.2.10"\nport = 22\n'


class Lockout(Case):
    """An administrator at 192.0.2.10, connected to a server at 192.0.2.1."""

    def setUp(self) -> None:
        super().setUp()
        self.name = f"airgap-away-{os.getpid()}"
        for command in (
            f"ip netns add {self.name}",
            "ip link set lo up",
            f"ip link add ag-eth0 type veth peer name eth0 netns {self.name}",
            "ip addr add 192.0.2.1/24 dev ag-eth0",
            "ip link set ag-eth0 up",
            f"ip -n {self.name} addr add 192.0.2.10/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
        ):
            sh(*command.split())
        self.addCleanup(lambda: (sh("ip", "link", "delete", "ag-eth0", check=False),
                                 sh("ip", "netns", "delete", self.name, check=False)))
        # The server, whose child is this test's airgap: as sshd and a shell.
        self.server = subprocess.Popen([sys.executable, "-u", "-c", textwrap.dedent("""
            import json, socket, subprocess, sys
            server = socket.create_server(("192.0.2.1", 22))
            print("listens", flush=True)
            session, _ = server.accept()
            print("here", flush=True)
            for line in sys.stdin:
                done = subprocess.run(json.loads(line), capture_output=True, text=True)
                print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
        """)], env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, self.server)
        self.assertEqual(self.server.stdout.readline(), "listens\n")
        self.client = subprocess.Popen(["ip", "netns", "exec", self.name, sys.executable, "-c", textwrap.dedent("""
            import socket, sys
            session = socket.create_connection(("192.0.2.1", 22), source_address=("192.0.2.10", 50000))
            sys.stdin.read()
        """)], stdin=subprocess.PIPE)
        self.addCleanup(self.end, self.client)
        self.assertEqual(self.server.stdout.readline(), "here\n")

    def end(self, process: subprocess.Popen) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def inside(self, *words: str) -> tuple[int, str, str]:
        """Runs the command below the process that has the connection."""
        self.server.stdin.write(json.dumps([AIRGAP, *words]) + "\n")
        self.server.stdin.flush()
        code, out, errors = json.loads(self.server.stdout.readline())
        return code, out, errors

    def test_the_session_s_socket_is_enough(self):
        cuts = self.policy(CUTS)
        code, _, errors = self.inside("--output", "json", "apply", cuts)
        self.assertEqual(code, 1, errors)
        error = json.loads(errors.splitlines()[-1])
        self.assertEqual(error["code"], "lockout")
        self.assertIn("192.0.2.10:50000 to 192.0.2.1:22, over which you are here", error["error"])
        self.assertEqual(self.ruleset(), "")
        # Each of the ways to load it all the same.
        code, _, errors = self.inside("apply", "--confirm-within", "1h", cuts)
        self.assertEqual(code, 0, errors)
        self.airgap("rollback")
        code, _, errors = self.inside("apply", "--even-if-locked-out", cuts)
        self.assertEqual(code, 0, errors)

    def test_ssh_connection_is_enough(self):
        self.environment["SSH_CONNECTION"] = "192.0.2.10 50000 192.0.2.1 22"
        self.assertIn("over which you are here", self.airgap("apply", self.policy(CUTS), code=1).stderr)
        self.assertEqual(self.ruleset(), "")
        # A session that is no more is no way in.
        self.environment["SSH_CONNECTION"] = "192.0.2.10 50001 192.0.2.1 22"
        self.airgap("apply", self.policy(CUTS))

    def test_an_admitted_session_is_no_matter(self):
        code, _, errors = self.inside("apply", self.policy(ADMITS))
        self.assertEqual(code, 0, errors)
        # What is cut already is not cut anew.
        plan = json.loads(self.airgap("plan", "--output", "json", self.policy(CUTS), code=3).stdout)
        self.assertEqual([(cut["from"], cut["to"]) for cut in plan["cuts"]], [("192.0.2.10:50000", "192.0.2.1:22")])

    def test_a_plan_names_what_it_would_cut(self):
        self.assertIn("cuts: tcp from 192.0.2.10:50000 to 192.0.2.1:22\n", self.airgap("plan", self.policy(CUTS), code=3).stdout)
        self.assertNotIn("cuts:", self.airgap("plan", self.policy(ADMITS), code=3).stdout)
        # Others' sessions do not keep one from loading it.
        self.airgap("apply", self.policy(CUTS))
