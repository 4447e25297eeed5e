"""How a session in Redis is read: each operation is one script, or one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sessionstore.models import SYSTEM_ROLES, SessionData, SessionMessage, decode_messages
from sessionstore.operations import Get, GetMessages
from sessionstore.redis import scripts
from sessionstore.redis.calls import Call, ReadAllCall, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.refusals import REFUSALS, refuse
from sessionstore.redis.requests import RedisFlow, Reply

__all__ = ["get", "get_messages"]


def get(exchange: Exchange, operation: Get) -> RedisFlow[SessionData | None]:
    """Read a session with its last messages."""
    session_id = operation.session_id
    args = [encoded(operation.user_id), number(operation.limit)]
    reply = yield from _read(exchange, Call, scripts.GET, operation, args)
    if reply[0] == b"NONE":
        return None
    messages = decode_messages(session_id, reply[2])
    return SessionData(**decode_head(session_id, reply[1]), messages=messages)


def get_messages(exchange: Exchange, operation: GetMessages) -> RedisFlow[list[SessionMessage]]:
    """Read messages: the last ones, those around one, or all."""
    args = [encoded(operation.user_id), number(operation.limit)]
    keep_first = b"1" if operation.keep_system else b""
    before, after = operation.before, operation.after
    if before is None and after is None:
        kind = ReadAllCall if operation.limit is None else Call
        reply = yield from _read(exchange, kind, scripts.LAST, operation, [*args, keep_first])
    else:
        args += [(before or "").encode(), keep_first]
        args.append(b"" if after is None else b"+" + after.encode())
        reply = yield from _read(exchange, Call, scripts.READ, operation, args)
    if reply[0] == b"NONE":
        return []
    rest = decode_messages(operation.session_id, reply[2])
    if not reply[1]:
        return rest
    first = decode_messages(operation.session_id, reply[1])
    return [message for message in first if message.role in SYSTEM_ROLES] + rest


def _read(
    exchange: Exchange,
    kind: type[Call],
    script: scripts.Script,
    operation: Get | GetMessages,
    args: Sequence[Any],
) -> RedisFlow[Reply]:
    session_id = operation.session_id
    keys = session_keys(exchange.layout.prefix, encoded(session_id))
    [reply] = yield from exchange.ask([kind(script, keys, args, session_id)])
    if reply[0] in REFUSALS:
        about = None if isinstance(operation, Get) else operation.before or operation.after
        refuse(reply, operation, about)
    return reply  # type: ignore[no-any-return]
