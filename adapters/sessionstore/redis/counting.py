"""How many connections a store in Redis has open, by what redis-py and our own short way tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.direct import Direct
from sessionstore.redis.event_loops import OfLoop
from sessionstore.stats import StoreConnections

__all__ = ["counted_connections"]

_STATE = "db.client.connection.state"


def counted_connections(
    client: Any, direct: Direct | None, of_loops: Iterable[OfLoop], most: int | None
) -> StoreConnections | None:
    """Count what is open.

    Args:
        client: The client of the threads; ``None`` where there is none yet.
        direct: Its short way.
        of_loops: What the event loops have.
        most: How many each pool may open, where the caller has said it.

    Returns:
        The counts; ``None`` of a Cluster and of several databases, and with a redis-py that is too
        old to tell.
    """
    found = [(client, direct)] if client is not None else []
    pairs = [*found, *((one.client, one.direct) for one in of_loops)]
    pools = [(getattr(one, "connection_pool", None), way) for one, way in pairs]
    if not all(hasattr(pool, "get_connection_count") for pool, _ in pools):
        return None
    counts = [_of_pool(pool, way) for pool, way in pools]
    return StoreConnections(
        idle=sum(idle for idle, _ in counts),
        in_use=sum(in_use for _, in_use in counts),
        most=None if most is None else most * max(1, len(pools)),
    )


def _of_pool(pool: Any, way: Direct | AsyncDirect | None) -> tuple[int, int]:
    told = {attributes[_STATE]: number for number, attributes in pool.get_connection_count()}
    idle, in_use = told.get("idle", 0), told.get("used", 0)
    if isinstance(way, Direct):  # its connections are none of the pool's
        return idle + way.idle, in_use + max(0, way.open - way.idle)
    waiting = way.idle if way else 0  # the pool counts them as in use
    return idle + waiting, max(0, in_use - waiting)
