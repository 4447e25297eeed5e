"""`PendingWrite`: one write as a value, to be kept in a journal and carried out later, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec.structs import asdict, replace

from sessionstore.errors import (
    CorruptMessageError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreBusyError,
)
from sessionstore.flow import Flow
from sessionstore.models import SessionMessage, encode_message, encode_metadata
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    Operation,
    ReplaceMessage,
    Update,
)
from sessionstore.store import SessionStore

__all__ = [
    "PendingWrite",
    "decode_write",
    "encode_write",
    "first_batch",
    "id_of",
    "joined",
    "kind_of",
]

_TRIES = 10


class PendingWrite(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A write that a fallback has taken in for its primary.

    Attributes:
        kind: What the caller asked for; ``"unreadable"`` of one in ``rejected()`` that is damaged,
            or was written by a newer version: of that, only this and ``id`` are known for sure.
        session_id: The session.
        agent_id: The agent of the session, if this makes it.
        user_id: The caller.
        messages: The messages of an ``append``, ``create`` or ``update``; the one of a
            ``replace``.
        message_ids: The messages of a ``remove``.
        metadata: The metadata of a ``create`` or ``update``.
        known: For an ``update`` of the messages and a ``delete``: the ids of the last messages
            that the caller could know of. What others have put among and behind them stays.
        blind: The caller could know of no others: what is before those stays, too.
        id: The write's own id, once it is in a journal. Of one that is unreadable: the session of
            the fallback store that holds it, a slash, and its place or id there.
        reason: Of one in ``rejected()``: the name of the primary's error, such as
            ``"SessionAccessError"``.
    """

    kind: Literal["append", "create", "replace", "remove", "update", "delete", "unreadable"]
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

    def __repr__(self) -> str:
        """Tell what it does to which session: never what was said."""
        count = len(self.messages or ())
        return f"PendingWrite({self.kind!r}, session_id={self.session_id!r}, messages=<{count}>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [("kind", self.kind), ("session_id", self.session_id)]

    def rewrites(self) -> bool:
        """Tell whether it takes messages away."""
        return self.kind == "delete" or (self.kind == "update" and self.messages is not None)

    def is_whole(self) -> bool:
        """Tell whether it has what its kind needs: what is damaged may lack it."""
        if self.kind in ("append", "create"):
            return self.messages is not None
        if self.kind == "replace":
            return self.messages is not None and len(self.messages) == 1
        if self.kind == "remove":
            return bool(self.message_ids)
        if self.kind == "update":
            return self.messages is not None or self.metadata is not None
        return self.kind == "delete"

    def operation(self, expected_version: int | None = None) -> Operation[Any]:
        """Give what the caller asked for."""
        messages = self.messages or []
        session_id, user_id = self.session_id, self.user_id
        if self.kind == "append":
            return Append(session_id, messages, self.agent_id, user_id, expected_version)
        if self.kind == "create":
            return Create(session_id, messages, self.agent_id, user_id, self.metadata or {})
        if self.kind == "replace":
            return ReplaceMessage(session_id, messages[0], user_id)
        if self.kind == "remove":
            return DeleteMessages(session_id, self.message_ids, user_id, expected_version)
        if self.kind == "update":
            return Update(session_id, self.messages, self.metadata, user_id, expected_version)
        if self.kind == "delete":
            return Delete(session_id, user_id)
        raise SessionStoreError("this write can't be read: look at it in the fallback store")

    def later(self, store: SessionStore, deadline: float | None = None) -> Flow[None]:
        """Carry the write out on a store that others may have written to meanwhile.

        To do so twice is as to do so once: a crash, or an answer that was lost, is harmless. A
        request is the store, an operation, and the time at which it must be over.
        """
        if self.kind == "create":
            yield from self._create_later(store, deadline)
        elif self.rewrites():
            yield from self._rewrite_later(store, deadline)
        else:
            yield store, self.operation(), deadline

    def _create_later(self, store: SessionStore, deadline: float | None) -> Flow[None]:
        try:
            yield store, self.operation(), deadline
        except SessionExistsError:
            yield store, replace(self, kind="append").operation(), deadline
            yield from self._merge_missing(store, deadline)

    def _merge_missing(self, store: SessionStore, deadline: float | None) -> Flow[None]:
        read = Get(self.session_id, 0, self.user_id)
        there = yield store, read, deadline
        missing = {
            key: value
            for key, value in (self.metadata or {}).items()
            if there is not None and key not in there.metadata
        }
        if missing:
            merge = replace(self, kind="update", messages=None, metadata=missing)
            yield store, merge.operation(), deadline

    def _rewrite_later(self, store: SessionStore, deadline: float | None) -> Flow[None]:
        for _ in range(_TRIES):
            read = Get(self.session_id, None, self.user_id)
            there = yield store, read, deadline
            if there is None and self.kind == "delete":
                return
            if there is None:
                raise SessionNotFoundError(f"there is no session {self.session_id!r}")
            front, behind = self._others(there.messages)
            if self.kind == "delete" and not front + behind:
                yield store, self.operation(), deadline
                return
            rewrite = Update(
                self.session_id,
                messages=[*front, *(self.messages or ()), *behind],
                metadata=self.metadata,
                user_id=self.user_id,
                expected_version=there.version,
            )
            try:
                yield store, rewrite, deadline
            except SessionConflictError:
                continue  # somebody wrote in between: their message is among those to keep
            return
        raise StoreBusyError("others write to the session all the time: this waits on")

    def _others(
        self, messages: list[SessionMessage]
    ) -> tuple[list[SessionMessage], list[SessionMessage]]:
        """Pick what the caller could not know of, before and behind what they knew."""
        known = {*self.known, *(message.id for message in self.messages or ())}
        places = [place for place, message in enumerate(messages) if message.id in known]
        first = places[0] if places else 0
        behind = [message for message in messages[first:] if message.id not in known]
        return messages[:first] if self.blind else [], behind


def encode_write(write: PendingWrite) -> bytes:
    """Turn a write into JSON, its messages and metadata as stores keep them."""
    fields = asdict(write)
    if write.messages is not None:
        fields["messages"] = [msgspec.Raw(encode_message(message)) for message in write.messages]
    if write.metadata is not None:
        fields["metadata"] = msgspec.Raw(encode_metadata(write.metadata))
    return msgspec.json.encode(fields)


def decode_write(raw: bytes | str) -> PendingWrite:
    """Read a write back from its JSON.

    Raises:
        CorruptMessageError: It is damaged, or a newer version of the package wrote it.
    """
    try:
        write = _decoder.decode(raw)
        if write.id and write.is_whole():
            return write
    except (msgspec.MsgspecError, UnicodeError, ValueError, OverflowError, RecursionError):
        pass  # the error quotes what it could not read
    raise CorruptMessageError("this entry of the journal can't be read")


def kind_of(raw: bytes) -> str:
    """Tell what a write does from its JSON, of which the rest is skipped."""
    return _kind_decoder.decode(raw).kind


def id_of(raw: bytes) -> str:
    """Give a write's id from its JSON, of which the rest is skipped."""
    return _id_decoder.decode(raw).id


class _Kind(msgspec.Struct):
    kind: str


class _Id(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(PendingWrite)
_kind_decoder = msgspec.json.Decoder(_Kind)
_id_decoder = msgspec.json.Decoder(_Id)


def first_batch(writes: Iterable[PendingWrite]) -> list[PendingWrite]:
    """Give the first write, with the appends of the same caller that follow it if it is one."""
    batch: list[PendingWrite] = []
    for write in writes:
        if batch and _caller(write) != _caller(batch[0]):
            break
        batch.append(write)
        if write.kind != "append":
            break
    return batch


def joined(batch: list[PendingWrite]) -> PendingWrite:
    """Make one write of a batch: of two messages with one id the first counts."""
    if len(batch) == 1:
        return batch[0]
    messages: dict[str | None, SessionMessage] = {}
    for message in (message for write in batch for message in write.messages or ()):
        messages.setdefault(message.id, message)
    return replace(batch[0], messages=list(messages.values()))


def _caller(write: PendingWrite) -> tuple[str, str | None, str]:
    return write.kind, write.user_id, write.agent_id
