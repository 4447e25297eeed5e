"""Answers without the primary: what is cached, and writes that are journaled for it."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

from msgspec.structs import replace

from sessionstore._runtime.tickets import task_ticket
from sessionstore.errors import (
    OutageError,
    SessionStoreError,
    StoreBusyError,
    StoreUnavailableError,
)
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.entries import (
    Entry,
    Records,
    Write,
    encode_entry,
    encoded_messages,
    named_by,
    rewrites,
    writes_of,
)
from sessionstore.fallback.known import KnownSession, Origin
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.queue import Arrival
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.fallback.rewinding import without_rewinds
from sessionstore.models import SessionPage, new_id
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Ping,
    Prune,
    Restore,
    Setup,
    Several,
)

__all__ = [
    "journaled",
    "ping_fallback",
    "recalled",
    "recalled_list",
    "refuse_prune",
    "wait_for_first_use",
]

T = TypeVar("T")

_TRIES = 10

_NOTHING_DONE: dict[type, Callable[[], Any]] = {Append: int, Delete: bool, DeleteMessages: list}
"""What those give that had nothing to do."""


class _OvertakenError(SessionStoreError):
    """Somebody else changed the session while a write was on its way into the journal."""


def recalled(parts: Parts, read: Get | GetMessages | Several) -> FallbackFlow[Any]:
    """Read what is known of a session; of several operations, none may write."""
    view = parts.cache.view(read.session_id, read.user_id)
    if parts.raises_unknown and not parts.knows(view, read.session_id):
        raise StoreUnavailableError("this session was not seen before the store went away")
    yield from ()
    return view.run(read)


def recalled_list(parts: Parts, read: ListSessions) -> FallbackFlow[SessionPage]:
    """List the sessions that are known."""
    cursor = read.cursor
    if cursor is not None and not cursor.startswith(parts.cursor):
        raise StoreUnavailableError("this page can't be read until the store is back")
    yield from ()
    after = cursor and cursor[len(parts.cursor) :]
    page: SessionPage = parts.cache.run(replace(read, cursor=after))
    return SessionPage(page.sessions, page.cursor and parts.cursor + page.cursor, partial=True)


def refuse_prune(_: Parts, _prune: Prune) -> FallbackFlow[int]:
    """Refuse to prune: what has expired, only the primary can tell."""
    yield from ()
    raise StoreUnavailableError("nothing can be pruned until the store is back")


def ping_fallback(parts: Parts, ping: Ping) -> FallbackFlow[None]:
    """Ask the fallback store for a sign of life."""
    return ask(parts.fallback, ping)


def wait_for_first_use(_: Parts, _setup: Setup) -> FallbackFlow[None]:
    """Leave it to the primary's first use to set it up."""
    yield from ()


def journaled(parts: Parts, asked: Write) -> FallbackFlow[Any]:
    """Journal a write, if it can be told that the primary will have it.

    Raises:
        OutageError: It is one that can't be promised.
        StoreUnavailableError: It changes what is not known, or it can't be journaled.
    """
    expected = (getattr(part, "expected_version", None) for part in writes_of(asked))
    if any(version is not None for version in expected):
        raise OutageError("expected_version can't be kept until the store is back")
    records = encoded_messages(asked)
    if records:
        parts.primary.bounds.require([body for _, body in records])
    for _ in range(_TRIES):
        view = parts.cache.view(str(asked.session_id), asked.user_id)
        session = view.find(str(asked.session_id), asked.user_id)
        stamp = session.state if session else 0
        known = session is not None or parts.knows(view, str(asked.session_id))
        write = without_rewinds(view, asked, known=known)
        if not (known and isinstance(write, Append)):
            _refuse_unknown_parts(parts, write, session, known=known)
        changes = bool(records) if isinstance(write, Append) else view.check(write, records)
        if not changes and type(write) in _NOTHING_DONE:
            return _NOTHING_DONE[type(write)]()
        try:
            return (yield from _journal(parts, view, write, records, stamp, known=known))
        except _OvertakenError:
            continue
    raise StoreBusyError("others write to the session all the time: try again")


def _journal(
    parts: Parts, view: SessionCache, write: Write, records: Records, stamp: int, *, known: bool
) -> FallbackFlow[Any]:
    session_id, user_id, cache = str(write.session_id), write.user_id, parts.cache
    writes = writes_of(write)
    appends = all(type(part) is Append for part in writes)  # what others add is no matter to these

    def show(arrival: Arrival) -> Any:
        seen = cache.view(session_id, user_id)
        before = arrival.before = seen.stamp(session_id)
        if not appends and (seen is not view or before != stamp):
            raise _OvertakenError("somebody else has changed the session: try again")
        seen_before = known and (before or parts.knows(seen, session_id))
        return seen.show(write, records, unseen=not seen_before)

    def current() -> int:
        return cache.view(session_id, user_id).stamp(session_id)

    kept = writes[0] if len(writes) == 1 else write
    entry = Entry(new_id(), kept)
    if rewrites(kept):
        entry = Entry(entry.id, kept, *view.known_to(kept))
    arrival = Arrival(entry.id, encode_entry(entry, records), show, current, task_ticket())
    return parts.journal.add(session_id, arrival, lambda: cache.pin(session_id))


def _refuse_unknown_parts(
    parts: Parts, write: Write, session: KnownSession | None, *, known: bool
) -> None:
    added: set[str | None] = set()  # by those parts of it that come before
    for part in writes_of(write):
        _refuse_unknown(parts, part, session, added, known=known)
        if isinstance(part, Append):
            added.update([message.id for message in part.messages])


def _refuse_unknown(
    parts: Parts,
    write: Write,
    session: KnownSession | None,
    added: Container[str | None],
    *,
    known: bool,
) -> None:
    if isinstance(write, (Create, Restore)):
        return
    if not known:
        if not isinstance(write, Append) or parts.raises_unknown:
            raise StoreUnavailableError(
                "this session was not seen before the store went away: it can't be changed"
            )
    elif rewrites(write) and session and session.origin is Origin.APPENDED:
        raise StoreUnavailableError(
            "what the session held before the store went away is not known: it is left alone"
        )
    elif session and session.lacks([name for name in named_by(write) if name not in added]):
        raise StoreUnavailableError("this message can't be changed until the store is back")
