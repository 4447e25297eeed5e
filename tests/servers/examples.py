"""The applications of docs/examples, served as their users would serve them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from servers.process import Process, free_port, wait_until

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
_PATIENCE = 120.0  # a busy machine imports for long


@contextmanager
def fastapi_chat(
    folder: Path, sessions: str = "sqlite:///chats.db", *, app: str = "fastapi_chat"
) -> Iterator[str]:
    """Serve the example, or a module of the tests that changes it, by uvicorn; give its address."""
    port = free_port()
    command = ["uvicorn", f"{app}:app", f"--port={port}"]
    with _serving(command, folder, sessions, f"http://127.0.0.1:{port}", "/ready") as url:
        yield url


@contextmanager
def streamlit_chat(folder: Path, sessions: str = "sqlite:///chats.db") -> Iterator[str]:
    """Serve the example by Streamlit; give its address."""
    port = free_port()
    command = ["streamlit", "run", str(EXAMPLES / "streamlit_chat.py"), f"--server.port={port}"]
    command += ["--server.headless=true", "--browser.gatherUsageStats=false"]
    command += ["--server.fileWatcherType=none", "--server.address=127.0.0.1"]
    with _serving(command, folder, sessions, f"http://127.0.0.1:{port}", "/_stcore/health") as url:
        yield url


@contextmanager
def _serving(
    command: Sequence[str], folder: Path, sessions: str, url: str, health: str
) -> Iterator[str]:
    path = [str(EXAMPLES), str(EXAMPLES.parents[1] / "tests"), *filter(None, sys.path)]
    environment = {"SESSIONS": sessions, "PYTHONPATH": ":".join(path)}
    program = [sys.executable, "-m", *command]
    process = Process(program, folder / "log", folder=folder, environment=environment)

    def is_ready() -> bool:
        assert process.is_running(), f"the server ended:\n{process.log()}"
        try:
            return httpx.get(url + health).is_success
        except httpx.TransportError:
            return False

    process.start()
    try:
        wait_until(is_ready, f"{command[0]} on {url}", _PATIENCE)
        yield url
        process.signal(signal.SIGTERM)
        wait_until(lambda: not process.is_running(), f"{command[0]} ends", _PATIENCE)
        assert "Exception in ASGI" not in process.log(), process.log()
    finally:
        process.kill()
