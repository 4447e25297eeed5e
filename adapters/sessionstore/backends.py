"""The store of one backend that a URL names, as it is: without a fallback."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from sessionstore.arguments import checked_seconds
from sessionstore.arguments.urls import KNOWN, REDIS_SCHEMES, THREE_SLASHES
from sessionstore.errors import InvalidTypeError
from sessionstore.memory import InMemorySessionStore
from sessionstore.models import retention_microseconds
from sessionstore.sqlite.store import SQLiteSessionStore
from sessionstore.store import SessionStore

__all__ = ["is_local", "open_backend"]

A_FILE = "sqlite:///sessions.db"

# What each needs, where SQLAlchemy is not installed to say so.
_SQL = {
    "mariadb": "'sessionstore[sql]' pymysql",
    "mysql": "'sessionstore[sql]' pymysql",
    "postgres": "'sessionstore[postgres]'",
    "postgresql": "'sessionstore[postgres]'",
    "sqlite": "'sessionstore[sql]'",
}


def is_local(url: str) -> bool:
    """Tell whether a URL names this process's memory or a file: no network can fail."""
    dialect = url.partition(":")[0].partition("+")[0].lower()
    return dialect in ("memory", "sqlite")


def open_backend(
    url: str,
    *,
    retention_days: float | None = None,
    timeout: float | None = None,
    create_parents: bool = False,
) -> SessionStore:
    """Make the store that a URL names. Its server is not asked before the first use.

    Args:
        url: As for `sessionstore.open_store`, and so are the others.
        retention_days: The same.
        timeout: The same.
        create_parents: The same.

    Returns:
        The store.

    Raises:
        ValueError: The URL names no store, or ``timeout`` is invalid.
        TypeError: ``url`` is not a string, or ``timeout`` is not a number.
        ImportError: What the store needs is not installed; the error names the extra.
        SessionStoreError: An SQLite file's folder does not exist, or can't be made.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """
    waits: dict[str, Any] = {} if timeout is None else {"timeout": checked_seconds(timeout)}
    if not isinstance(url, str):
        kind = type(url).__name__
        raise InvalidTypeError(f"url must be a string, such as {A_FILE}, not {kind}")
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon:  # not quoted: who knows what it is
        raise ValueError(
            f"no store for a URL without a scheme: a file is {A_FILE}, "
            "and this process's memory is memory:"
        )
    if scheme == "memory" and not rest.strip("/"):
        return InMemorySessionStore(retention_days)
    if scheme == "sqlite" and rest != "//" and not rest.startswith("///"):
        raise ValueError(f"no store for a URL of SQLite like this: {THREE_SLASHES}")
    if scheme == "sqlite" and (rest == "//" or rest.startswith("///")):
        if "?" in rest:
            raise ValueError("an SQLite URL takes no query: give SQLiteSessionStore its options")
        return SQLiteSessionStore(
            rest[3:] or ":memory:",
            retention_days=retention_days,
            create_parents=create_parents,
            **waits,
        )
    if scheme in REDIS_SCHEMES:
        from sessionstore.redis.store import RedisSessionStore  # noqa: PLC0415 - needs a driver

        kept = retention_microseconds(retention_days)
        ttl_seconds = None if kept is None else kept / 1_000_000
        return RedisSessionStore(url, ttl_seconds=ttl_seconds, **waits)
    if rest.startswith("//") and _has_sqlalchemy(scheme):
        from sessionstore.sql.store import DbSessionStore  # noqa: PLC0415 - SQLAlchemy only for its URLs

        return DbSessionStore(url, retention_days=retention_days, **waits)
    # The URL itself may hold a password: only what it starts with is shown.
    raise ValueError(
        f"no store for a URL that starts with {scheme[:20]!r}: "
        f"use {KNOWN}, which needs the sql extra: pip install 'sessionstore[sql]'"
    )


def _has_sqlalchemy(scheme: str) -> bool:
    if find_spec("sqlalchemy") is not None:
        return True
    if packages := _SQL.get(scheme.partition("+")[0]):
        raise ImportError(
            f"a URL that starts with {scheme[:20]!r} needs SQLAlchemy: pip install {packages}",
            name="sqlalchemy",
        )
    return False
