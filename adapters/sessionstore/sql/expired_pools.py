"""Pools whose connections lead nowhere: each is replaced before it is used again."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

__all__ = ["expire_pool", "is_expired", "remove_expiry"]

_OPENED = "sessionstore.opened"


class _Expiry:
    """Has a pool replace the connections that it had opened by a time."""

    def __init__(self, pool: Pool) -> None:
        self.at = time.monotonic()
        event.listen(pool, "connect", self.note_opened)
        event.listen(pool, "checkout", self.refuse_older)

    def remove(self, pool: Pool) -> None:
        event.remove(pool, "checkout", self.refuse_older)
        event.remove(pool, "connect", self.note_opened)

    def note_opened(self, _: object, record: Any) -> None:
        record.info[_OPENED] = time.monotonic()

    def refuse_older(self, _: object, record: Any, __: object) -> None:
        if record.info.get(_OPENED, 0.0) <= self.at:
            raise DisconnectionError  # SQLAlchemy opens another in its place


_expiries: WeakKeyDictionary[Pool, _Expiry] = WeakKeyDictionary()


def expire_pool(pool: Pool) -> None:
    """Have all connections that a pool has open replaced before they are used again.

    Args:
        pool: One of which a connection leads nowhere: so do all that are as old.
    """
    expiry = _expiries.get(pool)
    if expiry is None:
        _expiries[pool] = _Expiry(pool)
    else:
        expiry.at = time.monotonic()


def is_expired(pool: Pool) -> bool:
    """Tell whether some connections of a pool may be those that `expire_pool` gave up."""
    return bool(_expiries) and pool in _expiries


def remove_expiry(pool: Pool) -> None:
    """Undo `expire_pool`, where all connections are closed."""
    expiry = _expiries.pop(pool, None)
    if expiry is not None:
        expiry.remove(pool)
