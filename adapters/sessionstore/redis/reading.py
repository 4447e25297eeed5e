"""How a session in Redis is read: each operation is one script, or one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sessionstore.models import SYSTEM_ROLES, SessionData, SessionMessage, decode_messages
from sessionstore.operations import Get, GetMessages
from sessionstore.redis import scripts
from sessionstore.redis.calls import BY_HASH, SIX, Call, LongCall, ReadAllCall, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.refusals import REFUSALS, refuse
from sessionstore.redis.requests import RedisFlow, Words
from sessionstore.redis.scripts import Script

__all__ = ["get", "get_messages"]

_SHORT = 100  # messages whose reply others may wait for


def get(exchange: Exchange, operation: Get) -> RedisFlow[SessionData | None]:
    """Read a session with its last messages."""
    session_id = operation.session_id
    args = (encoded(operation.user_id), number(operation.limit))
    kind = _kind(operation.limit)
    [reply] = yield from exchange.ask([_call(kind, scripts.GET, exchange, session_id, args)])
    if reply[0] in REFUSALS:
        refuse(reply, operation)
    if reply[0] == b"NONE":
        return None
    messages = decode_messages(session_id, reply[2])
    return SessionData(**decode_head(session_id, reply[1]), messages=messages)


def get_messages(exchange: Exchange, operation: GetMessages) -> RedisFlow[list[SessionMessage]]:
    """Read messages: the last ones, those around one, or all."""
    session_id, before, after = operation.session_id, operation.before, operation.after
    args = [encoded(operation.user_id), number(operation.limit)]
    keep_first = b"1" if operation.keep_system else b""
    if before is None and after is None:
        kind = ReadAllCall if operation.limit is None else _kind(operation.limit)
        call = _call(kind, scripts.LAST, exchange, session_id, [*args, keep_first])
    else:
        args += [(before or "").encode(), keep_first]
        args.append(b"" if after is None else b"+" + after.encode())
        call = _call(_kind(operation.limit), scripts.READ, exchange, session_id, args)
    [reply] = yield from exchange.ask([call])
    if reply[0] in REFUSALS:
        refuse(reply, operation, before or after)
    if reply[0] == b"NONE":
        return []
    rest = decode_messages(session_id, reply[2])
    if not reply[1]:
        return rest
    first = decode_messages(session_id, reply[1])
    return [message for message in first if message.role in SYSTEM_ROLES] + rest


def _kind(limit: int | None) -> type[Call]:
    return LongCall if limit is None or limit > _SHORT else Call


def _call(
    kind: type[Call], script: Script, exchange: Exchange, session_id: str, args: Sequence[bytes]
) -> Call:
    keys = session_keys(exchange.layout.prefix, encoded(session_id))
    return kind(keys.head, Words((BY_HASH, script.sha, SIX, *keys, *args)), script, session_id)
