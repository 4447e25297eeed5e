"""Replaying writes on a primary that others may have written to meanwhile.

To replay a write twice is as to do it once: a crash, or an answer that was lost, is harmless.
"""

from __future__ import annotations

from sessionstore.errors import (
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    StoreBusyError,
)
from sessionstore.fallback.entries import Entry, rewrites
from sessionstore.fallback.requests import FallbackFlow, Request, ask
from sessionstore.models import SessionMessage
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    Restore,
    Several,
    Update,
)
from sessionstore.store import SessionStore

__all__ = ["replay_entry"]

_TRIES = 10


def replay_entry(entry: Entry, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    """Carry a write out, to be over by a time."""
    write = entry.operation
    if isinstance(write, Create):
        yield from _create(write, store, deadline)
    elif isinstance(write, Restore):
        yield from _restore(write, store, deadline)
    elif rewrites(write):
        yield from _rewrite(entry, store, deadline)
    elif isinstance(write, Several):
        yield from _several(write, store, deadline)
    else:
        yield Request(store, write, deadline)


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


def _several(write: Several, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    """Carry out several as one step, but for what took effect before and would move messages.

    A rewind that says something anew deletes messages and appends some with the same ids. Done a
    second time it would delete those, and put them behind what was appended after them.
    """
    deleted, appended = _deleted_by(write), _appended_by(write)
    if not deleted.isdisjoint(appended):
        there = yield from ask(store, Get(write.session_id, None, write.user_id), deadline)
        if there is not None and _has_taken_effect(deleted, appended, there.messages):
            parts = [part for part in write.operations if type(part) is not DeleteMessages]
            yield from ask(store, Several(parts), deadline)
            return
    yield from ask(store, write, deadline)


def _has_taken_effect(
    deleted: set[str], appended: dict[str | None, SessionMessage], there: list[SessionMessage]
) -> bool:
    held = {message.id for message in there}
    again = [message for name, message in appended.items() if name in deleted]
    found = [message for message in there if message.id in deleted]
    return found == again and held >= appended.keys()


def _deleted_by(write: Several) -> set[str]:
    deletions = (part for part in write.operations if type(part) is DeleteMessages)
    return {name for part in deletions for name in part.message_ids}


def _appended_by(write: Several) -> dict[str | None, SessionMessage]:
    appends = (part for part in write.operations if type(part) is Append)
    return {message.id: message for part in appends for message in part.messages}


def _restore(write: Restore, store: SessionStore, deadline: float | None) -> FallbackFlow[None]:
    try:
        yield from ask(store, write, deadline)
    except SessionExistsError:
        there = yield from ask(store, Get(write.session_id, 0, write.user_id), deadline)
        if there is None or there.created_at != write.session.created_at:
            raise SessionConflictError("another session of that id is there: it stays") from None


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
    raise StoreBusyError("this conflicted with concurrent writes: it keeps waiting")


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
