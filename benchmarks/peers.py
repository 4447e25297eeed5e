"""What the peers' files share: connections as their users are told to make them, never twice.

To the peers' advantage, none of this is in a measured call: connecting, making tables and indexes,
and building a session's object where that is dear. A peer is used by one event loop, or by threads.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

Made = TypeVar("Made")
Bound = TypeVar("Bound")
Message = TypeVar("Message")
CONNECTIONS = 16
"""Of each pool, kept open: for 8 threads or 64 tasks on a few cores more don't make it faster."""
STACK = "BENCH_REDIS_STACK_URL"
"""The environment's variable with the URL of a server that has RediSearch and RedisJSON."""
REFUSED: dict[str, str] = {}
"""Why there is no such server, by the variable."""
_POOL: Any = {"pool_size": CONNECTIONS, "max_overflow": 0}


class Once(Generic[Made]):
    """Makes what needs a running loop when it is first asked for, once for all tasks.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], Awaitable[Made]]) -> None:
        self._make = make
        self._made: asyncio.Future[Made] | None = None

    async def __call__(self) -> Made:
        """Give it."""
        if self._made is None:
            self._made = asyncio.ensure_future(self._make())
        return self._made.result() if self._made.done() else await self._made


def lacking(one: Any) -> str | None:
    """Tell why a peer can't be had here; nothing when it can.

    Args:
        one: A subject with ``needs``, the package that it is of, and where it needs a server of
            another kind, ``server``, the environment's variable for the URL.
    """
    try:
        version(one.needs)
    except PackageNotFoundError:
        return f"{one.name} on {one.backend}: {one.needs} is not installed"
    if not os.environ.get(getattr(one, "server", "PATH")):
        why = REFUSED.get(one.server, f"there is no {one.server}")
        return f"{one.name} on {one.backend}: {why}"
    return None


def bound(session: Bound, session_id: str) -> Bound:
    """Give a session's object that shares all but its ID with another.

    What its users do, making one for each request, would connect or look for tables each time.
    """
    one: Any = copy.copy(session)
    one.session_id = session_id
    return one  # type: ignore[no-any-return]


def alternately(
    texts: Iterable[str], user: Callable[[str], Message], assistant: Callable[[str], Message]
) -> list[Message]:
    """Make messages of a user and an assistant."""
    return [(assistant if n % 2 else user)(text) for n, text in enumerate(texts)]


def engine(url: str) -> Engine:
    """Make an engine of SQLAlchemy, with psycopg for PostgreSQL."""
    from sqlalchemy import create_engine

    named = _named(url, "sqlite", "postgresql+psycopg")
    return create_engine(named, **_POOL, connect_args=_patience(url))


def async_engine(url: str) -> AsyncEngine:
    """Make an engine of SQLAlchemy for asyncio, with aiosqlite or asyncpg."""
    from sqlalchemy.ext.asyncio import create_async_engine

    named = _named(url, "sqlite+aiosqlite", "postgresql+asyncpg")
    return create_async_engine(named, **_POOL, connect_args=_patience(url))


def _patience(url: str) -> dict[str, int]:
    """Let SQLite wait: in its 5 seconds some of 64 tasks find their file locked all the time."""
    return {} if "://" in url else {"timeout": 60}


def _named(url: str, sqlite: str, postgresql: str) -> str:
    scheme, found, rest = url.partition("://")
    if found and scheme == "postgresql":
        return f"{postgresql}://{rest}"
    return f"{sqlite}:///{url}"
