"""Folders that are full, read-only or damaged: nothing is loaded that has no
way back, and what is loaded stays sealed."""

import hashlib
import json
import time
from pathlib import Path

from command import POLICY, Case, sh

MORE = POLICY + '\n[[allow]]\nto = "198.51.100.0/24"\nport = "8000-8099"\n'
GUARDED = ("apply", "--confirm-within", "1s")


class State(Case):
    def folder_of(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def file(self, folder: str, name: str, missing: bool = False) -> Path | None:
        found = list((self.folder / folder).glob(f"*/{name}"))
        self.assertTrue(missing or found)
        return found[0] if found else None

    def mount(self, folder: str, *options: str) -> None:
        path = str(self.folder_of(folder))
        sh("mount", *options, path)
        self.addCleanup(lambda: sh("umount", "-l", path, check=False))

    def until_not_pending(self, code: int) -> dict:
        begun = time.monotonic()
        # While it is taken back the records follow the ruleset by some moments.
        while self.file("run", "pending.json", missing=True) or self.file("run", "rolling-back.json", missing=True):
            self.assertLess(time.monotonic() - begun, 20)
            time.sleep(0.1)
        return self.status(code)

    def test_a_read_only_folder(self):
        for folder in ("run", "state"):
            with self.subTest(folder):
                sh("nft", "flush", "ruleset")
                self.mount(folder, "-t", "tmpfs", "-o", "ro,size=1m", "none")
                # What is confirmed is written when it is.
                words = [("apply",), GUARDED] if folder == "run" else [("apply",)]
                for word in words:
                    told = self.airgap(*word, self.policy(), code=1).stderr
                    self.assertIn("Read-only file system", told)
                    self.assertEqual(self.ruleset(), "")

    def test_a_full_disk(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        for folder in ("run", "state"):
            with self.subTest(folder):
                kept = self.folder / f"{folder}-kept"
                sh("cp", "-a", str(self.folder / folder), str(kept))
                self.mount(folder, "-t", "tmpfs", "-o", "size=64k", "none")
                sh("cp", "-a", f"{kept}/.", str(self.folder / folder))
                sh("sh", "-c", f"cat /dev/zero > {self.folder / folder}/filler", check=False)
                words = [("apply",), GUARDED] if folder == "run" else [("apply",)]
                for word in words:
                    told = self.airgap(*word, self.policy(MORE, "more.toml"), code=1).stderr
                    self.assertIn("No space left on device", told)
                    self.assertEqual(self.ruleset("-s"), there)
                    self.assertEqual(self.status()["drift"], [])
                sh("umount", "-l", str(self.folder / folder))

    def test_the_disk_is_full_when_the_time_is_over(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.mount("run", "-t", "tmpfs", "-o", "size=128k", "none")
        self.airgap("apply", self.policy())
        self.airgap(*GUARDED, self.policy(MORE, "more.toml"))
        sh("sh", "-c", f"cat /dev/zero > {self.folder}/run/filler", check=False)
        self.until_not_pending(0)
        self.assertEqual(self.ruleset("-s"), there)

    def test_what_is_confirmed_has_no_room(self):
        self.mount("state", "-t", "tmpfs", "-o", "size=64k", "none")
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.airgap("apply", "--confirm-within", "3s", self.policy(MORE, "more.toml"))
        sh("sh", "-c", f"cat /dev/zero > {self.folder}/state/filler", check=False)
        self.assertIn("No space left on device", self.airgap("confirm", code=1).stderr)
        self.until_not_pending(0)
        self.assertEqual(self.ruleset("-s"), there)

    def test_a_damaged_way_back_ends_sealed(self):
        for before in (None, POLICY):
            with self.subTest(before=before):
                sh("nft", "flush", "ruleset")
                for folder in ("run", "state"):
                    sh("rm", "-rf", str(self.folder / folder))
                if before:
                    self.airgap("apply", self.policy(before))
                there = self.ruleset("-s")
                self.airgap(*GUARDED, self.policy(MORE, "more.toml"))
                new = self.ruleset("-s")
                self.file("run", "way-back").write_bytes(b"\0" * 40)
                status = self.until_not_pending(0)
                self.assertIn("damaged", status["last_rollback"]["error"])
                # The confirmed policy, where there was one; never an open host.
                self.assertEqual(self.ruleset("-s"), there if before else new)
                self.assertEqual(status["drift"], [])

    def test_a_damaged_pending_change_is_taken_back_in_time(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.airgap("apply", "--confirm-within", "2s", self.policy(MORE, "more.toml"))
        self.file("run", "pending.json").write_text("{")
        for words in (("apply", self.policy()), ("confirm",)):
            self.assertIn("damaged", self.airgap(*words, code=1).stderr)
        begun = time.monotonic()
        while self.ruleset("-s") != there:
            self.assertLess(time.monotonic() - begun, 20)
            time.sleep(0.1)

    def test_a_damaged_pending_change_is_taken_back_by_hand(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.airgap("apply", "--confirm-within", "1h", self.policy(MORE, "more.toml"))
        self.file("run", "pending.json").write_text("{")
        self.assertTrue(any("damaged" in line for line in self.status(3)["drift"]))
        self.airgap("rollback")
        self.assertEqual(self.ruleset("-s"), there)
        self.assertEqual(self.status()["drift"], [])

    def test_damaged_records_are_told_and_replaced(self):
        self.airgap("apply", self.policy())
        for folder, name in (("run", "loaded.json"), ("state", "confirmed.json")):
            self.file(folder, name).write_text("{")
        there = self.ruleset("-s")
        self.assertTrue(any("damaged" in line for line in self.status(3)["drift"]))
        self.assertEqual(self.ruleset("-s"), there)
        self.airgap("apply", self.policy())
        self.assertEqual(self.status()["drift"], [])

    def test_the_air_gap_is_flushed_before_the_time(self):
        self.airgap("apply", self.policy())
        there = self.ruleset("-s")
        self.airgap(*GUARDED, self.policy(MORE, "more.toml"))
        sh("nft", "flush", "ruleset")
        begun = time.monotonic()
        while self.ruleset("-s") != there:
            self.assertLess(time.monotonic() - begun, 20)
            time.sleep(0.1)

    def test_a_change_of_another_boot_is_not_pending(self):
        self.airgap("apply", "--confirm-within", "1h", self.policy())
        pending = self.file("run", "pending.json")
        self.assertTrue(self.status()["pending"])
        data = json.loads(pending.read_text().splitlines()[0])
        data["until"]["boot"] = "another"
        line = json.dumps(data, separators=(",", ":"))
        pending.write_text(f"{line}\n{hashlib.sha256(line.encode()).hexdigest()}\n")
        self.assertIsNone(self.status()["pending"])
        self.airgap("apply", self.policy(MORE))
        self.airgap("confirm", code=1)
