"""Taking over the journals of processes that are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from sessionstore.flow import Flow
from sessionstore.journal import BASE, DONE, JOURNALS, REJECTED, VOID, WRITE, Journal, keeper
from sessionstore.models import SessionInfo, SessionMessage
from sessionstore.owners import is_looked_after
from sessionstore.standby import KnownSession
from sessionstore.store import SessionStore
from sessionstore.writes import PendingWrite, decode_write

__all__ = ["Show", "adopt_all"]

_PAGE = 100

Show = Callable[[str, "KnownSession | None", list[PendingWrite]], None]
"""Makes a session's readers see what was known of it, and its writes."""


class _Begun(NamedTuple):
    """What was known of a session when a journal of it began, and which writes are in that."""

    base: KnownSession
    writes: list[str]


class _Nameless(NamedTuple):
    """A journal that holds no write: only word of writes, which may be in older ones."""

    made_at: datetime
    journal: str
    ids: list[str]


class _Found(msgspec.Struct):
    """What the journals of one session hold, each thing with the time its journal was made."""

    journals: list[tuple[datetime, str]] = []
    bases: list[tuple[datetime, _Begun]] = []
    writes: list[tuple[datetime, PendingWrite]] = []


def adopt_all(journal: Journal, store: SessionStore, show: Show) -> Flow[bool]:
    """Take over the journals that nobody looks after any more, and what was refused.

    Args:
        journal: Takes them over.
        store: The fallback store.
        show: Is called for each session.

    Returns:
        Whether all were taken over. Of others it can't be told yet: ask again in a minute.
    """
    whole = True
    found: defaultdict[str, _Found] = defaultdict(_Found)
    over: dict[str, str] = {}
    nameless: list[_Nameless] = []
    for info in (yield from _listed(store)):
        if journal.looks_after(info.id):
            continue
        owner = keeper(info)
        if owner != journal.owner and is_looked_after(owner, info.updated_at):
            whole = False
        elif (yield from journal.seize(info.id, info.version)):
            session = yield store, store._get(info.id, limit=None, user_id=None)
            _sort_out(info, session.messages if session else [], found, over, nameless)
    _give_names(nameless, found)
    for session_id, there in found.items():
        _take_over(journal, session_id, there, over, show)
    refused = yield store, store._get(REJECTED, limit=None, user_id=None)
    if refused is not None:
        journal.restore_rejected([decode_write(str(m.content)) for m in refused.messages])
    return whole


def _listed(store: SessionStore) -> Flow[list[SessionInfo]]:
    infos: list[SessionInfo] = []
    cursor = None
    while True:
        page = yield (
            store,
            store._list_sessions(agent_id=JOURNALS, user_id=None, limit=_PAGE, cursor=cursor),
        )
        infos += page.sessions
        cursor = page.cursor
        if cursor is None:
            return infos


def _sort_out(
    info: SessionInfo,
    entries: list[SessionMessage],
    found: dict[str, _Found],
    over: dict[str, str],
    nameless: list[_Nameless],
) -> None:
    made_at, session_id = info.created_at, ""
    bases: list[KnownSession] = []
    writes: list[PendingWrite] = []
    told: list[str] = []
    for entry in entries:
        text = str(entry.content)
        if entry.role == WRITE:
            writes.append(decode_write(text))
            session_id = writes[-1].session_id
        elif entry.role == BASE:
            bases.append(_base_decoder.decode(text))
            session_id = bases[-1].id
        elif entry.role in (DONE, VOID):
            told += (named := msgspec.json.decode(text, type=list[str]))
            over.update(dict.fromkeys(named, entry.role))
    if not session_id:
        nameless.append(_Nameless(made_at, info.id, told))
        return
    there = found[session_id]
    there.journals.append((made_at, info.id))
    ids = [write.id for write in writes]
    there.bases += [(made_at, _Begun(base, ids)) for base in bases]
    there.writes += [(made_at, write) for write in writes]


def _give_names(nameless: list[_Nameless], found: defaultdict[str, _Found]) -> None:
    """Keep what tells that writes are over for as long as those are there."""
    names = {write.id: name for name, there in found.items() for _, write in there.writes}
    for made_at, journal, ids in nameless:
        name = next((names[write_id] for write_id in ids if write_id in names), "")
        found[name].journals.append((made_at, journal))


def _take_over(
    journal: Journal, session_id: str, there: _Found, over: dict[str, str], show: Show
) -> None:
    writes = [write for _, write in sorted(there.writes, key=_made_at)]
    writes = [write for write in writes if over.get(write.id) != VOID]
    pending = [write for write in writes if write.id not in over]
    journals = [name for _, name in sorted(there.journals, key=_made_at)]
    if pending:
        # A journal of which no write counts may be left from before others wrote to the primary.
        bases = [
            begun.base
            for _, begun in sorted(there.bases, key=_made_at)
            if any(over.get(write_id) != VOID for write_id in begun.writes)
        ]
        show(session_id, bases[0] if bases else None, writes)
    journal.adopt(session_id, journals, pending)


def _made_at(found: tuple[datetime, object]) -> datetime:
    return found[0]


_base_decoder = msgspec.json.Decoder(KnownSession)
