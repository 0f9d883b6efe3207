"""What is said of flows, under a policy and under what the kernel holds."""

import http.server
import json
import os
import socketserver
import threading

from command import Case, sh

DOCKER = [
    {
        "Names": ["/billing"],
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "0" * 64, "IPAddress": "172.17.0.5"}}},
    }
]


class Daemon(http.server.BaseHTTPRequestHandler):
    """Answers as Docker's daemon does when it is asked for its containers."""

    def do_GET(self):
        body = json.dumps(DOCKER).encode()
        self.send_response(200 if self.path == "/containers/json" else 404)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "a socket"

    def log_message(self, *_):
        pass


class Explain(Case):
    def explain(self, *words: str, code: int = 0, **options) -> dict:
        return json.loads(self.airgap("explain", *words, "--output", "json", code=code, **options).stdout)

    def test_a_policy_without_rights_or_kernel(self):
        policy = self.policy()
        # As nobody, who may not even ask nf_tables.
        os.chmod(self.folder, 0o755)
        words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        airgap = self.folder / "airgap"
        from command import AIRGAP

        airgap.write_bytes(open(AIRGAP, "rb").read())
        airgap.chmod(0o755)
        done = sh(*words, str(airgap), "explain", policy, "host -> tcp 203.0.113.9:443")
        self.assertTrue(done.stdout.startswith("passes: host -> tcp 203.0.113.9:443\n"), done.stdout)
        self.assertIn("allow[0] (line 6)", done.stdout)

    def test_what_is_dropped_and_what_would_open_it(self):
        policy = self.policy()
        text = self.airgap("explain", policy, "host -> tcp 203.0.113.9:80", code=3).stdout
        for line in (
            "dropped: host -> tcp 203.0.113.9:80",
            "nearest: 203.0.113.9 is open on 443, not on 80",
            '    to = "203.0.113.9"',
            "    port = 80",
        ):
            self.assertIn(line, text)
        opens = self.explain(policy, "host -> tcp 203.0.113.9:80", code=3)["opens"]
        with open(policy, "a") as file:
            file.write("\n" + opens)
        self.assertEqual(self.explain(policy, "host -> tcp 203.0.113.9:80")["verdict"], "passes")

    def test_what_the_kernel_holds(self):
        flow = "host -> tcp 203.0.113.9:444"
        sh("ip", "link", "set", "lo", "up")
        self.assertEqual(self.explain("--live", flow)["verdict"], "passes")
        self.airgap("apply", self.policy())
        self.assertEqual(self.explain("--live", flow, code=3)["by"]["comment"], "no opening out")
        passes = self.explain("--live", "host -> tcp 203.0.113.9:443")
        self.assertEqual(passes["by"]["origin"], {"section": "allow", "index": 0, "line": 0, "column": 0})
        # Another program's drop is told to be that, and its accept opens nothing.
        sh("nft", "add table ip mine; add chain ip mine c { type filter hook output priority 0; };"
                  "add rule ip mine c tcp dport 443 drop; add rule ip mine c tcp dport 444 accept")
        dropped = self.explain("--live", "host -> tcp 203.0.113.9:443", code=3)
        self.assertEqual((dropped["by"]["owner"], dropped["by"]["chain"]), ("ip mine", "c"))
        self.explain("--live", flow, code=3)

    def test_what_the_kernel_holds_of_iptables(self):
        self.airgap("apply", self.policy())
        sh("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "22", "-j", "DNAT",
           "--to-destination", "198.51.100.1")
        flow = "tcp 192.0.2.10 -> host:22"
        dropped = self.explain("--live", flow, code=3)
        self.assertEqual(dropped["by"]["chain"], "routed")
        sh("iptables", "-t", "nat", "-F")
        self.assertEqual(self.explain("--live", flow)["verdict"], "passes")
        # A module that nobody here reads may match or not.
        sh("iptables", "-A", "INPUT", "-p", "tcp", "-m", "recent", "--name", "x", "--rcheck", "-j", "DROP")
        undecided = self.explain("--live", flow, code=1)
        self.assertEqual(undecided["verdict"], "undecided")
        self.assertIn("whether this matches", undecided["unsure"][0])
        self.explain("--live", "tcp 192.0.2.11 -> host:22", code=3)

    def test_names_of_containers_and_users(self):
        policy = self.policy('version = 1\n[[forward]]\nfrom = "docker0"\nto = "198.51.100.7"\nport = 5432\n'
                             '[[allow]]\nto = "203.0.113.9"\nport = 1\nuser = "daemon"\n')
        path = str(self.folder / "docker.sock")
        server = socketserver.UnixStreamServer(path, Daemon)
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.environment["DOCKER_HOST"] = f"unix://{path}"
        found = self.explain(policy, "billing -> tcp 198.51.100.7:5432")
        self.assertEqual(found["flow"], "docker0 172.17.0.5 -> tcp 198.51.100.7:5432")
        self.assertEqual(found["verdict"], "passes")
        error = self.airgap("explain", policy, "biling -> tcp 198.51.100.7:5432", code=2).stderr
        self.assertIn("did you mean `billing`?", error)
        self.explain(policy, "host -> tcp 203.0.113.9:1 as daemon")
        self.explain(policy, "host -> tcp 203.0.113.9:1", code=3)

    def test_no_flow(self):
        policy = self.policy()
        done = self.airgap("explain", policy, "host -> tpc 203.0.113.9:443", code=2)
        self.assertIn("<flow>:1:9", done.stderr)
        self.assertEqual(done.stdout, "")
        done = self.airgap("explain", policy, "host -> tpc 203.0.113.9:443", "--output", "json", code=2)
        self.assertIn("the flow has mistakes", json.loads(done.stderr)["error"])
        self.airgap("explain", "host -> tcp 203.0.113.9:443", code=2)
        self.airgap("explain", "--live", policy, "host -> tcp 203.0.113.9:443", code=2)
