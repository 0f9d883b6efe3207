"""The integration targets of the collection, each a play against this
namespace, and what only a call from outside can show."""

import json
import os
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

import collection

TARGETS = sorted((collection.SOURCE / "tests" / "integration" / "targets").iterdir())
INVENTORY = f"localhost ansible_connection=local ansible_python_interpreter={collection.MANAGED}/bin/python\n"
BOOK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: {tasks}
"""
MODULES = ("airgap_assert", "airgap_confirm", "airgap_info", "airgap_policy")


class Targets(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.archive = collection.install()
        collection.managed_python()

    def setUp(self) -> None:
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        folder = tempfile.TemporaryDirectory(prefix="airgap-ansible-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.inventory = self.folder / "inventory.ini"
        self.inventory.write_text(INVENTORY)
        self.variables = {
            "AIRGAP_RUN_DIR": str(self.folder / "run"),
            "AIRGAP_STATE_DIR": str(self.folder / "state"),
            "AIRGAP_TEST_FOLDER": folder.name,
            "AIRGAP_TEST_OTHER_PYTHON": str(collection.TOOLS / "python"),
        }

    def test_targets(self) -> None:
        self.assertTrue(TARGETS)
        for target in TARGETS:
            with self.subTest(target.name):
                subprocess.run(["nft", "flush", "ruleset"], check=True)
                book = self.folder / "play.yml"
                book.write_text(BOOK.format(tasks=target / "tasks" / "main.yml"))
                done = collection.playbook(book, "-i", str(self.inventory), **self.variables)
                self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-2000:])

    def call(self, module: str, *, before: tuple[str, ...] = (), **arguments: object) -> dict:
        """What a module answers, called as `ansible -m` does."""
        ansible = [str(collection.TOOLS / "ansible"), "localhost", "-i", str(self.inventory), "--one-line"]
        words = [*before, *ansible, "-m", f"airgap.airgap.{module}"]
        if arguments:
            words += ["-a", json.dumps(arguments)]
        done = subprocess.run(words, env=collection.environment(**self.variables), capture_output=True, text=True)
        head, _, answer = done.stdout.partition(" => ")
        self.assertIn("localhost | ", head, done.stdout + done.stderr)
        return {"failed": "FAILED" in head, **json.loads(answer)}

    def test_without_rights_the_message_says_become(self) -> None:
        without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
        for module, arguments in (("airgap_info", {}), ("airgap_policy", {"policy": {"version": 1}})):
            with self.subTest(module):
                answer = self.call(module, before=without, **arguments)
                self.assertTrue(answer["failed"])
                self.assertIn("become", answer["msg"])
                self.assertEqual(answer["errno"], 1)

    def test_a_namespace_by_name(self) -> None:
        name = f"airgap-ansible-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            self.assertTrue(self.call("airgap_policy", policy={"version": 1}, netns=name)["changed"])
            self.assertTrue(self.call("airgap_info", netns=name)["ansible_facts"]["airgap"]["sealed"])
            self.assertFalse(self.call("airgap_info")["ansible_facts"]["airgap"]["sealed"])
            self.assertTrue(self.call("airgap_policy", state="absent", netns=name)["changed"])
        finally:
            subprocess.run(["ip", "netns", "delete", name], check=True)

    def test_the_archive_holds_what_users_need(self) -> None:
        with tarfile.open(self.archive) as archive:
            names = set(archive.getnames())
        for module in MODULES:
            self.assertIn(f"plugins/modules/{module}.py", names)
        self.assertIn("meta/runtime.yml", names)
        self.assertEqual([name for name in names if "__pycache__" in name], [])

    def test_the_documentation_shows(self) -> None:
        for module in MODULES:
            with self.subTest(module):
                words = [str(collection.TOOLS / "ansible-doc"), f"airgap.airgap.{module}"]
                done = subprocess.run(words, env=collection.environment(), capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("EXAMPLES", done.stdout)
                self.assertIn("RETURN VALUES", done.stdout)


if __name__ == "__main__":
    unittest.main()
