"""A server of the tests: its port, its folder, its signals; gone when the tests are."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Below the ports that the system gives to clients; and the bus of a Cluster takes port + 10,000.
_PORTS = range(12_000, 22_000)
_BUS = 10_000
_PATIENCE = 30.0
_PR_SET_PDEATHSIG = 1
_given: set[int] = set()

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def wait_until(condition: Callable[[], object], what: str, patience: float = _PATIENCE) -> None:
    """Ask again and again until the condition holds; a failure when it does not within reason."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience:.0f} s in vain: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """Give a port that is free, and that this process was never given: stores remember servers."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        if port not in _given and _is_free(port) and _is_free(port + _BUS):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sessionstore-test-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Process:
    """A server's process, which can be started again after it was killed.

    Start it from the main thread: the kernel kills it when the thread that started it ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._folder = folder
        self._environment = {**os.environ, **environment} if environment else None
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - calls the kernel, no more
            )

    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def signal(self, number: int) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        if self._running is not None:
            self._running.send_signal(signal.SIGCONT)
            self._running.kill()
            self._running.wait()
            self._running = None

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


def _die_with_the_tests() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
