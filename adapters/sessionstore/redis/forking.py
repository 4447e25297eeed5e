"""How a session in Redis is forked: by one script, which copies it on the server.

Under Cluster the two sessions are in two slots, which no script reaches both of: the one is read
as a whole, by one script, and the other is made as a whole, by the script that makes any session.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from sessionstore.errors import (
    CorruptMessageError,
    SessionAccessError,
    SessionExistsError,
    SessionNotFoundError,
)
from sessionstore.models import SessionInfo, encode_metadata
from sessionstore.operations import Create, Fork, Get
from sessionstore.redis import scripts
from sessionstore.redis.calls import BY_HASH, NAME, SIX, LongCall, LongWriteCall, number
from sessionstore.redis.exchange import Exchange
from sessionstore.redis.heads import decode_head, decode_info, metadata_fields
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.reading import read
from sessionstore.redis.refusals import refuse
from sessionstore.redis.requests import RedisFlow, Reply, Words
from sessionstore.redis.steps import Step
from sessionstore.redis.writing import BOUNDS, changed_fields, write_call, written

__all__ = ["fork"]

_TWELVE = b"12"


def fork(exchange: Exchange, operation: Fork) -> RedisFlow[SessionInfo]:
    """Make a session with the messages of another one."""
    if exchange.layout.clustered:
        return _fork_across_slots(exchange, operation)
    step = Step(operation, scripts.FORK, _args(operation), _forked, operation.at)

    def judge(reply: Reply) -> tuple[Step, Reply]:
        if reply[1:] == [b"new"]:
            refuse(reply, Get(str(operation.new_session_id)))
        return step.judged(reply)

    return written(exchange, _call(exchange, step), judge, step.result)


def _args(operation: Fork) -> Words:
    at = "" if operation.at is None else operation.at
    source = msgspec.json.encode(operation.session_id)
    return Words((at.encode(), source, *changed_fields(operation.metadata)))


def _call(exchange: Exchange, step: Step) -> LongWriteCall:
    operation, layout = step.operation, exchange.layout
    new = encoded(operation.new_session_id)
    keys = session_keys(layout.prefix, new)
    keys_of_source = session_keys(layout.prefix, encoded(operation.session_id))
    who = (exchange.index_prefix, new, encoded(operation.user_id), layout.ttl)
    called = (BY_HASH, step.script.sha, _TWELVE, *keys, *keys_of_source)
    words = Words((*called, *who, os.urandom(NAME), b"", *step.args))
    return LongWriteCall(keys.head, words, step.script, operation.session_id)


def _forked(operation: Fork, reply: Reply) -> SessionInfo:
    return decode_info(str(operation.new_session_id), reply[5])


# -- Under Cluster --------------------------------------------------------------------------------


class _Named(msgspec.Struct):
    """Of a stored message only what it is found by."""

    id: str


_id_decoder = msgspec.json.Decoder(_Named)


def _fork_across_slots(exchange: Exchange, operation: Fork) -> RedisFlow[SessionInfo]:
    if operation.metadata is not None:
        encode_metadata(operation.metadata)
    found = yield from _read(exchange, operation)
    ids = _ids(operation, found)
    BOUNDS.require(found[1][: len(ids)])
    made, args = _creation(operation, found, ids)
    return (yield from _made(exchange, operation, made, args))


def _read(exchange: Exchange, operation: Fork) -> RedisFlow[Words]:
    """Read the head of the session to copy, and its messages, as they are stored."""
    session_id, script = operation.session_id, scripts.GET
    keys = session_keys(exchange.layout.prefix, encoded(session_id))
    words = Words((BY_HASH, script.sha, SIX, *keys, encoded(operation.user_id), b""))
    [reply] = yield from exchange.ask([LongCall(keys.head, words, script, session_id)])
    Step(operation, script, Words(), _forked).judged(reply)
    if reply[0] == b"NONE":
        raise SessionNotFoundError(f"there is no session {session_id!r}")
    return Words(reply[1:])


def _ids(operation: Fork, found: Words) -> list[str]:
    """Give the ids of the messages to copy."""
    ids: list[str] | None = None
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # they may quote the data
        ids = [_id_decoder.decode(body).id for body in found[1]]
    if ids is None:
        why = "a stored message can't be read"
        raise CorruptMessageError(f"session {operation.session_id!r}: {why}")
    if operation.at is None:
        return ids
    if operation.at not in ids:
        raise SessionNotFoundError(f"the session has no message {operation.at!r}")
    return ids[: ids.index(operation.at) + 1]


def _creation(operation: Fork, found: Words, ids: Sequence[str]) -> tuple[Create, Words]:
    """Give what makes the new session, and what the script for that is given."""
    head = decode_head(operation.session_id, found[0])
    metadata = operation.new_metadata(head["metadata"], ids[-1] if ids else None)
    fields = metadata_fields(metadata)
    pairs = zip(map(str.encode, ids), found[1], strict=False)
    records = [word for pair in pairs for word in pair]
    args = Words((encoded(head["agent_id"]), number(len(fields)), *fields, *records))
    return Create(operation.new_session_id, [], head["agent_id"], head["user_id"]), args


def _made(exchange: Exchange, operation: Fork, made: Create, args: Words) -> RedisFlow[SessionInfo]:
    new_session_id, user_id = str(operation.new_session_id), operation.user_id
    step = Step(made, scripts.CREATE, args, _info)
    call = write_call(exchange, made, step.script, os.urandom(NAME), args)
    taken = SessionExistsError(f"session {new_session_id!r} is already there")
    try:
        info: SessionInfo = yield from written(exchange, call, step.judged, step.result)
    except SessionAccessError:
        if user_id is None:  # nothing is checked: the script was told the owner of the new session
            raise taken from None
        raise
    except SessionExistsError:
        yield from read(exchange, Get(new_session_id, 0, user_id))  # another user's, perhaps
        raise
    return info


def _info(operation: Create, reply: Reply) -> SessionInfo:
    return decode_info(str(operation.session_id), reply[5])
