"""Erasing what a fallback keeps of a user: on its primary, in its cache, in its own store."""

from __future__ import annotations

from collections.abc import Container

import msgspec

from sessionstore.errors import CorruptMessageError, SessionStoreError, StoreUnavailableError
from sessionstore.fallback.adoption import listed
from sessionstore.fallback.damage import read_entries
from sessionstore.fallback.entries import decode_entry
from sessionstore.fallback.journal_form import BASE, REJECTED, WRITE, decode_base
from sessionstore.fallback.learning import learn_nothing
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.fallback.routing import Route, operate
from sessionstore.models import SessionMessage
from sessionstore.operations import DeleteMessages, Scrub, Trace

__all__ = ["scrub"]

_WAITS = "the primary does not have them yet: run it again when it is back"
_ANOTHERS = "another process has them to replay: run it again after that"
_UNREADABLE = "they can't be read, so whose they are is not known: see rejected()"


class _Whose:
    """Tells what is a user's: what they wrote, and what nobody in particular wrote for them."""

    def __init__(self, asked: Scrub) -> None:
        self._user_id = asked.user_id
        self._session_ids: Container[str] = set(asked.session_ids)

    def owns(self, user_id: str | None, session_id: str) -> bool:
        """Tell whether something of a session, by that user, is theirs."""
        if user_id is None:
            return session_id in self._session_ids
        return user_id == self._user_id

    def wrote(self, entry: SessionMessage) -> bool:
        """Tell whether an entry of a journal, or one set aside, is theirs.

        Raises:
            CorruptMessageError: It can't be read.
        """
        text = str(entry.content)
        if entry.role == WRITE:
            write = decode_entry(text).operation
            return self.owns(write.user_id, str(write.session_id))
        if entry.role != BASE:
            return False
        try:
            base = decode_base(text)
        except (msgspec.MsgspecError, ValueError):
            raise CorruptMessageError("this entry of the journal can't be read") from None
        return self.owns(base.user_id, base.id)


def scrub(parts: Parts, asked: Scrub) -> FallbackFlow[list[Trace]]:
    """Erase what is set aside and remembered of a user; tell what waits in the journals.

    Args:
        parts: The fallback.
        asked: Of whom.

    Returns:
        What was found on the primary, in memory, and in the fallback store.
    """
    traces = yield from _on_primary(parts, asked)
    if asked.user_id is not None and not parts.health.is_degraded:
        where = "the memory of this process"
        known = parts.cache.forget_user(asked.user_id)
        traces.append(Trace(where, "remembered sessions", known))
    try:
        traces += yield from _set_aside(parts, asked)
        traces += yield from _journaled(parts, asked)
        own = Scrub(rewrite=asked.rewrite)
        traces += yield from ask(parts.fallback, own)
    except SessionStoreError as error:
        traces.append(_failed(parts.fallback, error))
    return traces


def _on_primary(parts: Parts, asked: Scrub) -> FallbackFlow[list[Trace]]:
    def away(_: Parts, __: Scrub) -> FallbackFlow[list[Trace]]:
        yield from ()
        why = "it is away: run it again when it is back"
        return [Trace(repr(parts.primary), "what it holds", left=1, why=why)]

    try:
        given: list[Trace] = yield from operate(
            parts, asked, Route(learn_nothing, away, writes=True)
        )
    except SessionStoreError as error:
        return [_failed(parts.primary, error)]
    return given


def _failed(store: object, error: SessionStoreError) -> Trace:
    again = ": run it again" if isinstance(error, StoreUnavailableError) else ""
    return Trace(repr(store), "what it holds", left=1, why=f"{error}{again}")


def _set_aside(parts: Parts, asked: Scrub) -> FallbackFlow[list[Trace]]:
    """Erase the user's writes that were refused."""
    entries, gap = yield from read_entries(parts.fallback, REJECTED)
    theirs, unreadable = _sorted(entries, _Whose(asked))
    unreadable += gap is not None
    if theirs:
        yield from ask(parts.fallback, DeleteMessages(REJECTED, theirs))
        parts.journal.rejected.forget(theirs)
    where, what = repr(parts.fallback), "rejected writes"
    found = [Trace(where, what, len(theirs))]
    return found + _unread(where, what, unreadable)


def _journaled(parts: Parts, asked: Scrub) -> FallbackFlow[list[Trace]]:
    """Tell what the journals hold of the user that is yet to be replayed."""
    whose, where = _Whose(asked), repr(parts.fallback)
    own = others = unreadable = 0
    for info in (yield from listed(parts.fallback)):
        entries, gap = yield from read_entries(parts.fallback, info.id)
        theirs, unread = _sorted(entries, whose)
        unreadable += unread + (gap is not None)
        if parts.journal.owns(info.id):
            own += len(theirs)
        else:
            others += len(theirs)
    found = [("this process's", own, _WAITS), ("other processes'", others, _ANOTHERS)]
    traces = [
        Trace(where, f"{whom} journaled writes", left=count, why=why)
        for whom, count, why in found
        if count
    ]
    return traces + _unread(where, "journaled writes", unreadable)


def _sorted(entries: list[SessionMessage], whose: _Whose) -> tuple[list[str], int]:
    """Give the ids of a user's entries, and how many can't be read."""
    theirs, unreadable = [], 0
    for entry in entries:
        try:
            if whose.wrote(entry):
                theirs.append(str(entry.id))
        except CorruptMessageError:
            unreadable += 1
    return theirs, unreadable


def _unread(where: str, what: str, count: int) -> list[Trace]:
    return [Trace(where, what, left=count, why=_UNREADABLE)] if count else []
