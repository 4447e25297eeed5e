"""Replaying writes on a primary that others may have written to meanwhile.

To replay a write twice is as to do it once: a crash, or an answer that was lost, is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sessionstore.errors import (
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    StoreBusyError,
)
from sessionstore.fallback.entries import Entry, rewrites
from sessionstore.fallback.requests import FallbackFlow, Request, ask
from sessionstore.models import SessionMessage
from sessionstore.operations import Append, Create, Delete, Get, Update
from sessionstore.store import SessionStore

__all__ = ["first_batch", "joined", "replay_entry"]

_TRIES = 10


def replay_entry(entry: Entry, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    """Carry a write out, to be over by a time."""
    write = entry.operation
    if isinstance(write, Create):
        yield from _create(write, store, deadline)
    elif rewrites(write):
        yield from _rewrite(entry, store, deadline)
    else:
        yield Request(store, write, deadline)


def first_batch(entries: Iterable[Entry]) -> list[Entry]:
    """Give the first write, with the appends of the same caller that follow it if it is one."""
    batch: list[Entry] = []
    for entry in entries:
        if batch and _caller(entry) != _caller(batch[0]):
            break
        batch.append(entry)
        if not isinstance(entry.operation, Append):
            break
    return batch


def joined(batch: list[Entry]) -> Entry:
    """Make one write of a batch: of two messages with one id the first counts."""
    if len(batch) == 1:
        return batch[0]
    messages: list[SessionMessage] = []
    for entry in batch:
        if isinstance(entry.operation, Append):
            messages += entry.operation.messages
    return replace(batch[0], operation=replace(batch[0].operation, messages=messages))


def _caller(entry: Entry) -> tuple[type, str | None, str | None]:
    write = entry.operation
    return type(write), write.user_id, write.agent_id if isinstance(write, Append) else None


def _create(write: Create, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    try:
        yield from ask(store, write, deadline)
    except SessionExistsError:
        session_id = str(write.session_id)
        append = Append(session_id, write.messages, write.agent_id, write.user_id)
        yield from ask(store, append, deadline)
        yield from _merge_missing(write, store, deadline)


def _merge_missing(
    write: Create, store: SessionStore, deadline: float | None
) -> FallbackFlow[None]:
    session_id, metadata = str(write.session_id), write.metadata or {}
    there = yield from ask(store, Get(session_id, 0, write.user_id), deadline)
    if there is None:
        return
    missing = {key: value for key, value in metadata.items() if key not in there.metadata}
    if missing:
        merge = Update(session_id, metadata=missing, user_id=write.user_id)
        yield from ask(store, merge, deadline)


def _rewrite(entry: Entry, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    for _ in range(_TRIES):
        read = Get(entry.session_id, None, entry.operation.user_id)
        there = yield from ask(store, read, deadline)
        if there is None and isinstance(entry.operation, Delete):
            return
        if there is None:
            raise SessionNotFoundError(f"there is no session {entry.session_id!r}")
        try:
            yield from _rewrite_messages(entry, there.messages, there.version, store, deadline)
        except SessionConflictError:
            continue  # somebody wrote in between: their message is among those to keep
        return
    raise StoreBusyError("others write to the session all the time: this waits on")


def _rewrite_messages(
    entry: Entry,
    there: list[SessionMessage],
    version: int,
    store: SessionStore,
    deadline: float | None,
) -> FallbackFlow[None]:
    write = entry.operation
    update = write if isinstance(write, Update) else None
    messages = (update.messages or []) if update else []
    front, behind = _others(entry, messages, there)
    if update is None and not front + behind:
        yield from ask(store, Delete(entry.session_id, write.user_id), deadline)
        return
    rewrite = Update(
        entry.session_id,
        messages=[*front, *messages, *behind],
        metadata=update.metadata if update else None,
        user_id=write.user_id,
        expected_version=version,
    )
    yield from ask(store, rewrite, deadline)


def _others(
    entry: Entry, written: list[SessionMessage], there: list[SessionMessage]
) -> tuple[list[SessionMessage], list[SessionMessage]]:
    """Pick what the caller could not know of, before and behind what they knew."""
    known = {*entry.known, *(message.id for message in written)}
    places = [place for place, message in enumerate(there) if message.id in known]
    first = places[0] if places else 0
    behind = [message for message in there[first:] if message.id not in known]
    return there[:first] if entry.blind else [], behind
