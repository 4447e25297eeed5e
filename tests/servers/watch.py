"""Watches over a server of the tests: it ends when they do, however they end.

A server works in the ``data`` folder of a home of its own. Run as a program, this waits until its
standard input closes, which is also what happens when the tests die; then it ends all processes
that work in that folder, and removes the home.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE = 30.0


class Home:
    """A folder for a server, which nothing in it outlives."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sessionstore-server-"))
        self.data = self.path / "data"
        self._watcher = subprocess.Popen(
            [sys.executable, __file__, str(self.path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """End what works in the data folder, and remove everything."""
        assert self._watcher.stdin is not None
        if not self._watcher.stdin.closed:
            self._watcher.stdin.close()
            self._watcher.wait()


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def children(parent: int) -> list[int]:
    """Give the processes that a process has started, those that have ended aside."""
    return [pid for pid, fields in _processes() if int(fields[1]) == parent]


def users(folder: Path) -> list[int]:
    """Give the processes that work in a folder."""
    found = []
    for pid, _ in _processes():
        try:
            if Path(f"/proc/{pid}/cwd").readlink() == folder:
                found.append(pid)
        except OSError:  # it has ended
            continue
    return found


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if fields[0] != "Z":
            found.append((int(status.parent.name), fields))
    return found


def _watch(home: Path) -> None:
    sys.stdin.read()
    # Not SIGKILL: a PostgreSQL that ends by itself gives its shared memory back.
    for pid in users(home / "data"):
        send_signal(pid, signal.SIGQUIT)
        send_signal(pid, signal.SIGCONT)
    deadline = time.monotonic() + _PATIENCE
    while left := users(home / "data"):
        time.sleep(0.01)
        for pid in left if time.monotonic() > deadline else ():
            send_signal(pid, signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
