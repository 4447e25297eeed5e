"""Taking over the journals of processes that are gone."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from sessionstore.errors import (
    CorruptMessageError,
    SessionExistsError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.fallback import lease
from sessionstore.fallback.damage import read_entries
from sessionstore.fallback.entries import Entry, decode_entry
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.journal_form import (
    ADOPTED_BY,
    ADOPTING,
    BASE,
    DONE,
    JOURNALS,
    REJECTED,
    VOID,
    WRITE,
    decode_base,
    owner_of,
)
from sessionstore.fallback.journal_owners import is_present
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.pending import PendingWrite
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.models import SessionInfo, SessionMessage
from sessionstore.operations import Append, Create, Delete, Get, ListSessions
from sessionstore.store import SessionStore

__all__ = ["JournalContent", "Show", "adopt_all", "listed", "read_journal"]

_logger = logging.getLogger("sessionstore")
_PAGE = 100
_UNREADABLE = CorruptMessageError.__name__

Show = Callable[[str, "KnownSession | None", list[Entry]], None]
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
    writes: list[tuple[datetime, Entry]] = []


class JournalContent(msgspec.Struct):
    """What one journal holds.

    Attributes:
        session_id: The session that it is about; empty where it is not known.
        over: What is said of writes, by their ids: `DONE` or `VOID`.
        unreadable: The ids, or places, of the entries that can't be read.
        vague: How many of the writes may be over without a word of it that can be read.
    """

    session_id: str = ""
    bases: list[KnownSession] = []
    writes: list[Entry] = []
    over: dict[str, str] = {}
    unreadable: list[str] = []
    vague: int = 0


def adopt_all(journal: Journal, store: SessionStore, show: Show) -> FallbackFlow[bool]:
    """Take over the journals that nobody owns any more, and what was refused.

    What can't be read is set aside, and no reason to leave the rest: it is logged as an error, and
    its journal stays in the store.

    Args:
        journal: Takes them over.
        store: The fallback store.
        show: Is called for each session.

    Returns:
        Whether all were taken over. Of others it is not known yet: ask again in a minute.
    """
    whole, abandoned = _abandoned(journal, (yield from listed(store)))
    if not abandoned:
        yield from _restore_rejected(journal, store)
        return whole
    if not (yield from _begin(journal, store)):
        return False
    found: defaultdict[str, _Found] = defaultdict(_Found)
    over: dict[str, str] = {}
    nameless: list[_Nameless] = []
    # Looked for again: who was at it before has taken some.
    whole, abandoned = _abandoned(journal, (yield from listed(store)))
    for info in abandoned:
        count = yield from lease.claim(store, journal.owner, info.id, info.version)
        if count is not None:
            try:
                entries, gap = yield from read_entries(store, info.id)
                if gap is None and len(entries) < count:  # some are out of reach
                    gap = len(entries)
                read = read_journal(entries, gap)
            except StoreUnavailableError:
                raise
            except SessionStoreError as error:
                _logger.error("a journal of the fallback can't be read: %s", type(error).__name__)
                journal.rejected.offer(_unreadable(info.id, "", ""))
                journal.obsolete.keep_damaged(info.id, [])
                continue
            _set_aside(journal, info, read)
            over.update(read.over)
            _sort_in(info, read, found, nameless)
    _give_names(nameless, found)
    for session_id, there in found.items():
        _take_over(journal, session_id, there, over, show)
    yield from ask(store, Delete(ADOPTING))
    yield from _restore_rejected(journal, store)
    return whole


def _abandoned(journal: Journal, infos: list[SessionInfo]) -> tuple[bool, list[SessionInfo]]:
    """Pick the journals of those who are gone: of each all or none.

    What one of them says of writes is in another: one that was written to says of all that its
    owner is there.
    """
    by_owner: defaultdict[str, list[SessionInfo]] = defaultdict(list)
    for info in infos:
        if not journal.owns(info.id):
            by_owner[owner_of(info)].append(info)
    whole, abandoned = True, []
    for owner, theirs in by_owner.items():
        newest = max(info.updated_at for info in theirs)
        if owner != journal.owner and is_present(owner, newest):
            whole = False
        else:
            abandoned += theirs
    return whole, abandoned


def _begin(journal: Journal, store: SessionStore) -> FallbackFlow[bool]:
    """Be the only process that takes over: two at once would tear apart what belongs together."""
    there = yield from ask(store, Get(ADOPTING, 0))
    if there is None:
        make = Create(ADOPTING, agent_id=ADOPTING, metadata={ADOPTED_BY: journal.owner})
        try:
            yield from ask(store, make)
        except SessionExistsError:
            return False
        return True
    owner = owner_of(there)
    if owner != journal.owner and is_present(owner, there.updated_at):
        return False
    claimed = yield from lease.claim(store, journal.owner, ADOPTING, there.version)
    return claimed is not None


def _restore_rejected(journal: Journal, store: SessionStore) -> FallbackFlow[None]:
    entries, gap = yield from read_entries(store, REJECTED)
    writes = []
    for entry in entries:
        try:
            writes.append(decode_entry(str(entry.content)))
        except CorruptMessageError:
            journal.rejected.offer(_unreadable(REJECTED, "", str(entry.id)))
    if gap is not None:
        journal.rejected.offer(_unreadable(REJECTED, "", str(gap)))
    journal.rejected.restore([entry.pending() for entry in writes])


def listed(store: SessionStore) -> FallbackFlow[list[SessionInfo]]:
    """Give all journals that are in a fallback store, whosever they are."""
    infos: list[SessionInfo] = []
    cursor = None
    while True:
        page = yield from ask(store, ListSessions(JOURNALS, limit=_PAGE, cursor=cursor))
        infos += page.sessions
        cursor = page.cursor
        if cursor is None:
            return infos


def read_journal(entries: list[SessionMessage], gap: int | None) -> JournalContent:
    """Read the entries of a journal, as `read_entries` gives them."""
    read = JournalContent()
    for place, entry in enumerate(entries):
        if place == gap:
            read.vague = len(read.writes)
        try:
            _read_entry(entry, read)
        except (CorruptMessageError, msgspec.MsgspecError, ValueError, ArithmeticError):
            read.unreadable.append(str(entry.id))
            if entry.role != WRITE:
                read.vague = len(read.writes)
    if gap is not None:
        read.unreadable.append(str(gap))
        read.vague = len(read.writes) if gap >= len(entries) else read.vague
    return read


def _read_entry(entry: SessionMessage, read: JournalContent) -> None:
    text = str(entry.content)
    if entry.role == WRITE:
        read.writes.append(decode_entry(text))
        read.session_id = read.writes[-1].session_id
    elif entry.role == BASE:
        read.bases.append(decode_base(text))
        read.session_id = read.bases[-1].id
    elif entry.role in (DONE, VOID):
        ids = msgspec.json.decode(text, type=list[str])
        read.over.update(dict.fromkeys(ids, entry.role))
    else:
        raise CorruptMessageError("a newer version of the package wrote this entry")


def _set_aside(journal: Journal, info: SessionInfo, read: JournalContent) -> None:
    """Offer what can't be read, and what may be over without a word of it that can be read."""
    if not read.unreadable:
        return
    for place in read.unreadable:
        journal.rejected.offer(_unreadable(info.id, read.session_id, place))
    left = [write for write in read.writes if write.id not in read.over]
    for write in read.writes[: read.vague]:
        if write.id not in read.over and not isinstance(write.operation, (Append, Create)):
            # It may be over, and newer things be there: the others are harmless to replay again.
            journal.rejected.offer(msgspec.structs.replace(write, reason=_UNREADABLE).pending())
            read.over[write.id] = DONE
    journal.obsolete.keep_damaged(info.id, [write.id for write in left])
    _logger.error(
        "%d entries of a journal can't be read and are set aside: see rejected()",
        len(read.unreadable),
    )


def _unreadable(journal: str, session_id: str, place: str) -> PendingWrite:
    return PendingWrite(None, f"{journal}/{place}", _UNREADABLE, session_id)


def _sort_in(
    info: SessionInfo,
    read: JournalContent,
    found: defaultdict[str, _Found],
    nameless: list[_Nameless],
) -> None:
    made_at, session_id = info.created_at, read.session_id
    if not session_id:
        nameless.append(_Nameless(made_at, info.id, list(read.over)))
        return
    there = found[session_id]
    there.journals.append((made_at, info.id))
    ids = [write.id for write in read.writes]
    there.bases += [(made_at, _Begun(base, ids)) for base in read.bases]
    there.writes += [(made_at, write) for write in read.writes]


def _give_names(nameless: list[_Nameless], found: defaultdict[str, _Found]) -> None:
    """Keep what tells that writes are over for as long as those are there."""
    names = {write.id: name for name, there in found.items() for _, write in there.writes}
    for made_at, journal, ids in nameless:
        name = next((names[write_id] for write_id in ids if write_id in names), "")
        found[name].journals.append((made_at, journal))


def _take_over(
    journal: Journal, session_id: str, there: _Found, over: dict[str, str], show: Show
) -> None:
    dated = sorted(there.writes, key=_made_at)
    dated = [(made_at, write) for made_at, write in dated if over.get(write.id) != VOID]
    pending = [write for _, write in dated if write.id not in over]
    journals = [name for _, name in sorted(there.journals, key=_made_at)]
    if pending:
        since, base = _last_base(there, over)
        shown = [write for made_at, write in dated if since is None or made_at >= since]
        show(session_id, base, shown)
    journal.adopt(session_id, journals, pending)


def _last_base(there: _Found, over: dict[str, str]) -> tuple[datetime | None, KnownSession | None]:
    """Give what was known before the writes that wait, and when its journal was made.

    A journal may be left from long ago, of which no write waits: since then others wrote to the
    primary, and what was known next has all of that.
    """
    waits = [made_at for made_at, write in there.writes if write.id not in over]
    bases: list[tuple[datetime | None, KnownSession | None]] = [
        (made_at, begun.base)
        for made_at, begun in sorted(there.bases, key=_made_at)
        if any(over.get(write_id) != VOID for write_id in begun.writes)
    ]
    before = [found for found in bases if found[0] and found[0] <= min(waits)]
    return (before[-1:] or bases[:1] or [(None, None)])[0]


def _made_at(found: tuple[datetime, object]) -> datetime:
    return found[0]
