"""The operations of the contract on a `SessionCache`, as far as it knows the sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from sessionstore._in_memory.session import with_system
from sessionstore._in_memory.table import page_of, place_of
from sessionstore.errors import (
    SessionExistsError,
    SessionNotFoundError,
)
from sessionstore.fallback.done import Gone, Together
from sessionstore.fallback.entries import Records, encoded_messages
from sessionstore.fallback.known import KnownSession
from sessionstore.models import (
    SessionData,
    SessionMessage,
    SessionPage,
    decode_metadata,
    encode_metadata,
    merge_metadata,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    ReplaceMessage,
    Restore,
    Several,
    Update,
)

__all__ = ["READS", "WRITES", "Change", "changed", "list_sessions"]


class Change(NamedTuple):
    """A write that was looked at, and not done.

    Attributes:
        session: The session; ``None`` where there is nothing to do.
        change: What does it, and may do it again; ``None`` to drop the session.
        what: What that is called with.
        result: Gives the operation's result, when it is done.
        versions: For how many changes it counts.
        moves: It moves the session to the front of lists.
        at: The time that it gives the session, in microseconds; ``None`` for now.
    """

    session: KnownSession | None
    change: Callable[[Any], None] | None
    what: Any
    result: Callable[[], Any]
    versions: int = 1
    moves: bool = True
    at: int | None = None


# -- Writes ---------------------------------------------------------------------------------------


def _append(session: KnownSession | None, write: Append, records: Records) -> Change:
    if session is None:
        session = KnownSession(write.session_id, write.agent_id, write.user_id, b"{}")
    fresh = session.fresh(records, session.older)
    changed = session if fresh.bodies else None
    return Change(changed, session.grow, fresh, fresh.bodies.__len__)


def _create(session: KnownSession | None, write: Create, records: Records) -> Change:
    session_id, metadata = str(write.session_id), encode_metadata(write.metadata or {})
    if session is not None:
        raise SessionExistsError(f"session {session_id!r} is already there")
    made = KnownSession(session_id, write.agent_id, write.user_id, metadata)

    def result() -> SessionData:
        return SessionData(**made.head(), messages=list(write.messages))

    return Change(made, made.grow, made.fresh(records), result)


def _restore(session: KnownSession | None, write: Restore, records: Records) -> Change:
    if session is not None:
        raise SessionExistsError(f"session {write.session_id!r} is already there")
    named = write.session_id, write.agent_id, write.user_id
    made = KnownSession(*named, encode_metadata(write.metadata), write.created_at)
    return Change(made, made.grow, made.fresh(records), made.info, at=write.updated_at)


def _replace(session: KnownSession | None, write: ReplaceMessage, records: Records) -> Change:
    session, [record] = _required(session, write), records
    if record[0] not in session.positions and record[0] == session.system_id:
        return Change(session, session.put_system, record[1], _none)
    if record[0] not in session.positions:
        raise SessionNotFoundError(f"the session has no message {record[0]!r}")
    return Change(session, session.put, record, _none)


def _delete_messages(session: KnownSession | None, write: DeleteMessages, _: Records) -> Change:
    if session is None:
        return Change(None, None, None, list)
    removal = session.removal(write.message_ids)
    sure = max(0, session.sure - len(removal.deleted))
    # One of which only the id is known may be there, and its id be used again.
    older = session.older.keys() & set(write.message_ids)
    hidden = max(0, session.hidden - len(older))
    changed = session if removal.deleted or older else None
    what = (removal, sure, hidden, write.message_ids)
    return Change(changed, session.take_out, what, removal.deleted.copy)


def _gone(session: KnownSession | None, write: Gone, _: Records) -> Change:
    if session is None or not write.message_ids:
        return Change(None, None, None, _none)
    rewound = session.rewound(write.message_ids, emptied=write.emptied)
    return Change(session, session.take_back, rewound, _none)


def _update(session: KnownSession | None, write: Update, records: Records) -> Change:
    session = _required(session, write)
    metadata = session.metadata
    if write.metadata is not None:
        metadata = encode_metadata(merge_metadata(decode_metadata(metadata), write.metadata))
    what = (metadata, None if write.messages is None else list(records))
    moves = write.messages is not None
    return Change(session, session.become, what, session.info, moves=moves)


def _delete(session: KnownSession | None, _write: Delete, _: Records) -> Change:
    return Change(session, None, None, lambda: session is not None)


def _several(session: KnownSession | None, write: Several | Together, _: Records) -> Change:
    draft, versions, moves, results = session and session.copy(), 0, False, []
    for part in cast("Iterable[Any]", write.operations):
        if type(part) in READS:
            results.append(READS[type(part)](draft, part))
            continue
        change = WRITES[type(part)](draft, part, encoded_messages(part))
        if change.session is not None:
            draft, versions, moves = changed(change), versions + 1, moves or change.moves
        results.append(change.result())
    if not versions:
        return Change(None, None, None, lambda: results)
    if draft is None:
        return Change(session, None, None, lambda: results)
    there = session or draft
    return Change(there, there.take, draft, lambda: results, versions, moves)


def changed(change: Change) -> KnownSession | None:
    """Do a write to a copy of a session; give what that is then, or ``None`` where it is gone."""
    if change.change is None or change.session is None:
        return None
    change.change(change.what)
    change.session.version += 1
    if change.at is not None:
        change.session.updated_at = change.at
    return change.session


def _required(session: KnownSession | None, write: ReplaceMessage | Update) -> KnownSession:
    if session is None:
        raise SessionNotFoundError(f"there is no session {write.session_id!r}")
    return session


def _none() -> None:
    return None


# -- Reads ----------------------------------------------------------------------------------------


def _get(session: KnownSession | None, read: Get) -> SessionData | None:
    if session is None:
        return None
    last = session.last(read.limit)
    first = _system(session, len(session.bodies) - len(last)) if read.keep_system else []
    return SessionData(**session.head(), messages=with_system(session.id, first, last))


def _get_messages(session: KnownSession | None, read: GetMessages) -> list[SessionMessage]:
    if session is None:
        return []
    if session.partial:
        session.refuse_older(read)
    start, end = session.bounds(read.limit, read.before, read.after)
    first = _system(session, start) if read.keep_system else []
    return with_system(session.id, first, session.bodies[start:end])


def _system(session: KnownSession, start: int) -> list[bytes]:
    if session.partial:
        return [session.system] if session.system else []
    return session.bodies[:1] if start > 0 else []


def list_sessions(known: Iterable[KnownSession], read: ListSessions) -> SessionPage:
    """Give a page of the sessions that are known, the last one written to first."""
    wanted = [
        session
        for session in known
        if (read.agent_id is None or session.agent_id == read.agent_id)
        and (read.user_id is None or session.user_id == read.user_id)
    ]
    newest_first = sorted(wanted, key=place_of, reverse=True)
    return page_of(newest_first, read)


# What each does to, or reads from, what is known of the session: the caller may see that.
READS: dict[type, Callable[[KnownSession | None, Any], Any]] = {
    Get: _get,
    GetMessages: _get_messages,
}
WRITES: dict[type, Callable[[KnownSession | None, Any, Records], Change]] = {
    Append: _append,
    Create: _create,
    Restore: _restore,
    ReplaceMessage: _replace,
    DeleteMessages: _delete_messages,
    Update: _update,
    Delete: _delete,
    Several: _several,
    Gone: _gone,
    Together: _several,
}
