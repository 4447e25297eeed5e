"""How a session in Redis is written: each operation is one script, which checks and writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sessionstore.bounds import StoreBounds
from sessionstore.errors import InvalidMessageError
from sessionstore.models import SessionData, SessionInfo, SessionMessage, encode_message
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    ReplaceMessage,
    Update,
)
from sessionstore.redis import scripts
from sessionstore.redis.calls import WriteCall, number
from sessionstore.redis.doubts import DOUBTS, may_still_arrive
from sessionstore.redis.entries import Entry, drops, touches
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head, decode_info, metadata_fields
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.refusals import REFUSALS, refuse
from sessionstore.redis.requests import RedisFlow, Reply

__all__ = [
    "BOUNDS",
    "append",
    "create",
    "delete",
    "delete_messages",
    "replace_message",
    "update",
]

_MOST_MESSAGES = 500_000  # Redis takes 2**20 words in one request
_LARGEST = 512 * 2**20 - 1  # and so many bytes in one of them
_RECEIPT = 5  # values that say what was done to which session; fewer where it is gone by now

BOUNDS = StoreBounds(messages=_MOST_MESSAGES, message_bytes=_LARGEST, write_bytes=_LARGEST)
"""What Redis takes in one request."""

_Write = Append | Create | Delete | DeleteMessages | ReplaceMessage | Update


def create(exchange: Exchange, operation: Create) -> RedisFlow[SessionData]:
    """Make a new session."""
    fields = metadata_fields(operation.metadata)
    records = _records(operation.messages)
    args = [encoded(operation.agent_id), number(len(fields)), *fields, *records]
    reply = yield from _write(exchange, scripts.CREATE, operation, args)
    head = decode_head(str(operation.session_id), reply[5])
    return SessionData(**head, messages=list(operation.messages))


def append(exchange: Exchange, operation: Append) -> RedisFlow[int]:
    """Add messages at the end; make the session when it is new."""
    records = _records(operation.messages)
    args = [encoded(operation.agent_id), number(operation.expected_version), *records]
    reply = yield from _write(exchange, scripts.APPEND, operation, args)
    return int(reply[1])


def replace_message(exchange: Exchange, operation: ReplaceMessage) -> RedisFlow[None]:
    """Put a message in the place of the one with its id."""
    message = operation.message
    yield from _write(exchange, scripts.REPLACE, operation, _records([message]), message.id)


def delete_messages(exchange: Exchange, operation: DeleteMessages) -> RedisFlow[list[str]]:
    """Delete messages; the script answers with runs of those that it was given."""
    ids = operation.message_ids
    if len(ids) > _MOST_MESSAGES:
        raise _too_many()
    args = [number(operation.expected_version), *(message_id.encode() for message_id in ids)]
    reply = yield from _write(exchange, scripts.REMOVE, operation, args)
    if reply[0] == b"NONE":
        return []
    runs = zip(reply[5][::2], reply[5][1::2], strict=True)
    return [message_id for start, count in runs for message_id in ids[start : start + count]]


def update(exchange: Exchange, operation: Update) -> RedisFlow[SessionInfo]:
    """Replace the messages, and merge the metadata, as far as given."""
    fields = [b"" if part == b"null" else part for part in metadata_fields(operation.metadata)]
    replaces = b"" if operation.messages is None else b"1"
    records = _records(operation.messages or ())
    version = number(operation.expected_version)
    args = [version, replaces, number(len(fields)), *fields, *records]
    reply = yield from _write(exchange, scripts.UPDATE, operation, args)
    return decode_info(operation.session_id, reply[5])


def delete(exchange: Exchange, operation: Delete) -> RedisFlow[bool]:
    """Delete a session with all that it holds."""
    reply = yield from _write(exchange, scripts.DELETE, operation, ())
    return bool(reply[0] == b"OK")


def _write(
    exchange: Exchange,
    script: scripts.Script,
    operation: _Write,
    args: Sequence[Any],
    message: str | None = None,
) -> RedisFlow[Reply]:
    """Carry out a write, and under Cluster enter the session into its lists."""
    session_id, layout = operation.session_id, exchange.layout
    encoded_id = encoded(session_id)
    keys = session_keys(layout.prefix, encoded_id)
    caller = encoded(operation.user_id)
    # The random bytes name this write: when it is sent again, the script knows it.
    who = (exchange.index_prefix, encoded_id, caller, layout.ttl, os.urandom(8), b"")
    call = WriteCall(script, keys, (*who, *args), session_id)
    try:
        [reply] = yield from exchange.ask([call], exchange.wait)
        if reply[0] in REFUSALS:
            refuse(reply, operation, message)
        if layout.clustered and len(reply) >= _RECEIPT and reply[4]:
            member = b"/".join((encoded_id, reply[2], reply[3]))
            entry = Entry(member, reply[4], [])
            calls = drops if isinstance(operation, Delete) else touches
            yield from exchange.ask(calls(layout, entry))
    except BaseException as error:
        if may_still_arrive(error):
            DOUBTS.note((layout.where, keys.writes), call.name)
        raise
    return reply if len(reply) > 1 else [*reply, 0]


def _records(messages: Sequence[SessionMessage]) -> list[bytes]:
    """Give each message's id and stored form, in turn."""
    if len(messages) > _MOST_MESSAGES:
        raise _too_many()
    words: list[bytes] = []
    total = 0
    for message in messages:
        body = encode_message(message)
        total += len(body)
        words += (str(message.id).encode(), body)
    if total > _LARGEST:
        BOUNDS.require(words[1::2])
    return words


def _too_many() -> InvalidMessageError:
    return InvalidMessageError(f"Redis takes up to {_MOST_MESSAGES:,} messages at once")
