"""The command ``sessionstore``, as a shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-W", "error", "-m", "sessionstore")


def run(
    *arguments: object,
    url: str | None = None,
    said: bytes | None = None,
    folder: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its input and its outputs are no terminal.

    Args:
        arguments: What follows the command's name.
        url: What ``SESSIONSTORE_URL`` is set to.
        said: Its input; none by default.
        folder: Where it is run.
        environment: More variables.
    """
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=said or b"",
        capture_output=True,
        cwd=folder,
        env=environment_of(url) | environment,
        check=False,
    )
    out, err = ran.stdout.decode(), ran.stderr.decode()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(ran.args, ran.returncode, out, err)


def environment_of(url: str | None) -> dict[str, str]:
    """Give the environment of a command; nothing of who runs the tests changes what it writes."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith("SESSIONSTORE")
    }
    return ours | {"PYTHONUTF8": "1", "COLUMNS": "80"} | ({"SESSIONSTORE_URL": url} if url else {})


def output(*arguments: object, **options: Any) -> str:
    """Run a command that has to succeed, and give what it printed."""
    ran = run(*arguments, **options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def document(*arguments: object, **options: Any) -> Any:
    """Run a command that prints one JSON document, and give that."""
    return json.loads(output(*arguments, "--json", **options))
