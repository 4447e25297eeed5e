"""The leases of a file: taken, renewed, given back and checked, each within a transaction.

The steady clock decides, which all processes of the machine share and nobody sets. A lease of an
earlier start of the machine has run out.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessionstore._runtime.boots import boot_id
from sessionstore._runtime.clock import clock
from sessionstore.operations import AcquireLease, Fence, ReleaseLease, RenewLease
from sessionstore.rows.leases import BOGUS, LEASES_KEPT, PRUNE_LEASES, LeaseRow, length_of
from sessionstore.sqlite.sessions import find
from sessionstore.sqlite.transactions import Transaction

__all__ = ["acquire", "fence", "forget_leases", "prune_leases", "release", "renew"]

# The file may hold anything: numbers are read as numbers, and text is compared, not read.
_FIND = """SELECT CAST(token AS INTEGER), CAST(ends_at AS INTEGER),
    holder <> '' AND boot = ?, holder = ? FROM sessionstore_leases WHERE session_id = ?"""
_TAKE = """INSERT INTO sessionstore_leases (session_id, token, holder, ends_at, boot)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (session_id) DO UPDATE SET token = excluded.token,
    holder = excluded.holder, ends_at = excluded.ends_at, boot = excluded.boot"""
_RENEW = "UPDATE sessionstore_leases SET ends_at = ? WHERE session_id = ?"
_RELEASE = "UPDATE sessionstore_leases SET holder = '', ends_at = ? WHERE session_id = ?"
_FORGET = "DELETE FROM sessionstore_leases WHERE session_id = ?"
_PRUNE = """DELETE FROM sessionstore_leases WHERE session_id IN (
    SELECT session_id FROM sessionstore_leases
    WHERE token < ? AND (boot IS NOT ? OR ends_at < ? OR ends_at > ?) LIMIT ?)"""


def acquire(transaction: Transaction, operation: AcquireLease) -> int:
    """Take a lease that nobody has, and give its token."""
    session_id = operation.session_id
    find(transaction, session_id, operation.user_id)
    row, now = _found(transaction, session_id, operation.holder)
    token = row.next_token(operation, now, clock.wall())
    ends_at = now + length_of(operation)
    transaction.execute(_TAKE, (session_id, token, operation.holder, ends_at, boot_id()))
    return token


def renew(transaction: Transaction, operation: RenewLease) -> None:
    """Have a lease last longer."""
    find(transaction, operation.session_id, operation.user_id)
    row, now = _found(transaction, operation.session_id)
    row.require(operation.token, now)
    transaction.execute(_RENEW, (now + length_of(operation), operation.session_id))


def release(transaction: Transaction, operation: ReleaseLease) -> bool:
    """Give a lease back, and tell whether it was held until then."""
    row, now = _found(transaction, operation.session_id, operation.holder)
    if row.is_mine:
        transaction.execute(_RELEASE, (min(row.ends_at, now), operation.session_id))
    return bool(row.is_mine) and row.is_live(now)


def fence(transaction: Transaction, operation: Fence) -> None:
    """Refuse who has lost a lease."""
    row, now = _found(transaction, operation.session_id)
    row.require(operation.token, now)


def forget_leases(transaction: Transaction, session_ids: Sequence[str]) -> int:
    """Have nobody hold the leases of some sessions; give how many there were."""
    named = [(session_id,) for session_id in session_ids]
    forgotten: int = transaction.execute(_FORGET, named).rowcount
    return max(0, forgotten)


def prune_leases(transaction: Transaction) -> None:
    """Forget leases that ended long ago, in batches, as sessions are pruned."""
    while True:
        now = clock.steady()
        ended = clock.wall() - LEASES_KEPT, boot_id(), now - LEASES_KEPT, now + BOGUS
        pruned = transaction.execute(_PRUNE, (*ended, PRUNE_LEASES)).rowcount
        if pruned < PRUNE_LEASES:
            return
        transaction.commit_batch()


def _found(
    transaction: Transaction, session_id: str, holder: str | None = None
) -> tuple[LeaseRow, int]:
    """Give a session's row, and the time at which nobody else can change it any more."""
    found = transaction.execute(_FIND, (boot_id(), holder, session_id))
    return LeaseRow(*found[0]) if found else LeaseRow(), clock.steady()
