"""The calls that a journal holds: with all their arguments, encoded by the saver's serializer."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from typing import Any, TypeAlias

import msgspec
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.arguments import PutArguments, WritesArguments
from langgraph_sessionstore.configs import (
    checkpoint_id_of,
    names_of,
    namespace_of,
    plain,
    thread_of,
)
from sessionstore import CorruptMessageError, SessionMessage

__all__ = [
    "Blob",
    "Call",
    "Delete",
    "Put",
    "PutWrites",
    "arguments_of",
    "as_message",
    "decode",
    "delete_call",
    "method_of",
    "put_call",
    "replayed_arguments",
    "writes_call",
]

Blob: TypeAlias = tuple[str, bytes]
"""A value as the serializer encodes it."""

_ROLE = "langgraph"
_FAST = 1  # of zlib: what messages have in common is most of them


class _Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all calls have.

    Attributes:
        thread_id: The thread.
        checkpoint_ns: The namespace.
        checkpoint_id: The checkpoint; empty of what is about a whole thread.
        known: It was in the primary before: it is here to be read, and not to be replayed.
    """

    thread_id: str
    checkpoint_ns: str = ""
    checkpoint_id: str = ""
    known: bool = False


class Put(_Call, frozen=True, tag="put"):
    """A checkpoint.

    Attributes:
        parent_id: The checkpoint before it.
        config: The config, as far as it is plain data.
        checkpoint: The checkpoint, with all its values.
        metadata: Its metadata, as the caller gave them.
        new_versions: The channels that are new in it.
        ours: It was put by this checkpointer, and not only read.
    """

    parent_id: str | None
    config: Blob
    checkpoint: Blob
    metadata: Blob
    new_versions: Blob
    ours: bool = True


class PutWrites(_Call, frozen=True, tag="put_writes"):
    """What a task has written.

    Attributes:
        config: The config, as far as it is plain data.
        channels: The channels that were written to.
        values: What was written to each.
        indexes: The place of each: it may not be that in this list, of what was known before.
        task_id: The task.
        task_path: Its path.
    """

    config: Blob
    channels: list[str]
    values: list[Blob]
    task_id: str
    task_path: str = ""
    indexes: list[int] | None = None


class Delete(_Call, frozen=True, tag="delete_thread"):
    """The end of a thread.

    Attributes:
        before: What it is to delete has older ids than this one; empty for anything.
    """

    before: str = ""


Call: TypeAlias = Put | PutWrites | Delete


def put_call(serde: SerializerProtocol, asked: PutArguments) -> Put:
    """Encode a call of ``put``."""
    config = asked.config
    return Put(
        thread_id=thread_of(config),
        checkpoint_ns=namespace_of(config),
        checkpoint_id=asked.checkpoint["id"],
        parent_id=checkpoint_id_of(config),
        config=serde.dumps_typed(plain(config)),
        checkpoint=serde.dumps_typed(asked.checkpoint),
        metadata=serde.dumps_typed(asked.metadata),
        new_versions=serde.dumps_typed(asked.new_versions),
    )


def writes_call(serde: SerializerProtocol, asked: WritesArguments) -> PutWrites:
    """Encode a call of ``put_writes``."""
    config = asked.config
    return PutWrites(
        thread_id=thread_of(config),
        checkpoint_ns=namespace_of(config),
        checkpoint_id=names_of(config)["checkpoint_id"],
        config=serde.dumps_typed(plain(config)),
        channels=[channel for channel, _ in asked.writes],
        values=[serde.dumps_typed(value) for _, value in asked.writes],
        task_id=asked.task_id,
        task_path=asked.task_path,
    )


def delete_call(thread_id: str) -> Delete:
    """Encode a call of ``delete_thread``, which was asked for now."""
    return Delete(thread_id=thread_id, before=str(uuid6()))


def arguments_of(serde: SerializerProtocol, call: Call) -> tuple[Any, ...]:
    """Give the arguments with which the method of the call's name is to be called."""
    load = serde.loads_typed
    if isinstance(call, Put):
        blobs = call.config, call.checkpoint, call.metadata, call.new_versions
        return tuple(load(blob) for blob in blobs)
    if isinstance(call, PutWrites):
        values = (load(value) for value in call.values)
        writes = list(zip(call.channels, values, strict=True))
        return load(call.config), writes, call.task_id, call.task_path
    return (call.thread_id,)


def replayed_arguments(serde: SerializerProtocol, call: Call) -> tuple[Any, ...]:
    """Give the arguments with which a call is replayed.

    A saver that writes only the channels that are new has the others from the puts before. One of
    those may be gone: refused, or deleted by others meanwhile. So every channel is named as new; it
    is written once, by its version.
    """
    arguments = arguments_of(serde, call)
    if not isinstance(call, Put):
        return arguments
    config, checkpoint, metadata, new_versions = arguments
    versions = checkpoint["channel_versions"]
    held = {name: versions[name] for name in checkpoint["channel_values"] if name in versions}
    return config, checkpoint, metadata, held | new_versions


def as_message(call: Call, message_id: str | None = None) -> SessionMessage:
    """Make the message by which a journal holds a call."""
    content = b64encode(zlib.compress(_encoder.encode(call), _FAST)).decode("ascii")
    return SessionMessage(_ROLE, content, id=message_id)


def decode(message: SessionMessage) -> Call:
    """Read the call that a message holds.

    Raises:
        CorruptMessageError: It is damaged, or a newer version has written it.
    """
    try:
        return _decoder.decode(zlib.decompress(b64decode(str(message.content), validate=True)))
    except (ValueError, zlib.error, msgspec.MsgspecError) as error:
        raise CorruptMessageError(
            "this call of a checkpointer can't be read: it is damaged, "
            "or a newer version of the package wrote it"
        ) from error


def method_of(call: Call) -> str:
    """Give the name of the saver's method that a call is of."""
    return str(type(call).__struct_config__.tag)


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Put | PutWrites | Delete)
