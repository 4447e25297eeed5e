"""`Entry`: a write in a journal, as the operation that it is, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from sessionstore.errors import CorruptMessageError
from sessionstore.fallback.pending import PendingWrite
from sessionstore.models import SessionData, SessionMessage, encode_message, encode_metadata
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    ReplaceMessage,
    Restore,
    SessionWrite,
    Several,
    Update,
)

__all__ = [
    "Entry",
    "JournaledAppend",
    "Records",
    "Write",
    "decode_append",
    "decode_entry",
    "encode_entry",
    "encoded_messages",
    "id_of",
    "kind_of",
    "named_by",
    "rewrites",
    "writes_of",
]

Write: TypeAlias = SessionWrite | Several
"""An operation that can be journaled."""

Records: TypeAlias = Sequence[tuple[str, bytes]]
"""The messages of a write, each by its id and in its stored form."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A write in a journal.

    Attributes:
        id: Its own id.
        operation: What the caller asked for.
        known: Of one that takes messages away, whichever they are: the ids of the last messages
            that the caller could know of. What others have put among and behind them stays.
        blind: The caller could know of no others: what is before those stays, too.
        reason: Of one that was set aside: the name of the primary's error.
    """

    id: str
    operation: Write
    known: list[str] = []
    blind: bool = False
    reason: str = ""

    @property
    def session_id(self) -> str:
        """The session."""
        return str(self.operation.session_id)

    def pending(self) -> PendingWrite:
        """Give what the store's user is shown."""
        return PendingWrite(self.operation, self.id, self.reason)


class JournaledAppend(NamedTuple):
    """What is read of an append that goes into a batch.

    Attributes:
        id: Its own id.
        user_id: The caller.
        agent_id: The agent of the session, if it makes that.
        messages: The messages.
    """

    id: str
    user_id: str | None
    agent_id: str
    messages: list[SessionMessage]


def writes_of(write: Write) -> Sequence[Write]:
    """Give the writes that a write comes to: those of several operations, or itself."""
    return [*write.writes] if isinstance(write, Several) else [write]


def rewrites(write: object) -> bool:
    """Tell whether a write takes messages away, whichever they are."""
    return type(write) is Delete or (type(write) is Update and write.messages is not None)


def named_by(write: Write) -> list[str]:
    """Give the ids of the messages that a write names, to change just those."""
    if isinstance(write, DeleteMessages):
        return write.message_ids
    return [str(write.message.id)] if isinstance(write, ReplaceMessage) else []


def encoded_messages(write: Write) -> Records:
    """Give the messages of a write in their stored form.

    Raises:
        InvalidMessageError: One of them can't be stored as JSON.
        InvalidSessionError: The metadata that it sets can't be.
    """
    if isinstance(write, Several):
        return [record for part in write.writes for record in encoded_messages(part)]
    if isinstance(write, (Create, Restore, Update)) and write.metadata is not None:
        encode_metadata(write.metadata)
    if isinstance(write, (Append, Create, Restore, Update)):
        return [(str(message.id), encode_message(message)) for message in write.messages or ()]
    if isinstance(write, ReplaceMessage):
        return [(str(write.message.id), encode_message(write.message))]
    return ()


def encode_entry(entry: Entry, records: Records | None = None) -> bytes:
    """Turn an entry into JSON, its messages and metadata as stores keep them.

    Args:
        entry: The entry.
        records: Its messages, as `encoded_messages` gives them, where they are encoded already.
    """
    encoded = {"id": entry.id, "operation": _fields_of(entry.operation, records)}
    for name in ("known", "blind", "reason"):
        if value := getattr(entry, name):
            encoded[name] = value
    return msgspec.json.encode(encoded)


def _fields_of(write: Write, records: Records | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": write.__struct_config__.tag}
    if isinstance(write, Several):
        return {**fields, "operations": [_fields_of(part, None) for part in write.writes]}
    records = encoded_messages(write) if records is None else records
    if isinstance(write, Restore):
        return {**fields, "session": _encoded(write.session, records)}
    for name in write.__struct_fields__:
        if (value := getattr(write, name)) is not None:
            fields[name] = value
    return _encoded_fields(fields, records)


def _encoded(session: SessionData, records: Records) -> dict[str, Any]:
    fields = {name: getattr(session, name) for name in session.__struct_fields__}
    return _encoded_fields(fields, records)


def _encoded_fields(fields: dict[str, Any], records: Records) -> dict[str, Any]:
    if "messages" in fields:
        fields["messages"] = [msgspec.Raw(body) for _, body in records]
    elif "message" in fields:
        fields["message"] = msgspec.Raw(records[0][1])
    if "metadata" in fields:
        fields["metadata"] = msgspec.Raw(encode_metadata(fields["metadata"]))
    return fields


def decode_entry(raw: bytes | str) -> Entry:
    """Read an entry back from its JSON, or from that of releases up to 0.1.

    Raises:
        CorruptMessageError: It is damaged, or a newer version of the package wrote it.
    """
    for decoder in (_decoder, _flat_decoder):
        try:
            found = decoder.decode(raw)
            entry = found.entry() if isinstance(found, _FlatEntry) else found
            if entry.id:
                return entry
        except _UNREADABLE:
            pass  # the error quotes what it could not read
    raise CorruptMessageError("this entry of the journal can't be read")


def decode_append(raw: bytes) -> JournaledAppend | None:
    """Read an entry that was checked before; ``None`` where it is no append."""
    try:
        found = _append_decoder.decode(raw)
    except msgspec.ValidationError:
        return None
    append = found.operation
    return JournaledAppend(found.id, append.user_id, append.agent_id, append.messages)


def kind_of(raw: bytes) -> str:
    """Tell what a write does from its JSON, of which the rest is skipped."""
    return _kind_decoder.decode(raw).operation.kind


def id_of(raw: bytes) -> str:
    """Give a write's id from its JSON, of which the rest is skipped."""
    return _id_decoder.decode(raw).id


class _FlatEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An entry as releases up to 0.1 wrote it: the fields of all operations side by side."""

    kind: Literal["append", "create", "replace", "remove", "update", "delete"]
    session_id: str
    agent_id: str = "default"
    user_id: str | None = None
    messages: list[SessionMessage] | None = None
    message_ids: list[str] = []
    metadata: dict[str, Any] | None = None
    known: list[str] = []
    blind: bool = False
    id: str = ""
    reason: str = ""

    def entry(self) -> Entry:
        """Give the same entry as it is written now.

        Raises:
            CorruptMessageError: It lacks what its kind needs.
            ValueError: A value is not valid.
        """
        return Entry(self.id, self._operation(), self.known, self.blind, self.reason)

    def _operation(self) -> Write:
        session_id, messages, user_id = self.session_id, self.messages, self.user_id
        if self.kind == "delete":
            return Delete(session_id, user_id)
        if self.kind == "remove" and self.message_ids:
            return DeleteMessages(session_id, self.message_ids, user_id)
        if self.kind == "update" and (messages is not None or self.metadata is not None):
            return Update(session_id, messages, self.metadata, user_id)
        if messages is not None and self.kind == "append":
            return Append(session_id, messages, self.agent_id, user_id)
        if messages is not None and self.kind == "create":
            return Create(session_id, messages, self.agent_id, user_id, self.metadata or {})
        if messages is not None and self.kind == "replace" and len(messages) == 1:
            return ReplaceMessage(session_id, messages[0], user_id)
        raise CorruptMessageError("this entry of the journal lacks what its kind needs")


class _Append(msgspec.Struct, tag_field="kind", tag="append"):
    messages: list[SessionMessage]
    agent_id: str = "default"
    user_id: str | None = None


class _AppendEntry(msgspec.Struct):
    id: str
    operation: _Append


class _Kind(msgspec.Struct):
    kind: str


class _KindOf(msgspec.Struct):
    operation: _Kind


class _Id(msgspec.Struct):
    id: str


_UNREADABLE = (
    msgspec.MsgspecError,
    CorruptMessageError,
    UnicodeError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
_decoder = msgspec.json.Decoder(Entry)
_append_decoder = msgspec.json.Decoder(_AppendEntry)
_flat_decoder = msgspec.json.Decoder(_FlatEntry)
_kind_decoder = msgspec.json.Decoder(_KindOf)
_id_decoder = msgspec.json.Decoder(_Id)
