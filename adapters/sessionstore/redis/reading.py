"""How a session in Redis is read: each operation is one script, or one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sessionstore.models import SYSTEM_ROLES, SessionData, SessionMessage, decode_messages
from sessionstore.operations import Get, GetMessages
from sessionstore.redis import scripts
from sessionstore.redis.calls import BY_HASH, SIX, Call, LongCall, ReadAllCall, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.steps import Step

__all__ = ["READS", "is_long", "read"]

_SHORT = 100  # messages whose reply others may wait for


def read(exchange: Exchange, operation: Any) -> RedisFlow[Any]:
    """Carry out an operation that reads."""
    step = READS[type(operation)](operation)
    script, session_id = step.script, operation.session_id
    kind = LongCall if is_long(operation) else Call
    if script is scripts.LAST and operation.limit is None:
        kind = ReadAllCall
    keys = session_keys(exchange.layout.prefix, encoded(session_id))
    words = Words((BY_HASH, script.sha, SIX, *keys, encoded(operation.user_id), *step.args))
    [reply] = yield from exchange.ask([kind(keys.head, words, script, session_id)])
    step.judged(reply)
    return step.result(reply)


def is_long(operation: Any) -> bool:
    """Tell whether what a `Get` or `GetMessages` reads may be long: nobody is to wait for it."""
    return bool(operation.limit is None or operation.limit > _SHORT)


def _get(operation: Get) -> Step:
    """Give what reads a session with its last messages."""
    keep_first = b"1" if operation.keep_system else b""
    return Step(operation, scripts.GET, Words((number(operation.limit), keep_first)), _data)


def _get_messages(operation: GetMessages) -> Step:
    """Give what reads messages: the last ones, those around one, or all."""
    before, after = operation.before, operation.after
    limit, keep_first = number(operation.limit), b"1" if operation.keep_system else b""
    if before is None and after is None:
        return Step(operation, scripts.LAST, Words((limit, keep_first)), _messages)
    behind = b"" if after is None else b"+" + after.encode()
    args = Words((limit, (before or "").encode(), keep_first, behind))
    return Step(operation, scripts.READ, args, _messages, before or after)


def _data(operation: Get, reply: Reply) -> SessionData | None:
    if reply[0] == b"NONE":
        return None
    session_id = operation.session_id
    messages = _with_system(session_id, reply[3], reply[2])
    return SessionData(**decode_head(session_id, reply[1]), messages=messages)


def _messages(operation: GetMessages, reply: Reply) -> list[SessionMessage]:
    if reply[0] == b"NONE":
        return []
    return _with_system(operation.session_id, reply[1], reply[2])


def _with_system(session_id: str, first: Reply, last: Reply) -> list[SessionMessage]:
    rest = decode_messages(session_id, last)
    if not first:
        return rest
    kept = decode_messages(session_id, first)
    return [message for message in kept if message.role in SYSTEM_ROLES] + rest


READS: dict[type, Callable[[Any], Step]] = {Get: _get, GetMessages: _get_messages}
"""What each operation that reads is carried out by."""
