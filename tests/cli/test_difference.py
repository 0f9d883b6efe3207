"""What is sent, and what is left alone, from one policy to the next."""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path

from command import AIRGAP, POLICY, ROOT, Case, sh

EXAMPLES = [*sorted((ROOT / "examples").glob("*.toml")), ROOT / "tests/lab/policy.toml"]
# Tables of all three families.
EVERYTHING = """\
version = 1

[host]
resolvers = ["192.0.2.53"]
uplinks = ["eth0"]
strict = true

[[allow]]
to = "203.0.113.9"
port = 443

[[bridge]]
name = "docker0"
isolate = true
"""
FOREIGN = """\
table inet other {
	set addresses {
		type ipv4_addr
		elements = { 198.51.100.1, 198.51.100.2 }
	}
	chain input {
		type filter hook input priority 5; policy accept;
		ip saddr @addresses counter drop
	}
}
table ip nat {
	chain DOCKER { }
}
"""


class Difference(Case):
    def test_every_example_is_its_own_json(self):
        for example in EXAMPLES:
            with self.subTest(example.name):
                same = self.policy(json.dumps(tomllib.loads(example.read_text())), "same.json")
                sh("nft", "flush", "ruleset")
                self.airgap("apply", str(example))
                before = self.ruleset("-a")
                self.assertIn("table inet airgap", before)
                self.airgap("plan", same)
                self.airgap("apply", same)
                self.assertEqual(self.ruleset("-a"), before)
                sh("nft", "flush", "ruleset")
                self.airgap("apply", same)
                self.airgap("plan", str(example))
                self.airgap("status", "--full")

    def trace(self, path: str, command: str = "apply") -> list[str]:
        trace = self.folder / "trace"
        done = sh(
            "strace", "-f", "-o", str(trace), "-e", "trace=process,network,write,writev", AIRGAP, command, path,
            env=self.environment, check=False,
        )
        self.assertIn(done.returncode, (0, 3), done.stderr)
        return trace.read_text().splitlines()

    def test_one_batch_and_no_child_for_every_example(self):
        for example in EXAMPLES:
            with self.subTest(example.name):
                sh("nft", "flush", "ruleset")
                lines = self.trace(str(example))
                # By whichever call it goes: a batch must not hide in a sendto.
                batches = [line for line in lines if "NFNL_MSG_BATCH_BEGIN" in line]
                self.assertEqual(len(batches), 1, "\n".join(line[:160] for line in batches))
                self.assertIn("sendmsg(", batches[0])
                self.assertEqual(sum("sendmsg(" in line for line in lines), 1)
                self.assertEqual(sum("execve(" in line for line in lines), 1, "only the command itself")
                children = [line for line in lines if re.search(r"\b(v?fork|clone3?)\(", line)]
                self.assertEqual([line for line in children if "CLONE_THREAD" not in line], [])

                lines = self.trace(str(example))
                self.assertEqual([line[:160] for line in lines if "BATCH_BEGIN" in line or "sendmsg(" in line], [])

    def test_a_plan_sends_no_batch(self):
        for text in (POLICY, EVERYTHING):
            lines = self.trace(self.policy(text), "plan")
            self.assertTrue(any("NETLINK_NETFILTER" in line for line in lines))
            self.assertEqual([line[:160] for line in lines if "BATCH_BEGIN" in line or "sendmsg(" in line], [])

    def chains(self) -> dict[str, str]:
        """Each chain of the inet table with its rules and their handles."""
        listing = sh("nft", "-a", "list", "table", "inet", "airgap").stdout
        return dict(re.findall(r"^\tchain (\S+) \{(.*?)^\t\}", listing, re.MULTILINE | re.DOTALL))

    def foreign(self) -> str:
        return "".join(sh("nft", "-a", "list", "table", *table).stdout for table in (("inet", "other"), ("ip", "nat")))

    def test_chains_that_stay_keep_their_handles(self):
        sh("nft", "-f", "-", input=FOREIGN)
        foreign = self.foreign()
        self.airgap("apply", self.policy())
        before = self.chains()
        self.airgap("apply", self.policy(POLICY + '\n[[bridge]]\nname = "br-*"\nports = ["tcp/8888"]\n'))
        after = self.chains()
        self.assertGreater(len(after), len(before))
        changed = {name for name in before if after.get(name) != before[name]}
        # Another bridge is a line in the base chains, and in those that tell
        # bridges from uplinks. No other chain has a reason to be touched.
        about_bridges = {"same-bridge", "source", "from-uplink", "to-uplink"}
        self.assertLessEqual(changed, {"input", "output", "forward", "postrouting"} | about_bridges)
        self.assertIn("headers", set(before) - changed)
        self.assertEqual(self.foreign(), foreign)
        self.airgap("apply", self.policy())
        self.assertEqual(set(self.chains()), set(before))
        self.airgap("remove")
        self.assertEqual(self.foreign(), foreign)
        self.assertNotIn("airgap", self.ruleset())

    def hashes(self) -> list[str]:
        """The comments that name the policy that is loaded. The comment of a
        table that lives on cannot be changed: it says who `created` it."""
        tables = [entry["table"] for entry in json.loads(sh("nft", "-j", "list", "tables").stdout)["nftables"][1:]]
        texts = [sh("nft", "list", "table", table["family"], table["name"]).stdout for table in tables]
        return [found for text in texts for found in re.findall(r'comment "policy sha256:([0-9a-f]{64})"', text)]

    def test_a_table_carries_the_hash(self):
        seen = set()
        for text in (POLICY, EVERYTHING, POLICY):
            self.airgap("apply", self.policy(text))
            found = self.status()["hash"]
            self.assertEqual(self.hashes(), [found])
            seen.add(found)
        self.assertEqual(len(seen), 2)

    def test_drift_names_what_is_gone(self):
        self.airgap("apply", self.policy())
        handle = re.search(r'iifname "docker0" goto bridge-docker0-in # handle (\d+)', self.ruleset("-a"))[1]
        sh("nft", "delete", "rule", "inet", "airgap", "input", "handle", handle)
        self.assertIn("bridge-docker0-in", self.airgap("status", code=3).stdout)
        self.airgap("plan", self.policy(), code=3)
        self.airgap("apply", self.policy())
        self.airgap("status")

    def test_drift_of_elements_chains_and_hooks(self):
        for change in (
            "add element inet airgap allow-tcp-v4 { 198.51.100.9 . 22 }",
            "delete element inet airgap allow-tcp-v4 { 203.0.113.9 . 443 }",
            "add chain inet airgap stranger",
            "chain inet airgap output { policy accept; }",
            "add chain inet airgap early { type filter hook output priority -300; policy accept; }",
        ):
            with self.subTest(change):
                self.airgap("apply", self.policy())
                self.airgap("status")
                sh("nft", change)
                self.assertTrue(self.status(code=3)["drift"])
                self.airgap("apply", self.policy())
                self.airgap("status")


class Namespaces(Case):
    def test_by_name(self):
        name = f"agcli{os.getpid()}"
        sh("ip", "netns", "add", name)
        self.addCleanup(sh, "ip", "netns", "delete", name)
        sh("nft", "-f", "-", input=FOREIGN)
        before = self.ruleset("-a")
        path = self.policy()
        self.airgap("status", "--netns", name, code=4)
        self.airgap("plan", "--netns", name, path, code=3)
        self.airgap("apply", "--netns", name, path)
        self.airgap("plan", "--netns", name, path)
        self.airgap("status", "--netns", name)
        self.assertIn("table inet airgap", sh("ip", "netns", "exec", name, "nft", "list", "ruleset").stdout)
        self.assertEqual(self.ruleset("-a"), before)
        self.airgap("status", code=4)
        # One namespace's removal leaves the other's air gap.
        self.airgap("apply", path)
        self.airgap("remove", "--netns", name)
        self.airgap("status", "--netns", name, code=4)
        self.airgap("status")

    def test_a_named_namespace_has_files_of_its_own(self) -> None:
        name = f"airgap-test-{os.getpid()}"
        sh("ip", "netns", "add", name)
        self.addCleanup(sh, "ip", "netns", "delete", name)
        files = Path("/etc/netns", name)
        files.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, files)
        (files / "resolv.conf").write_text("nameserver 192.0.2.77\n")
        (files / "hosts").write_text("198.51.100.7 service.test\n")
        before = Path("/etc/resolv.conf").read_bytes()
        path = self.policy(
            'version = 1\n[host]\nresolvers = "system"\n[[allow]]\nto = "service.test"\nport = 443\n'
        )
        plan = json.loads(self.airgap("plan", "--netns", name, "--output", "json", path, code=3).stdout)
        self.assertEqual(plan["names"], {"service.test": ["198.51.100.7"]})
        openings = [change["opening"] for change in plan["changes"]]
        self.assertIn("allow: udp from the host to 192.0.2.77, port 53", openings)
        self.assertEqual(Path("/etc/resolv.conf").read_bytes(), before)

    def test_unprivileged_from_the_start(self):
        self.folder.chmod(0o777)
        # The checkout may lie where only the superuser can look.
        airgap = shutil.copy(AIRGAP, self.folder / "airgap")
        for text in (POLICY, EVERYTHING):
            with self.subTest(text):
                path = self.policy(text)
                script = f'{airgap} apply "$0" && {airgap} plan "$0" && {airgap} status --full'
                drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
                folder = {"AIRGAP_RUN_DIR": str(self.folder / "nobody")}
                done = sh(
                    *drop, "unshare", "-Urn", "sh", "-c", script, path, env=self.environment | folder, check=False
                )
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("Sealed", done.stdout)
        self.assertEqual(self.ruleset(), "")

    def test_a_user_namespace_without_a_network_of_its_own(self):
        # Root there, and without any right over the network it sees.
        done = sh("unshare", "-Ur", AIRGAP, "apply", self.policy(), env=self.environment, check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("CAP_NET_ADMIN", done.stderr)
        self.assertEqual(self.ruleset(), "")

    def test_an_uplink_that_is_not_there_is_a_warning(self):
        done = self.airgap("apply", self.policy(EVERYTHING))
        self.assertIn("eth0", done.stderr)
        self.assertIn("warning", done.stderr)
        self.airgap("status")
