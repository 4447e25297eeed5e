"""Messages and metadata that are still what they were are swapped, by one script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sessionstore.errors import InvalidMessageError
from sessionstore.models import is_same_message, is_same_value
from sessionstore.operations import Reseal
from sessionstore.redis import scripts
from sessionstore.redis.calls import NAME, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import metadata_fields
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.steps import Step
from sessionstore.redis.writing import BOUNDS, write_call, written

__all__ = ["reseal"]

_MOST_MESSAGES = 300_000  # each is three of the 2**20 words that Redis takes in one request
_SWAP = 3  # words


class _Swap(NamedTuple):
    name: bytes
    old: bytes
    new: bytes


def reseal(exchange: Exchange, operation: Reseal) -> RedisFlow[int]:
    """Swap what is still what it was.

    The script compares bytes. What differs in those is compared here, and where it says the same,
    asked for as it is stored: then it takes a second script.
    """
    values, messages = _values(operation), _messages(operation)
    reply = yield from _asked(exchange, operation, values, messages, first=True)
    if reply[0] == b"DIFFER":
        found = reply[1]
        values = list(map(_as_stored, values, found))
        messages = list(map(_message_as_stored, messages, found[len(values) :]))
        reply = yield from _asked(exchange, operation, values, messages, first=False)
    return int(reply[1]) if reply[0] == b"OK" else 0


def _asked(
    exchange: Exchange,
    operation: Reseal,
    values: Sequence[_Swap],
    messages: Sequence[_Swap],
    *,
    first: bool,
) -> RedisFlow[Reply]:
    words = [word for swap in (*values, *messages) for word in swap]
    args = Words((b"" if first else b"1", number(_SWAP * len(values)), *words))
    step = Step(operation, scripts.RESEAL, args, _reply)
    call = write_call(exchange, operation, step.script, os.urandom(NAME), args)
    return written(exchange, call.made_long(), step.judged, step.result)


def _reply(_: Reseal, reply: Reply) -> Reply:
    return reply


def _values(operation: Reseal) -> list[_Swap]:
    old, new = map(metadata_fields, (operation.old_metadata, operation.new_metadata))
    newer = dict(zip(new[::2], new[1::2], strict=True))
    return [_Swap(name, raw, newer[name]) for name, raw in zip(old[::2], old[1::2], strict=True)]


def _messages(operation: Reseal) -> list[_Swap]:
    if len(operation.new) > _MOST_MESSAGES:
        raise InvalidMessageError(f"Redis takes up to {_MOST_MESSAGES:,} messages to swap at once")
    swaps = operation.swaps().messages
    BOUNDS.require([new for _, new in swaps.values()])
    return [_Swap(name.encode(), *swap) for name, swap in swaps.items()]


def _as_stored(swap: _Swap, stored: bytes) -> _Swap:
    try:
        found, old = msgspec.json.decode(stored), msgspec.json.decode(swap.old)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # it is empty, or can't be read
        return swap
    return swap._replace(old=stored) if is_same_value(found, old) else swap


def _message_as_stored(swap: _Swap, stored: bytes) -> _Swap:
    return swap._replace(old=stored) if stored and is_same_message(stored, swap.old) else swap
