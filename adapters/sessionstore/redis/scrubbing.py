"""Erasing what Redis keeps of a user beside the sessions that are listed."""

from __future__ import annotations

from sessionstore.operations import Delete, ListSessions, Scrub, Trace
from sessionstore.redis import scripts
from sessionstore.redis.calls import Call
from sessionstore.redis.exchange import PAGE, Exchange
from sessionstore.redis.keys import encoded, session_keys
from sessionstore.redis.listing import listed_ids
from sessionstore.redis.requests import RedisFlow
from sessionstore.redis.writing import write

__all__ = ["scrub"]

_KEPT = (
    (
        "names of the newest writes, in keys that name the session",
        "a minute after the last of them",
    ),
    ("the append-only file", "it is rewritten: BGREWRITEAOF, or by itself as it grows"),
    ("snapshots", "the next one, and backups as long as you keep them: BGSAVE"),
    ("replicas", "they have caught up"),
)


def scrub(exchange: Exchange, operation: Scrub) -> RedisFlow[list[Trace]]:
    """Erase the leases, and the user's sessions that no list shows."""
    where = f"RedisSessionStore({exchange.layout.where!r})"
    leases = yield from _forget_leases(exchange, operation.session_ids)
    unlisted = 0
    if operation.user_id is not None:
        asked = ListSessions(user_id=operation.user_id)
        for session_id in (yield from listed_ids(exchange, asked)):
            deleted = yield from write(exchange, Delete(session_id, operation.user_id))
            unlisted += bool(deleted)
    found = [Trace(where, "unlisted sessions", unlisted), Trace(where, "leases", leases)]
    return found + [Trace(where, what, until=until) for what, until in _KEPT]


def _forget_leases(exchange: Exchange, session_ids: list[str]) -> RedisFlow[int]:
    forgotten = 0
    prefix = exchange.layout.prefix
    for start in range(0, len(session_ids), PAGE):
        some = session_ids[start : start + PAGE]
        keys = [session_keys(prefix, encoded(each)).with_lease[-1] for each in some]
        replies = yield from exchange.ask([Call.of(scripts.SCRUB, (key,), ()) for key in keys])
        forgotten += sum(int(forgot) for _, forgot in replies)
    return forgotten
