"""How a session in Redis is written: each operation is one script, which checks and writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sessionstore.bounds import StoreBounds
from sessionstore.errors import CorruptMessageError, InvalidMessageError
from sessionstore.models import SessionData, SessionInfo, SessionMessage, encode_message
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    ReplaceMessage,
    Restore,
    Rewind,
    Update,
)
from sessionstore.redis import scripts
from sessionstore.redis.calls import BY_HASH, NAME, RECORD, WriteCall, number
from sessionstore.redis.doubts import DOUBTS, may_still_arrive
from sessionstore.redis.entries import Entry, drops, touches
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head, decode_info, metadata_fields
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.scripts import Script
from sessionstore.redis.steps import Step

__all__ = ["BOUNDS", "WRITES", "changed_fields", "is_receipt", "write", "write_call", "written"]

T = TypeVar("T")

_MOST_MESSAGES = 500_000  # Redis takes 2**20 words in one request
_LARGEST = 512 * 2**20 - 1  # and so many bytes in one of them
_RECEIPT = 5  # values, the last of them when it was done

BOUNDS = StoreBounds(messages=_MOST_MESSAGES, message_bytes=_LARGEST, write_bytes=_LARGEST)
"""What Redis takes in one request."""


def write(exchange: Exchange, operation: Any) -> RedisFlow[Any]:
    """Carry out an operation that writes."""
    step = WRITES[type(operation)](operation)
    call = write_call(exchange, operation, step.script, os.urandom(NAME), step.args)
    if type(operation) is Rewind:
        call = call.made_long()
    return written(exchange, call, step.judged, step.result)


def write_call(
    exchange: Exchange,
    operation: Any,
    script: Script,
    names: bytes,
    args: Words,
    *,
    leased: bool = False,
) -> WriteCall:
    """Make the call of a script that writes.

    Args:
        exchange: The store's.
        operation: What it is for.
        script: The script.
        names: Random bytes: when the write is sent again, the script knows it by them.
        args: What the script is given beyond what each write is.
        leased: Whether it asks about the session's lease.
    """
    session_id, layout = operation.session_id, exchange.layout
    encoded_id = encoded(session_id)
    six = session_keys(layout.prefix, encoded_id)
    keys = six.with_lease if leased else six
    who = (exchange.index_prefix, encoded_id, encoded(operation.user_id), layout.ttl)
    words = Words((BY_HASH, script.sha, number(len(keys)), *keys, *who, names, b"", *args))
    return WriteCall(six.head, words, script, session_id)


def written(
    exchange: Exchange,
    call: WriteCall,
    judge: Callable[[Reply], tuple[Step, Reply]],
    read: Callable[[Reply], T],
) -> RedisFlow[T]:
    """Ask for a write, and under Cluster enter the session into its lists.

    Args:
        exchange: The store's.
        call: What is asked.
        judge: Raises what the reply refuses; gives the last write in it, and what that replied.
        read: Makes the result of the reply.
    """
    layout = exchange.layout
    try:
        [reply] = yield from exchange.ask([call], exchange.wait)
        step, receipt = judge(reply)
        if layout.clustered and is_receipt(receipt):
            member = b"/".join((call.encoded_id, receipt[2], receipt[3]))
            entry = Entry(member, receipt[4], [])
            calls = drops if step.script is scripts.DELETE else touches
            yield from exchange.ask(calls(layout, entry))
    except BaseException as error:
        if may_still_arrive(error):
            DOUBTS.note((layout.where, call.words[RECORD]), call.name)
        raise
    return read(reply)


def is_receipt(reply: Reply) -> bool:
    """Tell whether a reply says what was done to which session: not where it is gone by now."""
    return len(reply) >= _RECEIPT and bool(reply[4])


def _create(operation: Create) -> Step:
    """Give what makes a session."""
    fields = metadata_fields(operation.metadata)
    records = _records(operation.messages)
    args = Words((encoded(operation.agent_id), number(len(fields)), *fields, *records))
    return Step(operation, scripts.CREATE, args, _made)


def _restore(operation: Restore) -> Step:
    """Give what makes a session as it was elsewhere, or goes on with one."""
    fields, version = metadata_fields(operation.metadata), number(operation.expected_version)
    records = _records(operation.messages)
    times = number(operation.created_at), number(operation.updated_at)
    named = encoded(operation.agent_id), version, *times, number(len(fields))
    return Step(operation, scripts.RESTORE, Words((*named, *fields, *records)), _restored)


def _append(operation: Append) -> Step:
    """Give what adds messages."""
    records = _records(operation.messages)
    args = Words((encoded(operation.agent_id), number(operation.expected_version), *records))
    return Step(operation, scripts.APPEND, args, _added)


def _replace_message(operation: ReplaceMessage) -> Step:
    """Give what replaces a message."""
    message = operation.message
    return Step(operation, scripts.REPLACE, Words(_records([message])), _nothing, message.id)


def _delete_messages(operation: DeleteMessages) -> Step:
    """Give what deletes messages; the script answers with runs of those that it was given."""
    ids = operation.message_ids
    if len(ids) > _MOST_MESSAGES:
        raise _too_many()
    args = Words((number(operation.expected_version), *map(str.encode, ids)))
    return Step(operation, scripts.REMOVE, args, _deleted)


def _rewind(operation: Rewind) -> Step:
    """Give what deletes all behind a message."""
    to = b"" if operation.to is None else b"+" + operation.to.encode()
    args = Words((number(operation.expected_version), to))
    return Step(operation, scripts.REWIND, args, _rewound, operation.to)


def _update(operation: Update) -> Step:
    """Give what replaces the messages, and merges the metadata."""
    fields = changed_fields(operation.metadata)
    replaces = b"" if operation.messages is None else b"1"
    records = _records(operation.messages or ())
    version = number(operation.expected_version)
    args = Words((version, replaces, number(len(fields)), *fields, *records))
    return Step(operation, scripts.UPDATE, args, _updated)


def changed_fields(metadata: dict[str, Any] | None) -> list[bytes]:
    """Give changes of metadata as names and values; the value of what is removed is empty."""
    return [b"" if part == b"null" else part for part in metadata_fields(metadata)]


def _delete(operation: Delete) -> Step:
    """Give what deletes a session."""
    return Step(operation, scripts.DELETE, Words(), _is_done)


def _made(operation: Create, reply: Reply) -> SessionData:
    head = decode_head(str(operation.session_id), reply[5])
    return SessionData(**head, messages=list(operation.messages))


def _restored(operation: Restore, reply: Reply) -> SessionInfo | None:
    return None if reply[0] == b"NONE" else decode_info(operation.session_id, reply[5])


def _added(_: Append, reply: Reply) -> int:
    added: int = reply[1] if len(reply) > 1 else 0
    return added


def _nothing(_: ReplaceMessage, __: Reply) -> None:
    pass


def _deleted(operation: DeleteMessages, reply: Reply) -> list[str]:
    if reply[0] == b"NONE":
        return []
    ids, runs = operation.message_ids, zip(reply[5][::2], reply[5][1::2], strict=True)
    return [message_id for start, count in runs for message_id in ids[start : start + count]]


def _rewound(operation: Rewind, reply: Reply) -> list[str]:
    if reply[0] == b"NONE":
        return []
    with suppress(UnicodeDecodeError):
        return [message_id.decode() for message_id in reply[5]]
    raise CorruptMessageError(f"session {operation.session_id!r}: an id is no text")


def _updated(operation: Update, reply: Reply) -> SessionInfo:
    return decode_info(operation.session_id, reply[5])


def _is_done(_: Delete, reply: Reply) -> bool:
    done: bool = reply[0] == b"OK"
    return done


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


WRITES: dict[type, Callable[[Any], Step]] = {
    Append: _append,
    Create: _create,
    Delete: _delete,
    DeleteMessages: _delete_messages,
    ReplaceMessage: _replace_message,
    Restore: _restore,
    Rewind: _rewind,
    Update: _update,
}
"""What each operation that writes is carried out by."""
