"""Processes that a test starts, and that end with it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from servers.process import wait_until
from warm import Forked, Warm

if TYPE_CHECKING:
    from typing_extensions import Self

Child: TypeAlias = "subprocess.Popen[str] | Forked"


class Children:
    """Starts Python programs; those that are left when the block ends are killed.

    Args:
        warm: Forks them. Where none is given, each is a new interpreter.
    """

    def __init__(self, warm: Warm | None = None) -> None:
        self._warm = warm
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
            ended(child)

    def start(self, program: str, *args: object) -> Child:
        child = self._warm.start(program, *args) if self._warm else self._new(program, *args)
        self._children.append(child)
        return child

    def _new(self, program: str, *args: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-u", "-c", dedent(program), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def start_together(self, count: int, program: str, *args: object) -> list[str]:
        """Let many, each with its number as the last argument, go on from ``input()`` at once."""
        children = [self.start(program, *args, number) for number in range(count)]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        return [finished(child) for child in children]

    def run(self, program: str, *args: object) -> str:
        return finished(self.start(program, *args))


def stop_outside_a_write(child: Child, path: Path) -> None:
    """Stop a child at a moment when it holds no lock of an SQLite file."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        while True:
            os.kill(child.pid, signal.SIGSTOP)
            wait_until(lambda: _is_stopped(child.pid), "it does not stop")
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(child.pid, signal.SIGCONT)
            else:
                file.execute("ROLLBACK")
                return


def _is_stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "T"


def finished(child: Child) -> str:
    """Wait for the end of a child that has to succeed, and give the rest of what it printed."""
    output = ended(child)
    assert child.returncode == 0, output
    return output


def ended(child: Child) -> str:
    """Wait for the end of a child, and give the rest of what it printed."""
    # Not by communicate(), which passes over what readline() has read ahead.
    assert child.stdin
    assert child.stdout
    if child.stdout.closed:
        return ""
    with child.stdin, child.stdout:
        output = child.stdout.read()
    child.wait()
    return output
