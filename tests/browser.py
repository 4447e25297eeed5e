"""Chromium without a window, where there is one on this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

HINT = "no Chromium here: apt-get install chromium, or put chromium or google-chrome on the PATH"

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def binary() -> str | None:
    """Give the path of the browser, or ``None`` where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def browse(page: Path, *options: str) -> str:
    """Open a page, let its scripts run, and give what the browser says of it."""
    program = binary()
    assert program, HINT
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [program, *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
