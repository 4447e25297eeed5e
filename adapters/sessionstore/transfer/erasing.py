"""Erasing a user's data, everywhere it can be reached from here, with a receipt."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timezone
from typing import Any

from sessionstore.arguments import checked_flag, checked_id
from sessionstore.errors import SessionAccessError, SessionStoreError
from sessionstore.flow import aplay, play
from sessionstore.models import SessionInfo
from sessionstore.operations import Delete, ListSessions, Scrub, Trace
from sessionstore.store import SessionStore
from sessionstore.transfer.receipts import ErasureReceipt
from sessionstore.transfer.requests import ask
from sessionstore.transfer.threads import UserThreads, checked_checkpointer
from sessionstore.transfer.twins import Method, TwinFlow, asend, send

__all__ = ["aerase_user", "erase_user"]

_logger = logging.getLogger("sessionstore")

_PAGE = 100  # sessions that are listed, and given up by their names, at a time
_ROUNDS = 10
_MADE_MEANWHILE = "they were made meanwhile: stop the user's requests, and run it again"
_AWAY = "a store does without its primary: run it again when that is back"


def erase_user(
    store: SessionStore, user_id: str, *, checkpointer: Any = None, rewrite: bool = True
) -> ErasureReceipt:
    """Erase a user's data: sessions, leases, what a fallback keeps, a checkpointer's threads.

    Nothing is left of them in what this package writes, free pages and logs of SQLite files
    included. What it can't reach is told by the receipt: what waits for a primary that is away,
    what other processes have in their journals, what a database keeps by itself and until when.

    It is safe to run again, also after it was killed: it erases what is left, or has come since.
    Stop the user's requests before. What they write meanwhile is erased, or told as left; what they
    write after it is a new session. A turn under a lease loses that, and saves nothing more.
    Sessions that were made without an owner are nobody's, and not touched.

    Example:
        >>> from sessionstore import InMemorySessionStore
        >>> from sessionstore.transfer import erase_user
        >>> store = InMemorySessionStore()
        >>> store.append_message("s1", {"role": "user", "content": "Hello!"}, user_id="alice")
        1
        >>> receipt = erase_user(store, "alice")
        >>> receipt.sessions, receipt.messages, receipt.complete
        (1, 1, True)
        >>> erase_user(store, "alice").sessions
        0

    Args:
        store: The store, with the fallback and the wrappers that the application uses.
        user_id: Whose data.
        checkpointer: A LangGraph checkpointer, whose threads go that have the name of one of the
            user's sessions, and those with a checkpoint whose metadata has this ``user_id``. One
            that is only sync is asked in a thread by `aerase_user`; one that is only async, by
            `aerase_user` alone.
        rewrite: Write SQLite files anew when all is deleted, by ``VACUUM``: else they keep parts of
            it in free space. Other writers wait for that, as long as it takes to copy the file.

    Returns:
        The receipt.

    Raises:
        StoreUnavailableError: The store can't be reached, and has no fallback. Run it again.
        InvalidSessionError: ``user_id`` is not valid.
        TypeError: ``store`` is not a store, or ``checkpointer`` not a checkpointer.
    """
    return play(_Erasure(store, user_id, checkpointer, rewrite).carried_out(), send)


async def aerase_user(
    store: SessionStore, user_id: str, *, checkpointer: Any = None, rewrite: bool = True
) -> ErasureReceipt:
    """Async twin of `erase_user`."""
    return await aplay(_Erasure(store, user_id, checkpointer, rewrite).carried_out(), asend)


class _Erasure:
    """One erasure, and what it has come to so far."""

    def __init__(
        self, store: SessionStore, user_id: str, checkpointer: Any, rewrite: object
    ) -> None:
        if not isinstance(store, SessionStore):
            kind = type(store).__name__
            raise TypeError(f"store must be a store, such as open_store(url) gives, not {kind}")
        self._store = store
        self._user_id = checked_id(user_id, "user_id")
        self._rewrite = bool(checked_flag(rewrite, "rewrite"))
        self._checkpointer = checked_checkpointer(checkpointer)
        self._threads = UserThreads(checkpointer, self._user_id)
        self._begun_at = datetime.now(timezone.utc)
        self._traces: list[Trace] = []
        self._ids: list[str] = []
        self._failed: dict[str, str] = {}
        self._erased: Counter[tuple[str, str]] = Counter()
        self._sessions = self._messages = 0

    def carried_out(self) -> TwinFlow[ErasureReceipt]:
        """Erase, and tell."""
        for each in (self._store, self._checkpointer):
            if hasattr(each, "recover"):  # what waits would come back by its replay
                yield Method(each, "recover")
        yield from self._threads.erase_found()
        for _ in range(_ROUNDS):
            theirs = yield from self._listed()
            if not theirs:
                break
            yield from self._erase(theirs)
        else:
            left = len((yield from self._listed()))
            self._note("sessions", left, _MADE_MEANWHILE)
        yield from self._scrub()
        yield from self._look_again()
        yield from self._threads.finish(rewrite=self._rewrite)
        return self._receipt()

    def _look_again(self) -> TwinFlow[None]:
        """Tell of the sessions that could not be deleted, where they are still there."""
        failed, self._failed = self._failed, {}
        if not failed:
            return
        for info in (yield from self._listed()):
            why = failed.get(info.id, _MADE_MEANWHILE)
            _logger.warning("session %r could not be erased", info.id)
            self._note("sessions", 1, why)

    def _listed(self) -> TwinFlow[list[SessionInfo]]:
        """Give all sessions of the user that are to be seen, and that were not in vain tried."""
        found: dict[str, SessionInfo] = {}
        cursor = None
        while True:
            asked = ListSessions(user_id=self._user_id, limit=_PAGE, cursor=cursor)
            page = yield from ask(self._store, asked)
            found |= {info.id: info for info in page.sessions if info.id not in self._failed}
            cursor = page.cursor
            if cursor is None:
                return list(found.values())

    def _erase(self, theirs: list[SessionInfo]) -> TwinFlow[None]:
        """Erase some sessions: first what is found by their names, which go with them."""
        ids = [info.id for info in theirs]
        yield from self._threads.erase_named(ids)
        for start in range(0, len(ids), _PAGE):
            self._count((yield from self._scrubbed(Scrub(None, ids[start : start + _PAGE]))))
        for info in theirs:
            yield from self._delete(info)
        self._ids += ids

    def _delete(self, info: SessionInfo) -> TwinFlow[None]:
        try:
            deleted = yield from ask(self._store, Delete(info.id, self._user_id))
        except SessionAccessError:
            return  # it was deleted, and another user has made one of its name
        except SessionStoreError as error:
            self._failed[info.id] = f"{error}"
            return
        self._sessions += deleted
        self._messages += info.message_count if deleted else 0

    def _scrub(self) -> TwinFlow[None]:
        """Erase what is left beside the sessions, the last time with all that takes long."""
        left: dict[tuple[str, str, str], Trace] = {}
        for asked in self._parts():
            traces = yield from self._scrubbed(asked)
            self._count(traces)
            left |= {(t.where, t.what, t.why): t for t in traces if t.left or t.until}
        self._traces += left.values()
        if self._store.is_degraded() and not any(trace.left for trace in self._traces):
            self._note("sessions", 1, _AWAY)

    def _parts(self) -> list[Scrub]:
        starts = range(0, len(self._ids), _PAGE)
        some = [Scrub(None, self._ids[start : start + _PAGE]) for start in starts[:-1]]
        rest = self._ids[starts[-1] :] if starts else []
        return [*some, Scrub(self._user_id, rest, self._rewrite)]

    def _scrubbed(self, asked: Scrub) -> TwinFlow[list[Trace]]:
        try:
            return (yield from ask(self._store, asked))
        except SessionStoreError as error:
            return [Trace(repr(self._store), "what it holds", left=1, why=f"{error}")]

    def _count(self, traces: list[Trace]) -> None:
        """Count what was erased, by place and kind."""
        for trace in traces:
            if not (trace.left or trace.until):
                self._erased[trace.where, trace.what] += trace.erased

    def _note(self, what: str, left: int, why: str) -> None:
        self._traces.append(Trace(repr(self._store), what, left=left, why=why))

    def _receipt(self) -> ErasureReceipt:
        erased = [Trace(*place, count) for place, count in self._erased.items()]
        traces = [*erased, *self._traces, *self._threads.traces]
        return ErasureReceipt(
            user_id=self._user_id,
            complete=not any(trace.left for trace in traces),
            sessions=self._sessions,
            messages=self._messages,
            threads=len(self._threads.deleted),
            store=repr(self._store),
            checkpointer=self._threads.name,
            begun_at=self._begun_at,
            ended_at=datetime.now(timezone.utc),
            traces=traces,
        )
