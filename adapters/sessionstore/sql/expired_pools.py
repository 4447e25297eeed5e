"""Pools whose connections lead nowhere: each is replaced before it is used again."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from sqlalchemy.pool import Pool

__all__ = ["expire_pool", "is_expired", "remove_expiry"]

_expiries: WeakKeyDictionary[Pool, float] = WeakKeyDictionary()


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
    if not _expiries:
        return False
    at = _expiries.get(pool)
    return at is not None and opened <= at


def remove_expiry(pool: Pool) -> None:
    """Undo `expire_pool`, where all connections are closed."""
    _expiries.pop(pool, None)
