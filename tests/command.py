"""The command ``sessionstore``, as a shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from warm import Warm

COMMAND = (sys.executable, "-W", "error", "-m", "sessionstore")

# In a process of its own, which has imported already what others wrote.
FORKED = """
    import json, os, runpy, sys

    errors, environment = sys.argv[1:3]
    os.environ.clear()
    os.environ.update(json.loads(environment))
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    del sys.argv[1:3]
    runpy.run_module("sessionstore", run_name="__main__", alter_sys=True)
"""


class Command:
    """Runs commands to their end; their input and their outputs are no terminal.

    Args:
        warm: Forks their processes. Where none is given, each is a new interpreter.
    """

    def __init__(self, warm: Warm | None = None) -> None:
        self._warm = warm

    def run(
        self,
        *arguments: object,
        url: str | None = None,
        folder: Path | str = ".",
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command.

        Args:
            arguments: What follows the command's name.
            url: What ``SESSIONSTORE_URL`` is set to.
            folder: Where it is run.
            environment: More variables.
        """
        variables = environment_of(url) | environment
        start = self._forked if self._warm else self._new
        ran = start(list(map(str, arguments)), folder, variables)
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    def output(self, *arguments: object, **options: Any) -> str:
        """Run a command that has to succeed, and give what it printed."""
        ran = self.run(*arguments, **options)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def document(self, *arguments: object, **options: Any) -> Any:
        """Run a command that prints one JSON document, and give that."""
        return json.loads(self.output(*arguments, "--json", **options))

    def _new(
        self, arguments: list[str], folder: Path | str, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=folder,
            env=variables,
            check=False,
        )
        out, err = ran.stdout.decode(), ran.stderr.decode()
        return subprocess.CompletedProcess(arguments, ran.returncode, out, err)

    def _forked(
        self, arguments: list[str], folder: Path | str, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        assert self._warm
        with tempfile.TemporaryDirectory() as outside:
            errors = Path(outside, "errors")
            options = [str(errors), json.dumps(variables)]
            running = self._warm.start(FORKED, *options, *arguments, folder=folder)
            running.stdin.close()
            with running.stdout:
                out = running.stdout.read()
            status = running.wait()
            err = errors.read_text(encoding="utf-8")
        return subprocess.CompletedProcess(arguments, status, out, err)


def environment_of(url: str | None) -> dict[str, str]:
    """Give the environment of a command; nothing of who runs the tests changes what it writes."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith("SESSIONSTORE")
    }
    return ours | {"PYTHONUTF8": "1", "COLUMNS": "80"} | ({"SESSIONSTORE_URL": url} if url else {})
