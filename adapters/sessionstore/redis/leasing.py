"""Leases in Redis: by the server's clock, in a key that outlives the session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sessionstore.operations import AcquireLease, Fence, ReleaseLease, RenewLease
from sessionstore.redis import scripts
from sessionstore.redis.calls import BY_HASH, NAME, SEVEN, Call, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.steps import Step
from sessionstore.redis.writing import write_call, written

__all__ = ["LEASES", "change_lease", "check_fence", "fence_step"]

_SECOND = 1_000_000  # in which the scripts count


def change_lease(exchange: Exchange, operation: Any) -> RedisFlow[Any]:
    """Take a lease, renew it, or give it back: a write like others, but of the lease alone."""
    step = LEASES[type(operation)](operation)
    names = os.urandom(NAME)
    call = write_call(exchange, operation, step.script, names, step.args, leased=True)
    return written(exchange, call, step.judged, step.result)


def check_fence(exchange: Exchange, operation: Fence) -> RedisFlow[None]:
    """Refuse who has lost a lease, with nothing else to do."""
    step, session_id = fence_step(operation), operation.session_id
    keys = session_keys(exchange.layout.prefix, encoded(session_id)).with_lease
    caller = encoded(operation.user_id)
    words = Words((BY_HASH, step.script.sha, SEVEN, *keys, caller, *step.args))
    [reply] = yield from exchange.ask([Call(keys[0], words, step.script, session_id)])
    step.judged(reply)


def fence_step(operation: Fence) -> Step:
    """Give what refuses who has lost a lease."""
    return Step(operation, scripts.FENCE, Words((number(operation.token),)), _nothing)


def _acquire(operation: AcquireLease) -> Step:
    """Give what takes a lease."""
    take_over = b"+" if operation.take_over else b""
    args = Words((str(operation.holder).encode(), _microseconds(operation), take_over))
    return Step(operation, scripts.ACQUIRE, args, _token)


def _renew(operation: RenewLease) -> Step:
    """Give what has a lease last longer."""
    args = Words((number(operation.token), _microseconds(operation)))
    return Step(operation, scripts.RENEW, args, _nothing)


def _release(operation: ReleaseLease) -> Step:
    """Give what gives a lease back."""
    return Step(operation, scripts.RELEASE, Words((operation.holder.encode(),)), _was_held)


def _microseconds(operation: AcquireLease | RenewLease) -> bytes:
    return b"%d" % round(operation.seconds * _SECOND)


def _token(_: AcquireLease, reply: Reply) -> int:
    return int(reply[1])


def _nothing(_: Any, __: Reply) -> None:
    pass


def _was_held(_: ReleaseLease, reply: Reply) -> bool:
    was_held: bool = reply[0] == b"OK"
    return was_held


LEASES: dict[type, Callable[[Any], Step]] = {
    AcquireLease: _acquire,
    ReleaseLease: _release,
    RenewLease: _renew,
}
"""What each change of a lease is carried out by."""
