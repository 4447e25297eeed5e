"""Several operations on one session: one script, which does all of them or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from sessionstore.errors import InvalidMessageError
from sessionstore.operations import Fence, Rewind, Several, as_several
from sessionstore.redis import scripts
from sessionstore.redis.calls import NAME, Call, LongCall, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.leasing import fence_step
from sessionstore.redis.reading import READS, is_long
from sessionstore.redis.refusals import refuse
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.steps import Step
from sessionstore.redis.writing import BOUNDS, WRITES, is_receipt, write_call, written

__all__ = ["several", "unknown"]

_MOST_WORDS = 2**20 - 50  # of all that Redis takes in one request, beside those of each call
_DONE = (b"OK", b"NONE")  # NONE where there was nothing to write

_READ, _WRITE, _UNDOABLE = b"", b"+", b"++"
"""How the script is told what an operation is."""

_MAY_REFUSE = (scripts.READ, scripts.FENCE)
"""The scripts of what may refuse though it does not write."""

_STEPS: dict[type, Callable[[Any], Step]] = {**READS, **WRITES, Fence: fence_step}


def several(exchange: Exchange, operation: Several) -> RedisFlow[list[Any]]:
    """Carry out several operations on one session as one."""
    steps = [_STEPS[type(part)](part) for part in operation.operations]
    names, modes = os.urandom(NAME * len(operation.writes)), _modes(steps)
    script, args = _script(steps, modes), _args(steps, modes)
    leased = Fence in map(type, operation.operations)
    call = write_call(exchange, operation, script, names, args, leased=leased)
    if any(map(_is_long, operation.operations)):
        call = call.made_long()

    def judge(reply: Reply) -> tuple[Step, Reply]:
        if reply[0] not in _DONE:
            number, why = reply[1]
            refuse([reply[0], *why[1:]], steps[number].operation, steps[number].message)
        return _newest(steps, reply[1])

    def read(reply: Reply) -> list[Any]:
        return [step.result(each) for step, each in zip(steps, reply[1], strict=True)]

    if not names:
        return _only_read(exchange, call, judge, read)
    return written(exchange, call, judge, read)


def unknown(exchange: Exchange, operation: object) -> RedisFlow[list[Any]]:
    """Carry out a list of operations; what else no table has is refused."""
    return several(exchange, as_several("RedisSessionStore", operation))


def _is_long(part: Any) -> bool:
    return type(part) is Rewind or (type(part) in READS and is_long(part))


def _only_read(
    exchange: Exchange,
    call: Call,
    judge: Callable[[Reply], object],
    read: Callable[[Reply], list[Any]],
) -> RedisFlow[list[Any]]:
    """Ask for no permission to write, and for no replica."""
    kind = LongCall if isinstance(call, LongCall) else Call
    reading = kind(call.key, call.words, call.script, call.session_id)
    [reply] = yield from exchange.ask([reading])
    judge(reply)
    return read(reply)


def _script(steps: Sequence[Step], modes: Sequence[bytes]) -> scripts.Script:
    functions = {step.script for step in steps}
    if _UNDOABLE in modes:
        functions.add(scripts.UNDO)
    return scripts.several(frozenset(functions))


def _args(steps: Sequence[Step], modes: Sequence[bytes]) -> Words:
    """Give each step's script, its mode, how many words it is given, and these."""
    args: list[bytes] = []
    for step, mode in zip(steps, modes, strict=True):
        args += (step.script.name, mode, number(len(step.args)), *step.args)
    largest = BOUNDS.write_bytes or 0
    if len(args) > _MOST_WORDS or sum(map(len, args)) > largest:
        raise InvalidMessageError(
            f"these operations are too large for one step: Redis takes up to {_MOST_WORDS:,} "
            f"ids and messages, and {largest:,} bytes"
        )
    return Words(args)


def _modes(steps: Sequence[Step]) -> list[bytes]:
    """Tell which are writes, and which of these must be undone where one behind them refuses.

    Each write checks all before it writes. What a write was done to can be read, but for what is
    around a message that may not be there. A lease may be lost.
    """
    modes, may_refuse = [], False
    for step in reversed(steps):
        is_write = step.operation.is_write
        modes.append((_UNDOABLE if may_refuse else _WRITE) if is_write else _READ)
        may_refuse = may_refuse or is_write or step.script in _MAY_REFUSE
    return modes[::-1]


def _newest(steps: Sequence[Step], replies: Sequence[Reply]) -> tuple[Step, Reply]:
    """Give the last write that says which session it left behind, and what it replied."""
    for step, reply in zip(reversed(steps), reversed(replies), strict=True):
        if step.operation.is_write and is_receipt(reply):
            return step, reply
    return steps[-1], []
