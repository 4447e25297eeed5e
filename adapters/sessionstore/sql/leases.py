"""Leases: taken, renewed, given back and checked; on PostgreSQL in one statement each.

The server's clock decides; on SQLite, as in `sqlite.leases`, the machine's steady one. A check
within a list that writes locks the lease's row behind the session's: so no one can take the lease
over before that list is committed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, select, update

from sessionstore._runtime.boots import boot_id
from sessionstore._runtime.clock import clock
from sessionstore.errors import SessionStoreError, StoreReadOnlyError, StoreUnavailableError
from sessionstore.leases import leased_error, require_lease
from sessionstore.operations import AcquireLease, Append, Fence, ReleaseLease, RenewLease
from sessionstore.ownership import require_owner
from sessionstore.rows.leases import PRUNE_LEASES, LeaseRow, length_of
from sessionstore.sql.appending import append
from sessionstore.sql.clock import now as server_time
from sessionstore.sql.column_types import escaped
from sessionstore.sql.direct import Query, Values
from sessionstore.sql.lease_statements import (
    acquiring,
    ended,
    entering,
    fencing,
    looking,
    owning,
    releasing,
    renewing,
)
from sessionstore.sql.requests import SqlFlow, Work
from sessionstore.sql.sessions import Sessions

__all__ = [
    "acquire",
    "append_under",
    "fence",
    "forget_leases",
    "lasting_fence",
    "prune_leases",
    "release",
    "renew",
]

_SECOND = 1_000_000
_TRIES = 10


def acquire(sessions: Sessions, asked: AcquireLease) -> SqlFlow[int]:
    """Take a lease that nobody has.

    Args:
        sessions: The store's.
        asked: Of which session, by whom.

    Returns:
        Its token.

    Raises:
        SessionLeasedError: Another has it.
        SessionAccessError: The session is another user's.
    """
    key = _key(asked.session_id)
    if not sessions.is_postgres:
        token: int = yield Work(partial(_acquire, sessions, asked), False, True, key)
        return token
    query, left = Query(acquiring(sessions.tables), _values(sessions, asked)), None
    for _ in range(_TRIES):
        [(taken, left, owner)] = yield Work(query, True, True, key)
        if taken is not None:
            return int(taken)
        _refuse_others(owner, asked)
        if left is not None:
            break
    raise leased_error((left or 0) / _SECOND)


def renew(sessions: Sessions, asked: RenewLease) -> SqlFlow[None]:
    """Have a lease last longer.

    Args:
        sessions: The store's.
        asked: Which.

    Raises:
        SessionLeasedError: It was lost.
        SessionAccessError: The session is another user's.
    """
    key = _key(asked.session_id)
    if not sessions.is_postgres:
        yield Work(partial(_renew, sessions, asked), False, True, key)
        return
    values = Values(**_caller(sessions, asked), token=asked.token, length=length_of(asked))
    [(held, owner)] = yield Work(Query(renewing(sessions.tables), values), True, True, key)
    _refuse_others(owner, asked)
    require_lease(held)


def release(sessions: Sessions, asked: ReleaseLease) -> SqlFlow[bool]:
    """Give a lease back.

    Args:
        sessions: The store's.
        asked: Which, and whose.

    Returns:
        Whether it was held until then. Where the answer was lost, and it is sent again: until the
        second time.
    """
    key = _key(asked.session_id)
    if not sessions.is_postgres:
        was_held: bool = yield Work(partial(_release, sessions, asked), False, True, key)
        return was_held
    named = Values(id=escaped(asked.session_id), holder=escaped(asked.holder))
    found = yield Work(Query(releasing(sessions.tables), named), True, True, key)
    return bool(found and found[0][0])


def fence(sessions: Sessions, asked: Fence) -> SqlFlow[None]:
    """Refuse who has lost a lease.

    Args:
        sessions: The store's.
        asked: Which.

    Raises:
        SessionLeasedError: It was lost.
    """
    yield Work(partial(_check, sessions, asked, locks=False), True, True, _key(asked.session_id))


def lasting_fence(sessions: Sessions, asked: Fence) -> SqlFlow[None]:
    """Refuse who has lost a lease, and let nobody take it before the transaction's end."""
    yield Work(partial(_check, sessions, asked, locks=True))


def append_under(sessions: Sessions, held: Fence, added: Append) -> SqlFlow[list[Any] | None]:
    """Append under a lease, by one statement of PostgreSQL's.

    Args:
        sessions: The store's.
        held: The lease.
        added: What to append. It can't be sent twice: the lease may be lost by then.

    Returns:
        The result of each; ``None`` where nothing was done, as another made the session just now,
        or it has expired.

    Raises:
        SessionLeasedError: The lease was lost.
        SessionStoreError: What `append` raises.
    """
    appending = append(sessions, added)  # which is led to its end by the row it would have got
    plain: Any = next(appending).run
    values = Values({**plain.values, "token": held.token})
    query = Query(fencing(sessions.tables), values)
    [(*reply, passed)] = yield Work(query, at_once=True, session=values["id"])
    require_lease(passed)
    try:
        appending.send([reply])
    except StopIteration as done:
        return [None, done.value]
    return None


def prune_leases(sessions: Sessions) -> SqlFlow[None]:
    """Forget the leases that ended long ago, if there is a table of them and it can be changed."""
    pruned = PRUNE_LEASES
    while pruned == PRUNE_LEASES:
        pruned = yield from _where_there_are_leases(Work(partial(_prune, sessions)))


def forget_leases(sessions: Sessions, session_ids: Sequence[str]) -> SqlFlow[int]:
    """Have nobody hold the leases of some sessions, as `prune_leases`; give how many there were."""
    forgotten = 0
    for start in range(0, len(session_ids), PRUNE_LEASES):
        some = session_ids[start : start + PRUNE_LEASES]
        forgotten += yield from _where_there_are_leases(Work(partial(_forget, sessions, some)))
    return forgotten


def _where_there_are_leases(work: Work[int]) -> SqlFlow[int]:
    try:
        changed: int = yield work
    except SessionStoreError as error:
        if isinstance(error, StoreUnavailableError) and not isinstance(error, StoreReadOnlyError):
            raise
        return 0
    return changed


def _key(session_id: str) -> Hashable:
    """Name what may not use the pool up: a lease does not queue behind the session's writes."""
    return "lease", session_id


def _values(sessions: Sessions, asked: AcquireLease) -> Values:
    return Values(
        **_caller(sessions, asked),
        holder=escaped(str(asked.holder)),
        length=length_of(asked),
        take_over=asked.take_over,
    )


def _caller(sessions: Sessions, asked: AcquireLease | RenewLease) -> dict[str, Any]:
    return {
        "id": escaped(asked.session_id),
        "user_id": None if asked.user_id is None else escaped(asked.user_id),
        "oldest": sessions.oldest(),
    }


def _refuse_others(owner: str | None, asked: AcquireLease | RenewLease) -> None:
    if owner is not None and asked.user_id is not None:
        require_owner(owner, escaped(asked.user_id))


# -- On a connection ------------------------------------------------------------------------------


def _acquire(sessions: Sessions, asked: AcquireLease, connection: Connection) -> int:
    tables, session_id = sessions.tables, asked.session_id
    _require_owner(sessions, asked, connection)
    connection.execute(entering(tables, is_mysql=sessions.is_mysql), {"id": session_id})
    row, now = _found(sessions, connection, session_id, asked.holder)
    token = row.next_token(asked, now, clock.wall() if sessions.is_sqlite else now)
    values = {"token": token, "holder": asked.holder, "ends_at": now + length_of(asked)}
    boot = boot_id() if sessions.is_sqlite else None
    own = tables.leases.c.session_id == session_id
    connection.execute(update(tables.leases).where(own).values({**values, "boot": boot}))
    return token


def _require_owner(
    sessions: Sessions, asked: AcquireLease | RenewLease, connection: Connection
) -> None:
    if asked.user_id is not None:
        named = {"session_id": asked.session_id, "oldest": sessions.oldest()}
        require_owner(connection.scalar(owning(sessions.tables), named), asked.user_id)


def _renew(sessions: Sessions, asked: RenewLease, connection: Connection) -> None:
    _require_owner(sessions, asked, connection)
    row, now = _found(sessions, connection, asked.session_id)
    row.require(asked.token, now)
    own = sessions.tables.leases.c.session_id == asked.session_id
    ends_at = now + length_of(asked)
    connection.execute(update(sessions.tables.leases).where(own).values(ends_at=ends_at))


def _release(sessions: Sessions, asked: ReleaseLease, connection: Connection) -> bool:
    row, now = _found(sessions, connection, asked.session_id, asked.holder)
    if row.is_mine:
        own = sessions.tables.leases.c.session_id == asked.session_id
        freed = update(sessions.tables.leases).where(own)
        connection.execute(freed.values(holder="", ends_at=min(row.ends_at, now)))
    return bool(row.is_mine) and row.is_live(now)


def _check(sessions: Sessions, asked: Fence, connection: Connection, *, locks: bool) -> None:
    row, now = _found(sessions, connection, asked.session_id, locks=locks)
    row.require(asked.token, now)


def _found(
    sessions: Sessions,
    connection: Connection,
    session_id: str,
    holder: str | None = None,
    *,
    locks: bool = True,
) -> tuple[LeaseRow, int]:
    """Give a session's row, and the time of the clock that decides: behind the wait for a lock."""
    named: dict[str, Any] = {"session_id": session_id, "holder": holder}
    if sessions.is_sqlite:
        named |= {"boot": boot_id(), "now": clock.steady()}
    statement = looking(sessions.tables, boots=sessions.is_sqlite, locks=locks)
    found = connection.execute(statement, named).one_or_none()
    if found is None:
        return LeaseRow(), 0
    *row, now = found
    if locks and sessions.is_mysql:
        now = connection.scalars(select(server_time())).one()
    return LeaseRow(*row), int(now)


def _forget(sessions: Sessions, session_ids: Sequence[str], connection: Connection) -> int:
    leases = sessions.tables.leases
    return connection.execute(delete(leases).where(leases.c.session_id.in_(session_ids))).rowcount


def _prune(sessions: Sessions, connection: Connection) -> int:
    leases, has_ended = sessions.tables.leases, ended(sessions.tables, boots=sessions.is_sqlite)
    some = select(leases.c.session_id).where(has_ended).limit(PRUNE_LEASES)
    ids = connection.scalars(some).all()
    if ids:
        connection.execute(delete(leases).where(leases.c.session_id.in_(ids), has_ended))
    return len(ids)
