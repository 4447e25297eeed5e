"""`DbSessionStore`: sessions in an SQL database, through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sessionstore.sql.database import (  # first, for its hint on what to install
    AgentDb,
    Work,
    open_db,
)

from sqlalchemy import Connection, delete, func, insert, select, update  # isort: skip

from sessionstore._flow_store import FlowStore
from sessionstore._runtime.call_deadline import deadline_after, until, within
from sessionstore._runtime.frames import hides_arguments
from sessionstore._runtime.tickets import ticket
from sessionstore.arguments import require_owner, require_version
from sessionstore.errors import (
    InvalidMessageError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_messages,
    decode_metadata,
    encode_metadata,
    merge_metadata,
    retention_microseconds,
)
from sessionstore.rows import (
    PRUNE_MESSAGES,
    PRUNE_SESSIONS,
    Readable,
    Row,
    buried,
    encoded,
    place,
)
from sessionstore.sql.cells import checked, checked_parts
from sessionstore.sql.clock import oldest, oldest_live, times
from sessionstore.sql.direct import Query
from sessionstore.sql.statements import (
    FIRST,
    HEAD,
    Reading,
    appending,
    listing,
    locking,
    moment,
    noting,
    reading,
    removing,
    seeking,
)
from sessionstore.sql.tables import escaped

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["DbSessionStore"]

T = TypeVar("T")

_MANY = 500
_NO_VERSION = 2**62


class DbSessionStore(FlowStore):
    """Sessions in an SQL database: PostgreSQL, MySQL, MariaDB, SQLite.

    Any number of threads, event loops, processes and machines may use one database at once.
    Writers to one session take turns, by the lock on its row; writers to different sessions never
    wait for each other (on SQLite they do, and on MySQL and MariaDB those that put messages in
    again by `update`), and readers for nobody.

    On PostgreSQL an append is one statement, and so is a read on any database: one round trip
    each. (Two writers that make one session at the same time, or one that meets an expired one,
    take a few more.) When a connection is lost, reads and plain appends are sent again once; the
    count that such an append returns is then that of the second sending.

    Example:
        >>> from sessionstore import DbSessionStore, SessionMessage, SqliteAgentDb
        >>> with SqliteAgentDb() as db:
        ...     store = DbSessionStore(db)
        ...     store.append_messages("s1", [SessionMessage("user", "Hello!")])
        1

    Args:
        db: The database. An `AgentDb` stays open when the store is closed, as other stores may
            share it; given SQLAlchemy's URL or an engine, the store makes one of its own.
        retention_days: How long a session is kept after its last write, in days (fractions
            count); ``None`` keeps it for good.
        timeout: With a URL of PostgreSQL through psycopg, or of SQLite: how long the database may
            take to be reached, and then to answer, in seconds, as for `open_store`. In all other
            cases the timeouts are those of ``db``.

    Raises:
        ValueError: The URL is not usable, or ``timeout`` is not for it.
        InvalidSessionError: ``retention_days`` is not a number above 0.
    """

    @hides_arguments
    def __init__(
        self,
        db: AgentDb | str | URL | Engine | AsyncEngine,
        *,
        retention_days: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Name the database; nothing is opened yet."""
        self._retention = retention_microseconds(retention_days)
        self._owns_db = not isinstance(db, AgentDb)
        self._db = open_db(db, timeout)
        self._sessions = self._db.tables.sessions
        self._messages = self._db.tables.messages
        self._readable = Readable()
        self._closed = False

    def __repr__(self) -> str:
        """Tell the database, without what a password may be in."""
        return f"DbSessionStore({self._db!r})"

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds: what `AgentDb.timeout` says."""
        return self._db.timeout

    def close(self) -> None:
        """Close the store, and the database where the store has made the `AgentDb` itself."""
        self._closed = True
        if self._owns_db:
            self._db.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        self._closed = True
        if self._owns_db:
            await self._db.aclose()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionStoreError("this store is closed")

    def _play(self, flow: Flow[T]) -> T:
        self._refuse_closed()
        call = ticket()
        try:
            result: T = within(self._db.timeout or None, play, flow, self._db.send)
        except Exception:
            raise
        except BaseException:  # Ctrl-C, between any two steps
            self._db.give_back(call)
            raise
        return result

    async def _aplay(self, flow: Flow[T]) -> T:
        self._refuse_closed()
        with until(deadline_after(self._db.timeout or None)):
            return await aplay(flow, self._db.asend)

    # -- The operations ---------------------------------------------------------------------------

    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        records, stored = encoded(messages), encode_metadata(metadata).decode()

        def work(connection: Connection) -> Row:
            if self._find(connection, session_id, user_id):
                raise SessionExistsError(f"session {session_id!r} is already there")
            return self._make(connection, _new_row(session_id, agent_id, user_id, stored), records)

        row = yield from self._in_transaction(work, session_id)
        return SessionData(**row.head(), messages=list(messages))

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        asked = Reading(limit is not None, False, user_id is not None, False, whole=True)
        rows = yield from self._read(asked, session_id, limit=limit, user_id=user_id)
        head = _head(rows)
        if head is None:
            return None
        require_owner(head[6], user_id)
        row = checked(head[3:])
        return SessionData(**row.head(), messages=_oldest_first(session_id, rows))

    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> Flow[list[SessionMessage]]:
        keep = keep_system and limit is not None
        named = before or after or None
        asked = Reading(
            limit is not None, named is not None, user_id is not None, keep, after is not None
        )
        rows = yield from self._read(asked, session_id, limit=limit, message=named, user_id=user_id)
        head = _head(rows)
        if head is None:
            return []
        _, end, _, owner = head
        require_owner(owner, user_id)
        if named is not None and end is None:
            way = "before" if after is None else "on from"
            raise InvalidMessageError(f"the session has no message {named!r} to go {way}")
        messages = _oldest_first(session_id, rows)
        return _system_message(session_id, rows, end) + messages if keep else messages

    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        records = encoded(messages)
        if records and self._db.dialect_name == "postgresql":
            added = yield from self._append_at_once(
                session_id, records, agent_id, user_id, expected_version
            )
            if added is not None:
                return added

        def work(connection: Connection) -> int:
            row = self._find(connection, session_id, user_id)
            require_version(row.version if row else 0, expected_version)
            if not records:
                return 0
            if row is None:
                self._make(connection, _new_row(session_id, agent_id, user_id, "{}"), records)
                return len(records)
            grown = self._add(connection, row, records)
            added = grown.message_count - row.message_count
            if added:
                self._written(connection, grown)
            return added

        return (yield from self._in_transaction(work, session_id))

    def _append_at_once(
        self,
        session_id: str,
        records: list[tuple[str, str]],
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int | None]:
        """Append by PostgreSQL's one statement; ``None`` where it has settled nothing."""
        values = {
            "id": escaped(session_id),
            "agent_id": escaped(agent_id),
            "user_id": None if user_id is None else escaped(user_id),
            "expected": None if expected_version is None else min(expected_version, _NO_VERSION),
            "oldest": self._oldest(),
            "count": len(records),
            "ids": [escaped(message_id) for message_id, _ in records],
            "bodies": [body for _, body in records],
        }

        statement = appending(self._db.tables)
        [reply] = yield from self._query(statement, values, repeatable=expected_version is None)
        was_there, owner, is_live, version, added, made = reply
        if made:
            return int(added)
        if not (was_there and is_live):
            require_version(0, expected_version)
            return None
        if owner is not None and user_id is not None:
            require_owner(owner, escaped(user_id))
        require_version(version, expected_version)
        return int(added)

    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        [(message_id, body)] = encoded([message])
        messages = self._messages

        def work(connection: Connection) -> None:
            row = self._require(connection, session_id, user_id)
            swap = update(messages).where(
                messages.c.session_key == row.session_key, messages.c.id == message_id
            )
            if not connection.execute(swap.values(body=body)).rowcount:
                raise SessionNotFoundError(f"the session has no message {message_id!r}")
            self._written(connection, row)

        yield from self._in_transaction(work, session_id)

    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        if self._db.dialect_name == "postgresql":
            deleted = yield from self._remove_at_once(
                session_id, message_ids, user_id, expected_version
            )
            if deleted is not None:
                return deleted

        def work(connection: Connection) -> list[str]:
            row = self._find(connection, session_id, user_id)
            require_version(row.version if row else 0, expected_version)
            removed = self._remove(connection, row, message_ids) if row else []
            if row and removed:
                row = row._replace(message_count=row.message_count - len(removed))
                self._written(connection, row)
            return removed

        return (yield from self._in_transaction(work, session_id))

    def _remove_at_once(
        self,
        session_id: str,
        message_ids: Sequence[str],
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str] | None]:
        """Delete by PostgreSQL's one statement; ``None`` where it has settled nothing."""
        ids = {escaped(message_id): message_id for message_id in message_ids}
        values = {
            "id": escaped(session_id),
            "user_id": None if user_id is None else escaped(user_id),
            "expected": None if expected_version is None else min(expected_version, _NO_VERSION),
            "oldest": self._oldest(),
            "ids": list(ids),
        }

        [reply] = yield from self._query(removing(self._db.tables), values, repeatable=False)
        was_there, owner, is_live, version, settled, removed = reply
        if not (was_there and is_live):
            require_version(0, expected_version)
            return []
        if owner is not None and user_id is not None:
            require_owner(owner, escaped(user_id))
        if not settled:
            return None
        require_version(version, expected_version)
        return [ids[message_id] for message_id in removed or ()]

    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        records = None if messages is None else encoded(messages)
        sessions = self._sessions.c
        if metadata is not None:
            encode_metadata(metadata)

        def work(connection: Connection) -> Row:
            row = self._require(connection, session_id, user_id)
            require_version(row.version, expected_version)
            if metadata is not None:
                merged = merge_metadata(decode_metadata(row.metadata), metadata)
                row = row._replace(metadata=encode_metadata(merged).decode())
            if records is not None:
                self._clear(connection, [row.session_key])
                row = self._add(connection, row._replace(message_count=0), records)
            self._written(connection, row, metadata=metadata is not None)
            written = select(sessions.version, sessions.updated_at)
            found = connection.execute(written.where(sessions.session_key == row.session_key)).one()
            return row._replace(version=found.version, updated_at=found.updated_at)

        row = yield from self._in_transaction(work, session_id)
        return row.info()

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        def work(connection: Connection) -> bool:
            row = self._find(connection, session_id, user_id, damaged=True)
            if row:
                self._drop(connection, [row.session_key])
            return row is not None

        return (yield from self._in_transaction(work, session_id))

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        values: dict[str, Any] = {"oldest": self._oldest(), "limit": limit + 1}
        values |= {} if agent_id is None else {"agent_id": agent_id}
        values |= {} if user_id is None else {"user_id": user_id}
        if cursor is not None:
            values["updated_at"], values["session_key"] = place(cursor)
        statement = listing(
            self._db.tables, agent_id is not None, user_id is not None, cursor is not None
        )
        rows = [Row._make(row) for row in (yield from self._query(statement, values))]
        infos = self._readable.infos(rows[:limit])
        if len(rows) <= limit:
            return SessionPage(infos, None)
        last = rows[limit - 1].cursor()
        if len(infos) == limit:
            return SessionPage(infos, last)
        # Others take the place of those that can't be read.
        page = yield from self._list_sessions(
            agent_id=agent_id, user_id=user_id, limit=limit - len(infos), cursor=last
        )
        return SessionPage([*infos, *page.sessions], page.cursor)

    def _prune_expired(self) -> Flow[int]:
        pruned = 0
        while self._retention is not None:
            # In batches, so that no lock is held for long.
            found, dropped = yield from self._in_transaction(self._prune_some)
            pruned += dropped
            if not found:
                break
        return pruned

    def _ping(self) -> Flow[None]:
        yield from self._db.operation(
            Work(self._db.tables.stored_version, True, True, past_the_pool=True)
        )

    # -- Requests ---------------------------------------------------------------------------------

    def _in_transaction(
        self, work: Callable[[Connection], T], session_id: str | None = None
    ) -> Flow[T]:
        reply: T = yield from self._db.operation(Work(work, session=session_id))
        return reply

    def _query(
        self, statement: Any, values: dict[str, Any], *, repeatable: bool = True
    ) -> Flow[Sequence[Any]]:
        # Who reads waits for no lock, and not behind those who do.
        session = (values["session_id"],) if "session_id" in values else values.get("id")
        work = Work(Query(statement, values), True, repeatable, session)
        rows: Sequence[Any] = yield from self._db.operation(work)
        return rows

    def _read(self, asked: Reading, session_id: str, **values: Any) -> Flow[Sequence[Any]]:
        given = {name: value for name, value in values.items() if value is not None}
        given |= {"session_id": session_id, "oldest": self._oldest()}
        if asked.named and self._db.dialect_name in ("mariadb", "mysql"):
            [(given["place"],)] = yield from self._query(seeking(self._db.tables), given)
            asked = asked._replace(sought=True)
        rows = yield from self._query(reading(self._db.tables, asked), given)
        return checked_parts(session_id, rows, FIRST)

    # -- Within a transaction ---------------------------------------------------------------------

    def _find(
        self, connection: Connection, session_id: str, user_id: str | None, *, damaged: bool = False
    ) -> Row | None:
        """Lock a session; an expired one is dropped, or hidden until it is pruned."""
        values = {"session_id": session_id, **self._times()}
        found = connection.execute(locking(self._db.tables), values).one_or_none()
        if found is None:
            return None
        *columns, is_live = found
        row = Row._make(columns)
        if not is_live:
            self._discard(connection, row)
            return None
        require_owner(row.user_id, user_id)
        return row if damaged else checked(columns)

    def _require(self, connection: Connection, session_id: str, user_id: str | None) -> Row:
        row = self._find(connection, session_id, user_id)
        if row is None:
            raise SessionNotFoundError(f"there is no session {session_id!r}")
        return row

    def _make(self, connection: Connection, row: Row, records: Sequence[tuple[str, str]]) -> Row:
        count, now = len(records), self._next_time(connection)
        row = row._replace(created_at=now, updated_at=now, message_count=count, last_position=count)
        values = {name: value for name, value in row._asdict().items() if name != "session_key"}
        made: Any = connection.execute(insert(self._sessions).values(values)).inserted_primary_key
        row = row._replace(session_key=made[0])
        self._put(connection, row.session_key, list(enumerate(records, start=1)))
        return row

    def _add(self, connection: Connection, row: Row, records: Sequence[tuple[str, str]]) -> Row:
        """Add those messages that the session does not hold, and count them."""
        held = self._held(connection, row, [message_id for message_id, _ in records])
        placed = [
            (position, record)
            for position, record in enumerate(records, start=row.last_position + 1)
            if record[0] not in held
        ]
        self._put(connection, row.session_key, placed)
        return row._replace(
            message_count=row.message_count + len(placed),
            last_position=row.last_position + len(records),
        )

    def _remove(self, connection: Connection, row: Row, message_ids: Sequence[str]) -> list[str]:
        """Delete those messages that the session holds, and give their ids in order."""
        messages = self._messages.c
        own = messages.session_key == row.session_key
        found: list[tuple[int, str]] = []
        for start in range(0, len(message_ids), _MANY):
            named = messages.id.in_(message_ids[start : start + _MANY])
            rows = connection.execute(select(messages.position, messages.id).where(own, named))
            found += [(position, message_id) for position, message_id in rows]
        found.sort()
        for start in range(0, len(found), _MANY):
            places = [position for position, _ in found[start : start + _MANY]]
            connection.execute(delete(self._messages).where(own, messages.position.in_(places)))
        return [message_id for _, message_id in found]

    def _held(self, connection: Connection, row: Row, ids: Sequence[str]) -> set[str]:
        messages = self._messages.c
        own = select(messages.id).where(messages.session_key == row.session_key)
        if not row.message_count:
            return set()
        held: set[str] = set()
        for start in range(0, len(ids), _MANY):
            some = ids[start : start + _MANY]
            held.update(connection.scalars(own.where(messages.id.in_(some))))
        return held

    def _put(
        self,
        connection: Connection,
        session_key: int,
        placed: Sequence[tuple[int, tuple[str, str]]],
    ) -> None:
        if placed:
            values = [
                {"session_key": session_key, "position": position, "id": message_id, "body": body}
                for position, (message_id, body) in placed
            ]
            connection.execute(insert(self._messages), values)

    def _written(self, connection: Connection, row: Row, *, metadata: bool = False) -> None:
        values: dict[str, Any] = {
            "key": row.session_key,
            "count": row.message_count,
            "last": row.last_position,
            **self._times(),
        }
        if metadata:
            values["changed"] = row.metadata
        at_once = self._db.dialect_name not in ("mariadb", "mysql")
        if not at_once:  # which refuse to read a table that they change
            values["next"] = self._next_time(connection)
        connection.execute(noting(self._db.tables, metadata, at_once), values)

    def _next_time(self, connection: Connection) -> int:
        found: Any = connection.execute(moment(self._db.tables), self._times()).one()
        return max(int(found[0]), int(found[1]) + 1)

    def _discard(self, connection: Connection, expired: Row) -> None:
        """Drop an expired session; a large one is left to `prune_expired`, which takes its time."""
        if _counted(expired.message_count) > PRUNE_MESSAGES:
            self._bury(connection, expired.session_key)
        else:
            self._drop(connection, [expired.session_key])

    def _drop(self, connection: Connection, session_keys: Sequence[int]) -> None:
        self._clear(connection, session_keys)
        named = self._sessions.c.session_key.in_(session_keys)
        connection.execute(delete(self._sessions).where(named))

    def _clear(self, connection: Connection, session_keys: Sequence[int]) -> None:
        named = self._messages.c.session_key.in_(session_keys)
        connection.execute(delete(self._messages).where(named))

    def _prune_some(self, connection: Connection) -> tuple[int, int]:
        """Drop some expired sessions; tell how many were found and how many dropped."""
        sessions = self._sessions.c
        expired = sessions.updated_at < oldest_live()
        counts = (sessions.session_key, sessions.message_count)
        found = connection.execute(
            select(*counts).where(expired).limit(PRUNE_SESSIONS), self._times()
        ).all()
        keys: list[int] = []
        messages = 0
        if found and _counted(found[0].message_count) > PRUNE_MESSAGES:
            return 1, self._prune_slice(connection, found[0].session_key)
        for session_key, message_count in found:
            messages += _counted(message_count)
            if keys and messages > PRUNE_MESSAGES:
                break
            keys.append(session_key)
        # Others may have written to one since, or prune too: in the same order, so never crosswise.
        still = select(sessions.session_key).where(sessions.session_key.in_(keys), expired)
        in_order = still.order_by(sessions.session_key).with_for_update()
        locked = connection.scalars(in_order, self._times()).all()
        self._drop(connection, locked)
        return len(keys), len(locked)

    def _prune_slice(self, connection: Connection, session_key: int) -> int:
        """Drop a part of a large expired session; tell whether that was the end of it."""
        sessions, messages = self._sessions.c, self._messages.c
        named = sessions.session_key == session_key
        expired = sessions.updated_at < oldest_live()
        locked = select(sessions.session_key).where(named, expired).with_for_update()
        if connection.execute(locked, self._times()).one_or_none() is None:
            return 0
        own = messages.session_key == session_key
        first = connection.scalar(select(func.min(messages.position)).where(own))
        if first is None:
            self._drop(connection, [session_key])
            return 1
        self._bury(connection, session_key)
        some = messages.position < first + PRUNE_MESSAGES
        connection.execute(delete(self._messages).where(own, some))
        return 0

    def _bury(self, connection: Connection, session_key: int) -> None:
        named = self._sessions.c.session_key == session_key
        connection.execute(update(self._sessions).where(named).values(buried(session_key)))

    def _times(self) -> dict[str, int]:
        return times(self._db.dialect_name, self._retention)

    def _oldest(self) -> int:
        return oldest(self._db.dialect_name, self._retention)


def _new_row(session_id: str, agent_id: str, user_id: str | None, metadata: str) -> Row:
    return Row(0, session_id, agent_id, user_id, metadata, 0, 0, 1, 0, 0)


def _counted(count: Any) -> int:
    """Give how many messages a session has; as many as there may be where that is damaged."""
    return count if type(count) is int else PRUNE_MESSAGES + 1


def _head(rows: Sequence[Any]) -> Any:
    return next((row for row in rows if row[0] == HEAD), None)


def _oldest_first(session_id: str, rows: Sequence[Any]) -> list[SessionMessage]:
    messages = sorted([(row[1], row[2]) for row in rows if row[0] > FIRST])
    return decode_messages(session_id, [body for _, body in messages])


def _system_message(session_id: str, rows: Sequence[Any], end: int | None) -> list[SessionMessage]:
    start = min((row[1] for row in rows if row[0] > FIRST), default=end)
    first = [row[2] for row in rows if row[0] == FIRST and (start is None or row[1] < start)]
    return [m for m in decode_messages(session_id, first) if m.role in SYSTEM_ROLES]
