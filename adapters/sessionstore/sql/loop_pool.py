"""A pool of connections of which those that are ready cost next to nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sessionstore.sql.stale import is_expired, is_stale, remove_expiry

__all__ = ["LoopPool", "empty_if_expired", "opened_in_greenlet", "ready_connection"]

T = TypeVar("T")

_at_once: ContextVar[bool] = ContextVar("sessionstore_at_once", default=False)


class _NotReadyError(Exception):
    """There is no open connection in the pool's next place."""


class LoopPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool for one event loop, made so that it waits for nothing but the database.

    ``max_overflow`` is -1, as the gate before it bounds how many connections there are, and
    nothing is reset when a connection comes back.
    """


def opened_in_greenlet(creator: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Make the ``async_creator`` of a `LoopPool`, which `ready_connection` must not wait for.

    Args:
        creator: Opens a connection.
    """

    def open_one() -> Awaitable[T]:
        if _at_once.get():
            raise _NotReadyError
        return creator()

    return open_one


def ready_connection(engine: Engine) -> PoolProxiedConnection | None:
    """Take a connection that is there and open, without a greenlet.

    Most of the time there is one, and a greenlet takes longer than all else that the pool does.

    Args:
        engine: Any of one event loop's.

    Returns:
        The connection, whose ``close`` needs no greenlet either; ``None`` where one must be opened,
        closed or waited for.
    """
    pool = engine.pool
    if not isinstance(pool, LoopPool) or not pool.checkedin():
        return None
    heard = pool.dispatch
    if heard.checkout or heard.checkin or heard.reset or is_expired(pool):
        return None
    token = _at_once.set(True)
    try:
        pooled = engine.raw_connection()
    except _NotReadyError:  # this was the place of one that was given up
        return None
    finally:
        _at_once.reset(token)
    if is_stale(pooled, pool):
        pooled.close()
        return None
    return pooled


def empty_if_expired(engine: Engine) -> None:
    """Close the connections of an expired pool of an event loop, once nobody uses any of them.

    Until then, each is replaced when it is next used.

    Args:
        engine: Any; in a greenlet, if it is an event loop's.
    """
    pool = engine.pool
    if isinstance(pool, LoopPool) and is_expired(pool) and not pool.checkedout():
        remove_expiry(pool)
        engine.dispose()
