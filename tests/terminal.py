"""A real terminal, by tmux: what a person types there, and what they see."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

HINT = "no tmux here: apt-get install tmux"

_PATIENCE = 120.0  # a busy machine takes long to start a command


def binary() -> str | None:
    """Give the path of tmux, or ``None`` where there is none."""
    return shutil.which("tmux")


class Terminal:
    """A window with a shell in it, in which ``sessionstore`` is the command.

    Args:
        socket: Where its tmux listens.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._runs = 0
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50", "/bin/sh")
        command = shlex.join([sys.executable, "-W", "error", "-m", "sessionstore"])
        self.type(f"PS1='> '; sessionstore() {{ {command} \"$@\"; }}; clear")

    def type(self, text: str) -> None:
        """Type a line, and press Enter."""
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, as tmux names it: ``C-c``."""
        self._tmux("send-keys", key)

    def screen(self) -> str:
        """Give what is to be seen, and what has scrolled away."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-200")

    def wait_for(self, text: str) -> str:
        """Wait until a text is to be seen; give all that is."""
        deadline = time.monotonic() + _PATIENCE
        while text not in (shown := self.screen()):
            assert time.monotonic() < deadline, f"in vain: {text!r}\n{shown}"
            time.sleep(0.05)
        return shown

    def run(self, command: str) -> None:
        """Type a command, and wait until nothing of the one before is to be seen.

        `ended` waits for its end.
        """
        self._runs += 1
        self.type(f"clear; echo run {self._runs}; {command}; echo status $?")
        self.wait_for(f"run {self._runs}\n")

    def ended(self, status: int) -> str:
        """Wait for the end of a command, and give all that was to be seen."""
        shown = self.wait_for("\nstatus ")
        assert f"\nstatus {status}\n" in shown, shown
        return shown

    def _tmux(self, *arguments: str) -> str:
        command = [binary() or "tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def terminal(**environment: str) -> Iterator[Terminal]:
    """Open a terminal, whose shell has these variables."""
    with tempfile.TemporaryDirectory(prefix="tmux") as folder:  # a socket's path must be short
        socket = os.path.join(folder, "s")
        opened = None
        try:
            opened = Terminal(socket)
            for name, value in environment.items():
                opened.type(f"export {name}={shlex.quote(value)}")
            yield opened
        finally:
            command = [binary() or "tmux", "-S", socket, "kill-server"]
            subprocess.run(command, check=False, capture_output=True)
