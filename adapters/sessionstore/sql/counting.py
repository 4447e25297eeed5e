"""How many connections to an SQL database are open, by what SQLAlchemy's pools tell."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from sessionstore.stats import StoreConnections

__all__ = ["counted_connections"]


def counted_connections(
    engines: Iterable[Engine], *, idle: int = 0, in_use: int = 0, most: int | None = None
) -> StoreConnections:
    """Count what is open. A pool that keeps no count, such as a ``NullPool``, adds nothing.

    Args:
        engines: All of them.
        idle: How many are idle beside those in their pools.
        in_use: How many are in use beside those.
        most: How many there may be.
    """
    pools = [engine.pool for engine in engines]
    counting = [pool for pool in pools if isinstance(pool, QueuePool)]
    idle += sum(pool.checkedin() for pool in counting)
    in_use += sum(max(0, pool.checkedout()) for pool in counting)
    return StoreConnections(idle=idle, in_use=in_use, most=most)
