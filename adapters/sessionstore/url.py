"""`open_store`: the store that a URL names."""

from __future__ import annotations

from sessionstore.memory import InMemorySessionStore
from sessionstore.models import retention_microseconds
from sessionstore.sqlite import SQLiteSessionStore
from sessionstore.store import SessionStore

__all__ = ["REDIS_SCHEMES", "open_store"]

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


def open_store(url: str, *, retention_days: float | None = None) -> SessionStore:
    """Make the store that a URL names. Nothing is opened before its first use.

    Example:
        >>> open_store("memory:")
        InMemorySessionStore(<0 sessions>)

    Args:
        url: ``memory:`` for this process only; ``sqlite:///sessions.db`` for a file beside the
            program, ``sqlite:////var/lib/sessions.db`` for an absolute path, and ``sqlite://``
            for SQLite in memory, as SQLAlchemy writes them; ``redis://``, ``rediss://``,
            ``unix://``, ``redis+sentinel://`` and ``redis+cluster://`` as `RedisSessionStore`
            takes them; ``postgresql://…``, and any other URL of SQLAlchemy, for an SQL database.
        retention_days: How long a session is kept after its last write, in days; ``None`` keeps
            it for good.

    Returns:
        The store. Close it, or use it in a ``with`` block.

    Raises:
        ValueError: The URL names no store that there is.
        ImportError: What the store needs is not installed; the error tells the extra.
        SessionStoreError: An SQLite file's folder does not exist.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """
    if not isinstance(url, str):
        raise ValueError(f"url must be a string, not {type(url).__name__}")  # noqa: TRY004 - as below
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower() if colon else "what has no scheme"
    if scheme == "memory" and not rest.strip("/"):
        return InMemorySessionStore(retention_days)
    if scheme == "sqlite" and (rest == "//" or rest.startswith("///")):
        if "?" in rest:
            raise ValueError("an SQLite URL takes no query: give SQLiteSessionStore its options")
        return SQLiteSessionStore(rest[3:] or ":memory:", retention_days=retention_days)
    if scheme in REDIS_SCHEMES:
        from sessionstore.redis import RedisSessionStore  # noqa: PLC0415 - needs a driver

        kept = retention_microseconds(retention_days)
        return RedisSessionStore(url, ttl_seconds=None if kept is None else kept / 1_000_000)
    if rest.startswith("//"):
        from sessionstore.db import DbSessionStore  # noqa: PLC0415 - SQLAlchemy only for its URLs

        return DbSessionStore(url, retention_days=retention_days)
    # The URL itself may hold a password: only what it starts with is told.
    raise ValueError(
        f"no store for a URL that starts with {scheme[:20]!r}: "
        "use memory:, sqlite:///FILE, redis://HOST, or a URL of SQLAlchemy"
    )
