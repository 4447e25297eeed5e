"""`open_store`: the store that a URL names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sessionstore._runtime.frames import hides_arguments
from sessionstore.arguments import checked_flag
from sessionstore.backends import is_local, open_backend
from sessionstore.errors import StoreUnavailableError
from sessionstore.store import SessionStore

__all__ = ["open_store"]


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
    create_parents: bool = False,
) -> SessionStore:
    """Make the store that a URL names. Its server is not asked before the first use.

    What a fallback holds from before is read at once. In memory that is nothing; in a file it may
    take as long as another process writes there, up to 5 seconds: where an event loop runs, make
    the store in a thread, by ``asyncio.to_thread``.

    A store behind a network comes in a `FallbackSessionStore`: it works while its server is down,
    also when that is so from the start, and replays every write later. A store in memory or in an
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
        fallback: Where a store behind a network journals writes while its server is down:
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
        create_parents: Make the folder of a ``sqlite:`` file where it is missing, and those above
            it, each for the user alone: that of the store's, and of one that ``fallback`` names.

    Returns:
        The store. Close it, or use it in a ``with`` block.

    Raises:
        ValueError: The URL, or that of the fallback, names no store; or ``timeout`` or an option
            of the fallback is invalid.
        TypeError: ``url``, ``timeout``, ``create_parents`` or an option of the fallback has the
            wrong type.
        ImportError: What the store needs is not installed; the error names the extra.
        SessionStoreError: An SQLite file's folder does not exist, or can't be made.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """
    # What a plain import can do without.
    from sessionstore.fallback.options import check_options, opened  # noqa: PLC0415
    from sessionstore.fallback.store import FallbackSessionStore  # noqa: PLC0415

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
    checked_flag(create_parents, "create_parents")
    store = open_backend(
        url, retention_days=retention_days, timeout=timeout, create_parents=create_parents
    )
    if fallback is None:
        return store
    if is_local(url):
        if not isinstance(fallback, SessionStore):
            opened(fallback, create_parents=create_parents).close()
        return store
    return FallbackSessionStore(store, fallback=fallback, create_parents=create_parents, **options)
