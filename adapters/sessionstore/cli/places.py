"""Which store a command works on, and how it is opened: as it is, without a fallback."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sessionstore.cli.ending import UsageError
from sessionstore.errors import SessionStoreError
from sessionstore.store import SessionStore
from sessionstore.url import open_store

__all__ = ["ENVIRONMENT", "as_url", "fallback_url", "file_of", "open_at", "open_given", "url_given"]

ENVIRONMENT = "SESSIONSTORE_URL"
_NONE = f"no store is named: give --store URL or --store-file FILE, or set {ENVIRONMENT}"
_FILE = re.compile(r"(?i)sqlite(?:\+\w+)?:///(?P<path>[^?]+)")
_FORGETS = re.compile(r"(?i)memory:/*|sqlite(?:\+\w+)?:(?://|///:memory:)?")


def open_given(
    store: str | None, file: Path | None, timeout: float | None = None, *, makes: bool = False
) -> SessionStore:
    """Open the store that the options of a command name.

    Args:
        store: What ``--store`` was given.
        file: What ``--store-file`` was given.
        timeout: What ``--timeout`` was given.
        makes: A file that is not there is made.

    Raises:
        UsageError: They name none, or two.
        SessionStoreError: As for `open_at`.
    """
    return open_at(url_given(store, file), timeout, makes=makes)


def url_given(store: str | None, file: Path | None) -> str:
    """Give the URL that the options of a command name, or the environment.

    Raises:
        UsageError: They name none, or two.
    """
    if store is not None and file is not None:
        raise UsageError("give --store or --store-file, not both")
    if file is not None:
        return _read(file)
    url = store if store is not None else os.environ.get(ENVIRONMENT)
    if not url:
        raise UsageError(_NONE)
    return as_url(url)


def as_url(place: str) -> str:
    """Give the URL that a place on the command line is: itself, or what ``@FILE`` holds.

    Raises:
        UsageError: The file can't be read, or holds none.
    """
    return _read(Path(place[1:])) if place.startswith("@") else place


def fallback_url(place: str) -> str:
    """Give the URL of the store that a fallback keeps its journals in.

    Args:
        place: A file, a URL, or ``@FILE``.
    """
    url = as_url(place)
    return url if ":" in url else f"sqlite:///{Path(url).absolute()}"


def open_at(
    url: str,
    timeout: float | None = None,
    *,
    makes: bool = False,
    retention_days: float | None = None,
) -> SessionStore:
    """Open the store at a URL, without a fallback: what is written is in that store, or nowhere.

    Args:
        url: The URL.
        timeout: How long it may take for one step, in seconds; ``None`` for what is usual.
        makes: A file that is not there is made.
        retention_days: How long it keeps a session.

    Raises:
        UsageError: It names no store that lasts, or an option is invalid.
        SessionStoreError: There is no such file.
        ImportError: What it needs is not installed.
    """
    if _FORGETS.fullmatch(url):
        raise UsageError("this store ends with the command: name one that lasts")
    path = file_of(url)
    if path is not None and not makes and not path.exists():
        raise SessionStoreError(f"there is no file {path}: look at the path")
    try:
        return open_store(url, fallback=None, timeout=timeout, retention_days=retention_days)
    except SessionStoreError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None


def file_of(url: str) -> Path | None:
    """Give the file that a URL names; ``None`` where it names a server."""
    found = _FILE.match(url)
    return Path(found["path"]).absolute() if found else None


def _read(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"the file {file} that is to hold a URL can't be read: {why}") from None
    if not lines:
        raise UsageError(f"the file {file} is empty: its first line has to be a store's URL")
    return lines[0]
