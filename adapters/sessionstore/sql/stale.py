"""Pooled connections that lead nowhere: each is replaced before it is used again.

Its server may have closed one meanwhile, which shows without asking; or one that is younger proved
to lead nowhere, and so do all that are as old.
"""

from __future__ import annotations

import selectors
import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.pool import ManagesConnection, Pool

__all__ = ["expire_pool", "is_expired", "is_stale", "remove_expiry", "shows_its_end"]

_WATCH = "sessionstore.watch"
_OPENED = "sessionstore.opened"
# Makes nothing in the kernel, and takes numbers of any size where there is such a thing.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_expiries: WeakKeyDictionary[Pool, float] = WeakKeyDictionary()


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
    if _expiries and is_expired(pool, pooled.info[_OPENED]):
        return True
    if not hasattr(driver, "fileno"):
        return False
    # Between two statements a server has nothing to say but that it leaves.
    return bool(driver.closed or watch.select(timeout=0))


def _watched(driver: Any) -> selectors.BaseSelector:
    watch: selectors.BaseSelector = _Selector()
    watch.register(driver.fileno(), selectors.EVENT_READ)
    return watch


def expire_pool(pool: Pool) -> None:
    """Have all connections that a pool has open replaced before they are used here again.

    Args:
        pool: One of which a connection leads nowhere: so do all that are as old.
    """
    _expiries[pool] = time.monotonic()


def is_expired(pool: Pool, opened: float = 0.0) -> bool:
    """Tell whether `expire_pool` gave up connections of a pool.

    Args:
        pool: The pool.
        opened: When a connection of it was opened, by `time.monotonic`; left out, whether there may
            be any that were given up.
    """
    at = _expiries.get(pool)
    return at is not None and opened <= at


def remove_expiry(pool: Pool) -> None:
    """Undo `expire_pool`, where all connections are closed."""
    _expiries.pop(pool, None)
