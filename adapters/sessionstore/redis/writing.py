"""How a session in Redis is written: each operation is one script, which checks and writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TypeVar

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
from sessionstore.redis.calls import BY_HASH, SIX, WriteCall, number
from sessionstore.redis.doubts import DOUBTS, may_still_arrive
from sessionstore.redis.entries import Entry, drops, touches
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head, decode_info, metadata_fields
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.refusals import REFUSALS, refuse
from sessionstore.redis.requests import RedisFlow, Reply, Words

__all__ = [
    "BOUNDS",
    "append",
    "create",
    "delete",
    "delete_messages",
    "replace_message",
    "update",
]

T = TypeVar("T")

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
    args = Words((encoded(operation.agent_id), number(len(fields)), *fields, *records))

    def made(reply: Reply) -> SessionData:
        head = decode_head(str(operation.session_id), reply[5])
        return SessionData(**head, messages=list(operation.messages))

    return _write(exchange, scripts.CREATE, operation, args, made)


def append(exchange: Exchange, operation: Append) -> RedisFlow[int]:
    """Add messages at the end; make the session when it is new."""
    records = _records(operation.messages)
    args = Words((encoded(operation.agent_id), number(operation.expected_version), *records))
    return _write(exchange, scripts.APPEND, operation, args, _added)


def replace_message(exchange: Exchange, operation: ReplaceMessage) -> RedisFlow[None]:
    """Put a message in the place of the one with its id."""
    message = operation.message
    args = Words(_records([message]))
    return _write(exchange, scripts.REPLACE, operation, args, _nothing, message=message.id)


def delete_messages(exchange: Exchange, operation: DeleteMessages) -> RedisFlow[list[str]]:
    """Delete messages; the script answers with runs of those that it was given."""
    ids = operation.message_ids
    if len(ids) > _MOST_MESSAGES:
        raise _too_many()
    args = Words((number(operation.expected_version), *map(str.encode, ids)))

    def deleted(reply: Reply) -> list[str]:
        if reply[0] == b"NONE":
            return []
        runs = zip(reply[5][::2], reply[5][1::2], strict=True)
        return [message_id for start, count in runs for message_id in ids[start : start + count]]

    return _write(exchange, scripts.REMOVE, operation, args, deleted)


def update(exchange: Exchange, operation: Update) -> RedisFlow[SessionInfo]:
    """Replace the messages, and merge the metadata, as far as given."""
    fields = [b"" if part == b"null" else part for part in metadata_fields(operation.metadata)]
    replaces = b"" if operation.messages is None else b"1"
    records = _records(operation.messages or ())
    version = number(operation.expected_version)
    args = Words((version, replaces, number(len(fields)), *fields, *records))

    def updated(reply: Reply) -> SessionInfo:
        return decode_info(operation.session_id, reply[5])

    return _write(exchange, scripts.UPDATE, operation, args, updated)


def delete(exchange: Exchange, operation: Delete) -> RedisFlow[bool]:
    """Delete a session with all that it holds."""
    return _write(exchange, scripts.DELETE, operation, Words(), lambda reply: reply[0] == b"OK")


_added: Callable[[Reply], int] = itemgetter(1)


def _nothing(_: Reply) -> None:
    pass


def _write(
    exchange: Exchange,
    script: scripts.Script,
    operation: _Write,
    args: Words,
    result: Callable[[Reply], T],
    *,
    message: str | None = None,
) -> RedisFlow[T]:
    """Carry out a write, and under Cluster enter the session into its lists.

    Args:
        exchange: The store's.
        script: What writes.
        operation: What it is for.
        args: What the script is given beyond what each write is.
        result: Makes the operation's result of the script's reply.
        message: The id of the message that it is about, if there is one.
    """
    session_id, layout = operation.session_id, exchange.layout
    encoded_id = encoded(session_id)
    keys = session_keys(layout.prefix, encoded_id)
    # The random bytes name this write: when it is sent again, the script knows it.
    who = (exchange.index_prefix, encoded_id, encoded(operation.user_id), layout.ttl)
    words = Words((BY_HASH, script.sha, SIX, *keys, *who, os.urandom(8), b"", *args))
    call = WriteCall(keys.head, words, script, session_id)
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
    return result(reply if len(reply) > 1 else [*reply, 0])


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
