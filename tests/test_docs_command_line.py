"""The page of the command line: its commands print what it says they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import environment_of
from pages import PAGES, fences

PAGE = PAGES["reference/command_line"].read_text(encoding="utf-8")
# Times, sizes and numbers that differ each time.
NUMBER = re.compile(r"\d+(?:[-:.,]\d+)*")


@pytest.mark.soak
def test_the_commands_of_the_page_print_what_is_said(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "sessionstore"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sessionstore "$@"\n')
    command.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    for script, said in steps():
        environment = environment_of("sqlite:///sessionstore-demo.db")
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        ran = subprocess.run(
            script,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        printed = ran.stdout.decode().replace(f"{home}/", "")
        assert plain(printed) == plain(said), script


def steps() -> Iterator[tuple[list[str], str]]:
    """Give the page's programs in order: commands, and Python."""
    for language, text, _, _ in fences(PAGE):
        if language == "python":
            yield [sys.executable, "-c", text], SAID_IN_AN_OUTAGE * ("Fallback" in text)
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                typed, _, said = part.partition("\n")
                if not typed.startswith("pip "):
                    yield ["/bin/sh", "-c", typed], said


SAID_IN_AN_OUTAGE = (
    "RedisSessionStore('redis://localhost:1/0') is unavailable, the fallback answers: "
    "StoreConnectionError(\"Redis can't be reached, or closed the connection: Connection "
    'refused")\n'
)


def plain(text: str) -> str:
    return NUMBER.sub("#", text)
