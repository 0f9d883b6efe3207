"""What `airgap boot` loads on a host that has just started: the rules and /run are gone, what was kept is there."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from command import AIRGAP, POLICY, Case, sh

ADMIN = "192.0.2.10"


class Boot(Case):
    def kept(self, name: str) -> Path:
        [folder] = (self.folder / "state").iterdir()
        return folder / name

    def switch_off(self) -> None:
        """What a reboot takes away."""
        sh("nft", "flush", "ruleset")
        shutil.rmtree(self.folder / "run", ignore_errors=True)

    def seal(self, text: str = POLICY) -> str:
        """Applies a policy, switches off, and answers what was loaded."""
        self.airgap("apply", self.policy(text))
        loaded = self.ruleset("-s")
        self.switch_off()
        return loaded

    def boot(self, *words: str, code: int = 0) -> dict:
        return json.loads(self.airgap("boot", "--output", "json", *words, code=code).stdout)

    def expect_way_in(self, told: dict, *words: str) -> None:
        """Only the administrators' ssh is open."""
        self.assertEqual(told["loaded"], "way-in")
        self.assertEqual(told["admits"], 1)
        for word in words:
            self.assertIn(word, told["reason"])
        self.assertIn("the way in of", self.status()["source"])
        loaded = self.ruleset("-s")
        self.assertIn(ADMIN, loaded)
        for opening in ("203.0.113.9", "192.0.2.53", "docker0"):
            self.assertNotIn(opening, loaded)
        # Exactly what a policy of nothing but the admit loads.
        self.switch_off()
        only = 'version = 1\n[[admit]]\nfrom = "192.0.2.10"\nport = 22\n'
        self.airgap("apply", self.policy(only, "only.toml"))
        self.assertEqual(without_hash(loaded), without_hash(self.ruleset("-s")))

    def test_the_confirmed_policy_comes_back(self):
        loaded = self.seal()
        told = self.boot()
        self.assertEqual((told["loaded"], told["notes"]), ("policy", []))
        self.assertEqual(self.ruleset("-s"), loaded)
        status = self.status()
        self.assertEqual((status["drift"], status["hash"]), ([], told["hash"]))
        # A second time, as when Docker is started again, nothing changes.
        self.boot()
        self.assertEqual(self.ruleset("-s"), loaded)

    def test_what_nobody_confirmed_does_not_come_back(self):
        self.airgap("apply", self.policy())
        confirmed = self.ruleset("-s")
        other = self.policy(POLICY.replace("203.0.113.9", "198.51.100.9"), "other.toml")
        self.airgap("apply", other, "--confirm-within", "100s")
        # As when Docker is started meanwhile.
        self.assertEqual(self.boot()["loaded"], "pending")
        self.assertEqual(self.boot("--way-in")["loaded"], "pending")
        self.assertIn("198.51.100.9", self.ruleset())
        self.switch_off()
        self.assertEqual(self.boot()["loaded"], "policy")
        self.assertEqual(self.ruleset("-s"), confirmed)

    def test_nothing_confirmed_and_a_policy_that_waited(self):
        self.airgap("apply", self.policy(), "--confirm-within", "100s")
        self.switch_off()
        self.assertEqual(self.boot(), {"loaded": "nothing"})
        self.assertEqual(self.ruleset(), "")

    def test_what_was_never_sealed_is_left_alone(self):
        self.assertEqual(self.boot(), {"loaded": "nothing"})
        self.assertEqual(self.boot("--way-in"), {"loaded": "nothing"})
        self.assertEqual(self.ruleset(), "")

    def test_what_was_taken_away_does_not_come_back(self):
        self.airgap("apply", self.policy())
        self.airgap("remove")
        self.switch_off()
        self.assertEqual(self.boot(), {"loaded": "nothing"})
        self.assertEqual(self.ruleset(), "")

    def test_the_policy_s_own_file_does_not_matter(self):
        loaded = self.seal()
        self.policy("version = [")
        self.boot()
        self.assertEqual(self.ruleset("-s"), loaded)

    def test_a_damaged_record_leaves_the_way_in(self):
        whole = None
        for damage in ("one bit", "cut off", "empty", "another text", "a folder"):
            with self.subTest(damage):
                self.seal()
                path = self.kept("confirmed.json")
                whole = path.read_bytes()
                if damage == "one bit":
                    # Still JSON, and still an address: another one.
                    text = whole.replace(b"203.0.113.9", b"203.0.113.8", 1)
                    self.assertNotEqual(text, whole)
                    path.write_bytes(text)
                elif damage == "cut off":
                    path.write_bytes(whole[: len(whole) // 2])
                elif damage == "empty":
                    path.write_bytes(b"")
                elif damage == "another text":
                    path.write_bytes(b"version = 1\n" * 20)
                else:
                    path.unlink()
                    path.mkdir()
                told = self.boot(code=1)
                if damage == "a folder":
                    self.assertTrue(path.is_dir(), "what is damaged stays to be looked at")
                    path.rmdir()
                self.expect_way_in(told, "confirmed.json")

    def test_a_missing_record_leaves_the_way_in(self):
        self.seal()
        self.kept("confirmed.json").unlink()
        self.expect_way_in(self.boot(code=1), "gone")

    def test_an_unreadable_record_leaves_the_way_in(self):
        self.seal()
        self.kept("confirmed.json").chmod(0)
        # Root reads whatever its mode is, unless it may not.
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search",
                 "--inh-caps=-dac_override,-dac_read_search", AIRGAP, "boot", "--output", "json"]
        done = sh(*words, env=self.environment, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.kept("confirmed.json").chmod(0o600)
        self.expect_way_in(json.loads(done.stdout), "Permission denied")

    def test_a_record_of_a_later_version_leaves_the_way_in(self):
        self.seal()
        path = self.kept("confirmed.json")
        path.write_bytes(path.read_bytes().replace(b"version = 1", b"version = 2"))
        self.expect_way_in(self.boot(code=1), "version")

    def test_without_anything_left_nothing_is_open(self):
        self.seal()
        for name in ("confirmed.json", "way-in.json"):
            self.kept(name).write_text("{}")
        told = self.boot(code=1)
        self.assertEqual((told["loaded"], told["admits"]), ("way-in", 0))
        loaded = self.ruleset()
        self.assertNotIn(ADMIN, loaded)
        # Whether it was strict is not known any more.
        self.assertIn("table netdev airgap", loaded)
        self.assertIn("policy drop", loaded)

    def test_only_the_way_in(self):
        self.seal()
        self.expect_way_in(self.boot("--way-in", code=1))

    def test_a_strict_policy_s_way_in_is_strict(self):
        sh("ip", "link", "add", "strict0", "type", "veth", "peer", "strict1")
        self.addCleanup(sh, "ip", "link", "del", "strict0")
        self.seal(POLICY.replace("[host]", '[host]\nstrict = true\nuplinks = ["strict0"]\ndhcp = true'))
        self.kept("confirmed.json").write_text("")
        self.boot(code=1)
        egress = sh("nft", "list", "table", "netdev", "airgap").stdout
        self.assertIn("strict0", egress)
        # The host's address, without which nobody reaches it.
        self.assertIn('comment "dhcp: ', egress)

    def test_an_uplink_that_comes_late_is_covered(self):
        sh("ip", "link", "add", "late0", "type", "veth", "peer", "late1")
        self.seal(POLICY.replace("[host]", '[host]\nstrict = true\nuplinks = ["late0"]'))
        sh("ip", "link", "del", "late0")
        boot = subprocess.Popen([AIRGAP, "boot"], env=self.environment, stdout=subprocess.DEVNULL)
        self.addCleanup(boot.kill)
        self.addCleanup(sh, "ip", "link", "del", "late0", check=False)
        give_up = time.monotonic() + 20
        while "table inet airgap" not in self.ruleset():
            self.assertLess(time.monotonic(), give_up, "the host is to be closed before the wait")
        self.assertIsNone(boot.poll())
        sh("ip", "link", "add", "late0", "type", "veth", "peer", "late1")
        self.assertEqual(boot.wait(timeout=20), 0)
        self.assertIn("late0", sh("nft", "list", "table", "netdev", "airgap").stdout)

    def test_an_uplink_that_is_gone_is_told(self):
        sh("ip", "link", "add", "gone0", "type", "veth", "peer", "gone1")
        self.seal(POLICY.replace("[host]", '[host]\nstrict = true\nuplinks = ["gone0"]'))
        sh("ip", "link", "del", "gone0")
        told = self.boot()
        self.assertEqual(told["loaded"], "policy")
        self.assertIn("gone0", " ".join(told["notes"]))

    def test_names_stand_for_what_they_did(self):
        hosts = Path("/etc/hosts").read_text()
        name = 'version = 1\n[[allow]]\nto = "service.example"\nport = 443\n[[admit]]\nfrom = "admin.example"\nport = 22\n'
        path = self.policy(name)
        fake = self.folder / "hosts"
        fake.write_text(f"{hosts}\n203.0.113.9 service.example\n{ADMIN} admin.example\n")
        mounted = f'mount --bind "{fake}" /etc/hosts && exec "$@"'
        sh("unshare", "--mount", "sh", "-c", mounted, "sh", AIRGAP, "apply", path, env=self.environment)
        loaded = self.ruleset("-s")
        self.switch_off()
        # Nothing answers here for these names any more.
        self.airgap("plan", path, code=1)
        self.boot()
        self.assertEqual(self.ruleset("-s"), loaded)
        self.switch_off()
        self.kept("confirmed.json").write_text("")
        self.boot(code=1)
        self.assertIn(ADMIN, self.ruleset())
        self.assertNotIn("203.0.113.9", self.ruleset())

    def test_a_user_that_is_gone_keeps_its_number(self):
        policy = 'version = 1\n[[allow]]\nto = "203.0.113.9"\nport = 443\nuser = "games"\n'
        loaded = self.seal(policy)
        passwd = self.folder / "passwd"
        passwd.write_text("root:x:0:0:root:/root:/bin/bash\n")
        mounted = f'mount --bind "{passwd}" /etc/passwd && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", mounted, "sh", AIRGAP, "boot", "--output", "json"]
        told = json.loads(sh(*words, env=self.environment).stdout)
        self.assertIn("games", " ".join(told["notes"]))
        self.assertEqual(self.ruleset("-s"), loaded)

    def test_a_run_folder_that_cannot_be_written_opens_nothing(self):
        loaded = self.seal()
        (self.folder / "run").write_text("a file where a folder is needed")
        told = self.boot()
        self.assertEqual(told["loaded"], "policy")
        self.assertIn("run", " ".join(told["notes"]))
        self.assertEqual(self.ruleset("-s"), loaded)

    def test_other_programs_tables_stay(self):
        self.seal()
        sh("nft", "add table ip other; add chain ip other c")
        before = sh("nft", "list", "table", "ip", "other").stdout
        self.boot()
        self.assertEqual(sh("nft", "list", "table", "ip", "other").stdout, before)

    def test_without_nf_tables_rights_it_fails(self):
        self.seal()
        words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", AIRGAP, "boot"]
        done = sh(*words, env=self.environment, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("CAP_NET_ADMIN", done.stderr)


def without_hash(ruleset: str) -> list[str]:
    return [line for line in ruleset.splitlines() if "sha256:" not in line]


class Units(Case):
    def setUp(self) -> None:
        super().setUp()
        self.root = self.folder / "image"
        (self.root / "etc/systemd/system").mkdir(parents=True)
        # systemctl enables what it finds of a unit.
        docker = self.root / "lib/systemd/system/docker.service"
        docker.parent.mkdir(parents=True)
        docker.write_text("[Service]\nExecStart=/bin/true\n")

    def links(self) -> set[str]:
        folder = self.root / "etc/systemd/system"
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}

    def test_install_and_uninstall(self):
        said = self.airgap("install", "--root", str(self.root)).stdout
        self.assertIn("airgap.service", said)
        links = {"sysinit.target.wants/airgap.service", "docker.service.requires/airgap.service",
                 "multi-user.target.wants/airgap-watch.service"}
        self.assertEqual(self.links(), links)
        unit = self.root / "etc/systemd/system/airgap.service"
        self.assertIn("ExecStart=/usr/sbin/airgap boot", unit.read_text())
        self.airgap("install", "--root", str(self.root))
        self.airgap("uninstall", "--root", str(self.root))
        self.assertEqual(self.links(), set())
        self.assertFalse(unit.exists())
        self.airgap("uninstall", "--root", str(self.root))

    def test_the_package_s_unit_is_only_enabled(self):
        packaged = self.root / "lib/systemd/system/airgap.service"
        for unit in (Path(__file__).parents[2] / "airgap-cli/debian/units").iterdir():
            shutil.copy(unit, packaged.parent)
        told = json.loads(self.airgap("install", "--root", str(self.root), "--output", "json").stdout)
        self.assertEqual([unit["file"] for unit in told["units"]], [None, None])
        self.assertIn("docker.service.requires/airgap.service", self.links())
        self.airgap("uninstall", "--root", str(self.root))
        self.assertTrue(packaged.exists())
        self.assertEqual(self.links(), set())

    def test_systemd_takes_the_unit(self):
        self.airgap("install", "--root", str(self.root))
        (self.root / "usr/sbin").mkdir(parents=True)
        shutil.copy("/bin/true", self.root / "usr/sbin/airgap")
        units = [str(unit) for unit in (self.root / "etc/systemd/system").glob("*.service")]
        self.assertEqual(len(units), 2)
        done = sh("systemd-analyze", "verify", "--man=no", *units, check=False)
        mine = [line for line in done.stderr.splitlines() if "airgap" in line and "not executable" not in line]
        self.assertEqual(mine, [])

    def test_without_systemd_it_says_so(self):
        if os.path.isdir("/run/systemd/system"):
            # Where systemd runs this would change the machine's own units.
            return
        for command in ("install", "uninstall"):
            self.assertIn("--root", self.airgap(command, code=1).stderr)
