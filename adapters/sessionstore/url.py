"""`open_store`: the store that a URL names."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

from sessionstore._runtime.frames import hides_arguments
from sessionstore.arguments import checked_seconds
from sessionstore.errors import StoreUnavailableError
from sessionstore.memory import InMemorySessionStore
from sessionstore.models import retention_microseconds
from sessionstore.sqlite.store import SQLiteSessionStore
from sessionstore.store import SessionStore

__all__ = ["KNOWN", "REDIS_SCHEMES", "THREE_SLASHES", "open_store"]

REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
"""The schemes of the URLs that name a Redis."""

KNOWN = (
    "memory:, sqlite:///FILE, postgresql://HOST, mysql://HOST, mariadb://HOST, "
    + ", ".join(f"{scheme}://" for scheme in REDIS_SCHEMES)
    + ", or another URL of SQLAlchemy"
)
"""The URLs of the stores that there are, to be named in an error."""

THREE_SLASHES = (
    "a file of SQLite has three slashes before its path, sqlite:///sessions.db, "
    "and four before an absolute one, sqlite:////var/lib/sessions.db"
)
"""What to say of a URL of SQLite, or of a path where a URL belongs."""

# What each needs, where SQLAlchemy is not there to tell.
_SQL = {
    "mariadb": "'sessionstore[sql]' pymysql",
    "mysql": "'sessionstore[sql]' pymysql",
    "postgres": "'sessionstore[postgres]'",
    "postgresql": "'sessionstore[postgres]'",
    "sqlite": "'sessionstore[sql]'",
}


@hides_arguments
def open_store(
    url: str,
    *,
    fallback: SessionStore | str | None = "in-memory",
    retention_days: float | None = None,
    timeout: float | None = None,
    on_fallback: Callable[[StoreUnavailableError], None] | None = None,
    on_recover: Callable[[], None] | None = None,
    retry_after: float = 1.0,
    retry_cap: float = 30.0,
    max_pending: int = 10_000,
    max_sessions: int = 1_000,
    max_messages: int = 200,
    unknown: Literal["empty", "raise"] = "empty",
) -> SessionStore:
    """Make the store that a URL names. Its server is not asked before the first use.

    What a fallback holds from before is read at once. In memory that is nothing; in a file it may
    take as long as another process writes there, up to 5 seconds: where an event loop runs, make
    the store in a thread, by ``asyncio.to_thread``.

    A store behind a network comes in a `FallbackSessionStore`: it works while its server is down,
    also when that is so from the start, and puts everything back later. A store in memory or in an
    SQLite file comes as it is, and needs none of the fallback's options; they are checked all the
    same.

    Example:
        >>> from sessionstore import open_store
        >>> open_store("memory:")
        InMemorySessionStore(<0 sessions>)

    Args:
        url: ``memory:`` for this process only; ``sqlite:///sessions.db`` for a file beside the
            program, ``sqlite:////var/lib/sessions.db`` for an absolute path, and ``sqlite://``
            for SQLite in memory, as SQLAlchemy writes them; ``redis://``, ``rediss://``,
            ``unix://``, ``redis+sentinel://`` and ``redis+cluster://`` as `RedisSessionStore`
            takes them; ``postgresql://…``, and any other URL of SQLAlchemy, for an SQL database.
        fallback: Where a store behind a network keeps what it takes in while its server is down:
            ``"in-memory"``; a URL such as ``"sqlite:///outage.db"``, which outlives a crash; or a
            store, which is closed with this one. ``None``: nowhere, an outage is an error.
        retention_days: How long a session is kept after its last write, in days; ``None`` keeps
            it for good.
        timeout: How long a server may take to be reached, and then to answer, in seconds; an
            SQLite file, to be free of other writers. ``None``: the store's own default. It is for
            Redis, PostgreSQL (through psycopg, which waits 2 seconds or more to reach one) and
            SQLite; for another driver, give `AgentDb` the ``connect_args`` that it knows.
        on_fallback: As for `FallbackSessionStore`, and so are the others.
        on_recover: The same.
        retry_after: The same.
        retry_cap: The same.
        max_pending: The same.
        max_sessions: The same.
        max_messages: The same.
        unknown: The same.

    Returns:
        The store. Close it, or use it in a ``with`` block.

    Raises:
        ValueError: The URL, or that of the fallback, names no store that there is; or ``timeout``
            or an option of the fallback is none of what it may be.
        TypeError: ``timeout`` or an option of the fallback has the wrong type.
        ImportError: What the store needs is not installed; the error tells the extra.
        SessionStoreError: An SQLite file's folder does not exist.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """
    from sessionstore.fallback.store import (  # noqa: PLC0415 - what a plain import can do without
        FallbackSessionStore,
        check_options,
        opened,
    )

    options: dict[str, Any] = {
        "on_fallback": on_fallback,
        "on_recover": on_recover,
        "retry_after": retry_after,
        "retry_cap": retry_cap,
        "max_pending": max_pending,
        "max_sessions": max_sessions,
        "max_messages": max_messages,
        "unknown": unknown,
    }
    check_options(**options)
    store = _named(url, retention_days, _waits(timeout))
    if fallback is None:
        return store
    if _is_local(url):
        if not isinstance(fallback, SessionStore):
            opened(fallback).close()
        return store
    return FallbackSessionStore(store, fallback=fallback, **options)


def _waits(timeout: object) -> dict[str, Any]:
    if timeout is None:
        return {}
    return {"timeout": checked_seconds(timeout)}


def _is_local(url: str) -> bool:
    dialect = url.partition(":")[0].partition("+")[0].lower()
    return dialect in ("memory", "sqlite")


def _named(url: str, retention_days: float | None, waits: dict[str, Any]) -> SessionStore:
    if not isinstance(url, str):
        raise ValueError(f"url must be a string, not {type(url).__name__}")  # noqa: TRY004 - as below
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if not colon:  # not quoted: who knows what it is
        raise ValueError(
            "no store for a URL without a scheme: "
            "a file is sqlite:///sessions.db, and this process's memory is memory:"
        )
    if scheme == "memory" and not rest.strip("/"):
        return InMemorySessionStore(retention_days)
    if scheme == "sqlite" and rest != "//" and not rest.startswith("///"):
        raise ValueError(f"no store for a URL of SQLite like this: {THREE_SLASHES}")
    if scheme == "sqlite" and (rest == "//" or rest.startswith("///")):
        if "?" in rest:
            raise ValueError("an SQLite URL takes no query: give SQLiteSessionStore its options")
        return SQLiteSessionStore(rest[3:] or ":memory:", retention_days=retention_days, **waits)
    if scheme in REDIS_SCHEMES:
        from sessionstore.redis.store import RedisSessionStore  # noqa: PLC0415 - needs a driver

        kept = retention_microseconds(retention_days)
        ttl_seconds = None if kept is None else kept / 1_000_000
        return RedisSessionStore(url, ttl_seconds=ttl_seconds, **waits)
    if rest.startswith("//") and _has_sqlalchemy(scheme):
        from sessionstore.sql.store import DbSessionStore  # noqa: PLC0415 - SQLAlchemy only for its URLs

        return DbSessionStore(url, retention_days=retention_days, **waits)
    # The URL itself may hold a password: only what it starts with is told.
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
