"""The command under test."""

from __future__ import annotations

import os
import subprocess
import tempfile

from net import Cleanup, LabError

HERE = os.path.dirname(os.path.abspath(__file__))


class Airgap:
    """Calls of the command for one host, with its state in a folder of the laboratory's."""

    def __init__(self, cleanup: Cleanup, path: str, netns: str) -> None:
        self._path = path
        self._netns = netns
        self._dir = tempfile.TemporaryDirectory(prefix="ag-state-")
        cleanup.add(self._dir.cleanup)
        self._env = {**os.environ, "AIRGAP_STATE_DIR": f"{self._dir.name}/state", "AIRGAP_RUN_DIR": f"{self._dir.name}/run"}

    def call(self, *arguments: str, expected: tuple[int, ...] = (0,)) -> str:
        """Runs the command; another exit than the expected ones is an error that quotes it."""
        try:
            done = subprocess.run([self._path, *arguments, "--netns", self._netns], env=self._env, text=True,
                                  capture_output=True, timeout=60)
        except OSError as error:
            raise LabError(f"{self._path}: {error.strerror}; say where the command is with --airgap") from None
        if done.returncode not in expected:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"airgap {' '.join(arguments)}: exit {done.returncode}\n{said}")
        return done.stdout

    def apply(self, policy: str) -> None:
        """Applies a policy's text. The run holds both ends of its flows: those that the policy cuts would lock it out."""
        file = f"{self._dir.name}/policy.toml"
        with open(file, "w") as out:
            out.write(policy)
        self.call("apply", file, "--even-if-locked-out")

    def apply_file(self, path: str) -> None:
        """Applies a policy from its file."""
        self.call("apply", path, "--even-if-locked-out")

    def remove(self) -> None:
        """Takes the air gap away."""
        self.call("remove")


def table_policy(strict: bool = False, withdrawn: bool = False) -> str:
    """The policy of the tables; `withdrawn` takes the openings out that it withdraws."""
    with open(f"{HERE}/policy.toml") as file:
        text = file.read()
    if withdrawn:
        head, _, rest = text.partition("# withdrawn\n")
        text = head + rest.partition("# end of withdrawn\n")[2]
    return text.replace("strict = false", "strict = true") if strict else text
