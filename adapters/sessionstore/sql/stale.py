"""Whether the server has closed a pooled connection meanwhile, seen without asking it."""

from __future__ import annotations

import selectors
import time
from typing import Any

from sqlalchemy.pool import ManagesConnection, Pool

from sessionstore.sql.expired_pools import is_expired

__all__ = ["is_stale", "shows_its_end"]

_WATCH = "sessionstore.watch"
_OPENED = "sessionstore.opened"
# Makes nothing in the kernel, and takes numbers of any size where there is such a thing.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def shows_its_end(pooled: ManagesConnection) -> bool:
    """Tell whether `is_stale` can see the end of a connection: psycopg's and psycopg2's."""
    return hasattr(pooled.driver_connection, "fileno")


def is_stale(pooled: ManagesConnection, pool: Pool) -> bool:
    """Tell whether a connection that was used before has ended since, or leads nowhere.

    Args:
        pooled: One that is to be used now, and is from then on one that was.
        pool: Its pool.

    Returns:
        Whether it is of no use. `shows_its_end` says of which this can be known.
    """
    driver: Any = pooled.driver_connection
    watch = pooled.info.get(_WATCH)
    if watch is None:  # it is new
        pooled.info[_WATCH] = _watched(driver) if shows_its_end(pooled) else _Selector()
        pooled.info[_OPENED] = time.monotonic()
        return False
    if is_expired(pool, pooled.info[_OPENED]):
        return True
    if not hasattr(driver, "fileno"):
        return False
    # Between two statements a server has nothing to say but that it leaves.
    return bool(driver.closed or watch.select(timeout=0))


def _watched(driver: Any) -> selectors.BaseSelector:
    watch: selectors.BaseSelector = _Selector()
    watch.register(driver.fileno(), selectors.EVENT_READ)
    return watch
