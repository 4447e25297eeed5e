"""Erasing what a file keeps of a user beside the sessions that are listed."""

from __future__ import annotations

from sessionstore.operations import Scrub, Trace
from sessionstore.rows.sessions import NOT_REWRITTEN, PRUNE_SESSIONS
from sessionstore.sqlite import sessions
from sessionstore.sqlite.leases import forget_leases
from sessionstore.sqlite.transactions import Transaction

__all__ = ["scrub"]

_OF_USER = "SELECT session_key FROM sessionstore_sessions WHERE user_id = ? LIMIT ?"


def scrub(transaction: Transaction, operation: Scrub) -> list[Trace]:
    """Erase the leases, and the user's sessions that no list shows; write the file anew."""
    where = f"SQLiteSessionStore({transaction.path!r})"
    leases = forget_leases(transaction, operation.session_ids)
    unlisted = 0
    while operation.user_id is not None:
        found = transaction.execute(_OF_USER, (operation.user_id, PRUNE_SESSIONS))
        for [session_key] in found:
            sessions.drop(transaction, session_key)
        transaction.commit_batch()
        unlisted += len(found)
        if len(found) < PRUNE_SESSIONS:
            break
    traces = [Trace(where, "unlisted sessions", unlisted), Trace(where, "leases", leases)]
    if operation.rewrite:
        transaction.rewrite()
    elif operation.user_id is not None:
        traces.append(Trace(where, *NOT_REWRITTEN))
    return traces
