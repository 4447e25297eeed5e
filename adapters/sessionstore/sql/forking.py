"""A session is made of another one's messages, which are copied in the database."""

from __future__ import annotations

import msgspec
from sqlalchemy import BigInteger, Connection, func, insert, literal, select

from sessionstore.errors import (
    CorruptMessageError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.models import SessionInfo, encode_metadata
from sessionstore.operations import Fork
from sessionstore.ownership import require_owner
from sessionstore.rows.sessions import Row
from sessionstore.sql.cells import number, raw
from sessionstore.sql.changes import enter, find, new_row
from sessionstore.sql.column_types import escaped, unescaped
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.fork_statement import forking
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = ["fork"]


def fork(sessions: Sessions, asked: Fork) -> SqlFlow[SessionInfo]:
    """Make a session with the messages of another one.

    Args:
        sessions: The store's.
        asked: Which, and what it is to be.

    Returns:
        The new session, without its messages.

    Raises:
        SessionNotFoundError: There is no such session, or no such message in it.
        SessionExistsError: The new session is there already.
        SessionAccessError: One of the two is there, and another user's.
    """
    if asked.metadata is not None:
        encode_metadata(asked.metadata)

    if sessions.is_postgres:
        info = yield from _at_once(sessions, asked)
        if info is not None:
            return info

    def work(connection: Connection) -> Row:
        source, there = _locked(sessions, connection, asked)
        position, last, count = _copied(sessions, connection, source, asked.at)
        if there:
            require_owner(there.user_id, asked.user_id)
            raise SessionExistsError(f"session {there.id!r} is already there")
        row = _new_row(asked, source, last)._replace(message_count=count, last_position=position)
        made = enter(sessions, connection, row)
        _copy(sessions, connection, source, made)
        return made

    row: Row = yield Work(work, session=asked.session_id)
    return row.info()


def _at_once(sessions: Sessions, asked: Fork) -> SqlFlow[SessionInfo | None]:
    """Fork by PostgreSQL's one statement; ``None`` where it has settled nothing."""
    values = _values(sessions, asked)
    if values is None:
        return None
    query = Query(forking(sessions.tables, asked.at is not None), values)
    try:
        [reply] = yield Work(query, at_once=True, session=values["id"])
    except StoreUnavailableError:
        raise
    except SessionStoreError:  # its metadata is damaged, or has a key that PostgreSQL can't read
        return None
    was_there, owner, agent_id, has_last, is_taken, taken_by, made, metadata, *written = reply
    if not was_there:
        raise SessionNotFoundError(f"there is no session {asked.session_id!r}")
    _require_owner(owner, values["user_id"])
    if asked.at is not None and not has_last:
        raise SessionNotFoundError(f"the session has no message {asked.at!r}")
    if is_taken:
        _require_owner(taken_by, values["user_id"])
        raise SessionExistsError(f"session {asked.new_session_id!r} is already there")
    if made is None:
        return None
    user_id = None if owner is None else unescaped(owner)
    row = new_row(str(asked.new_session_id), unescaped(agent_id), user_id, metadata)
    now, count, last = written
    row = row._replace(created_at=now, updated_at=now, message_count=count, last_position=last)
    return row.info()


def _values(sessions: Sessions, asked: Fork) -> Values | None:
    """Give the statement's parameters; ``None`` where it can't be given them."""
    changes = asked.metadata or {}
    keys = list(changes)
    if any("\0" in key for key in keys):
        return None
    kept = {name: value for name, value in changes.items() if value is not None}
    kept.pop("forked_from", None)
    added = encode_metadata(kept).decode()[1:-1]
    values = Values(
        id=escaped(asked.session_id),
        new=escaped(str(asked.new_session_id)),
        user_id=None if asked.user_id is None else escaped(asked.user_id),
        oldest=sessions.oldest(),
        keys=keys,
        added=added and f"{added},",
        origin=msgspec.json.encode(asked.session_id).decode(),
    )
    if asked.at is not None:
        values["at"] = escaped(asked.at)
    return values


def _require_owner(owner: str | None, user_id: str | None) -> None:
    if owner is not None and user_id is not None:
        require_owner(owner, user_id)


def _locked(sessions: Sessions, connection: Connection, asked: Fork) -> tuple[Row, Row | None]:
    """Lock both sessions, in one order everywhere, so that no two forks wait for each other.

    Returns:
        The session to copy, and the one that is in the way.
    """
    new_session_id = str(asked.new_session_id)
    found = {
        session_id: find(sessions, connection, session_id, None, damaged=True)
        for session_id in sorted({asked.session_id, new_session_id})
    }
    source = found[asked.session_id]
    if source is None:
        raise SessionNotFoundError(f"there is no session {asked.session_id!r}")
    require_owner(source.user_id, asked.user_id)
    source.require_sound()
    return source, found[new_session_id]


def _copied(
    sessions: Sessions, connection: Connection, source: Row, at: str | None
) -> tuple[int, str | None, int]:
    """Give the place and the id of the last message to copy, and how many there are to copy."""
    c = sessions.tables.messages.c
    own = c.session_key == source.session_key
    places = select(number(c.position), raw(c.id)).where(own)
    newest = places.order_by(c.position.desc()).limit(1)
    named = newest if at is None else places.where(c.id == at)
    found = connection.execute(named).one_or_none()
    if found is None and at is not None:
        raise SessionNotFoundError(f"the session has no message {at!r}")
    position, last = found or (0, None)
    if type(position) is not int or not isinstance(last, str | None):
        raise CorruptMessageError(f"session {source.id!r}: a stored message can't be read")
    counted = select(func.count()).select_from(sessions.tables.messages)
    count = connection.scalar(counted.where(own, c.position <= position))
    return position, last, int(count or 0)


def _new_row(asked: Fork, source: Row, last: str | None) -> Row:
    metadata = encode_metadata(asked.new_metadata(source.decoded(), last)).decode()
    return new_row(str(asked.new_session_id), source.agent_id, source.user_id, metadata)


def _copy(sessions: Sessions, connection: Connection, source: Row, made: Row) -> None:
    """Copy messages, which keep their places, gaps among them."""
    messages = sessions.tables.messages
    c, key = messages.c, literal(made.session_key, BigInteger)
    copied = select(key, c.position, c.id, c.body).where(
        c.session_key == source.session_key, c.position <= made.last_position
    )
    names = ["session_key", "position", "id", "body"]
    connection.execute(insert(messages).from_select(names, copied.order_by(c.position)))
