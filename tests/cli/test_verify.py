"""The proof, for policies and for what the kernel holds."""

import json

from command import ROOT, Case, sh

# What iptables-nft writes for Docker, in short: its own drop for what comes to
# a container, and its accepts.
DOCKER = """\
*filter
:FORWARD DROP
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""

FORWARD = """\
version = 1

[[allow]]
to = "203.0.113.9"
port = 443

[[forward]]
from = "docker0"
to = "198.51.100.7"
port = 5432
"""


class Verifying(Case):
    def found(self, *words: str, code: int) -> dict:
        return json.loads(self.airgap("verify", *words, "--output", "json", code=code).stdout)

    def test_policies_are_proved(self):
        for policy in [*sorted((ROOT / "examples").glob("*.toml")), ROOT / "tests/lab/policy.toml"]:
            with self.subTest(policy.name):
                self.assertEqual(self.found(str(policy), code=0), {"result": "verified"})

    def test_what_is_loaded_is_proved_beside_docker(self):
        sh("iptables-nft-restore", input=DOCKER)
        policy = self.policy(FORWARD)
        self.airgap("apply", policy)
        self.assertIn("Proved", self.airgap("verify", "--live", policy).stdout)

    def test_a_host_without_air_gap_is_open(self):
        found = self.found("--live", self.policy(), code=3)
        self.assertEqual(found["kind"], "open-and-not-stated")

    def test_a_rule_more_opens(self):
        policy = self.policy()
        self.airgap("apply", policy)
        sh("nft", "insert", "rule", "inet", "airgap", "output", "ip", "daddr", "198.51.100.7", "accept")
        answer = self.airgap("verify", "--live", policy, code=3).stdout
        self.assertIn("198.51.100.7", answer)
        self.assertIn("open, and the policy does not state it", answer)

    def test_a_table_of_another_closes(self):
        policy = self.policy()
        self.airgap("apply", policy)
        sh("nft", "-f", "-", input="table ip other { chain out { type filter hook output priority 0; tcp dport 443 drop; }; }")
        found = self.found("--live", policy, code=3)
        self.assertEqual(found["kind"], "stated-and-not-open")
        self.assertEqual(found["flow"], "host -> tcp 203.0.113.9:443")
        self.assertEqual(found["dropped_by"], "ip other out")

    def test_what_is_not_understood_is_not_proved(self):
        policy = self.policy()
        self.airgap("apply", policy)
        sh("nft", "-f", "-", input="table ip other { chain out { type filter hook output priority 0; meta random & 1 == 1 drop; }; }")
        found = self.found("--live", policy, code=1)
        self.assertEqual(found["result"], "undecided")
        self.assertIn("ip other out", found["reasons"][0])

    def test_an_accept_of_another_opens_nothing(self):
        policy = self.policy()
        self.airgap("apply", policy)
        sh("nft", "-f", "-", input="table inet other { chain early { type filter hook output priority -300; accept; }; }")
        self.assertEqual(self.found("--live", policy, code=0), {"result": "verified"})
