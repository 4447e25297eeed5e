"""How sessions are listed and pruned, by their index: on one machine, in one script."""

from __future__ import annotations

import logging

from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionInfo, SessionPage
from sessionstore.operations import ListSessions, Prune
from sessionstore.redis import cluster_listing, scripts
from sessionstore.redis.calls import Call, number
from sessionstore.redis.entries import Entry, Scope
from sessionstore.redis.exchange import PAGE, Exchange
from sessionstore.redis.keys import encoded
from sessionstore.redis.requests import RedisFlow

__all__ = ["list_sessions", "listed_ids", "prune"]

_logger = logging.getLogger("sessionstore")

_MOST_REPORTED = 1000  # unreadable sessions that are logged once each, so that logs stay short
_LONGEST_CURSOR = 16
_APART = 1000  # microseconds by which an index may move activities on, to keep them apart
_INEXACT = 2**53  # from here on, a number of Lua stands for several: no activity is later


def list_sessions(exchange: Exchange, operation: ListSessions) -> RedisFlow[SessionPage]:
    """Give a page of sessions, newest activity first."""
    look = cluster_listing.look if exchange.layout.clustered else _look
    scope, limit, below = _scope(exchange, operation), operation.limit, _below(operation)
    found: list[tuple[bytes, SessionInfo]] = []
    while True:
        most = scope.most(limit + 1 - len(found))
        entries, below = yield from look(exchange, scope, most, below)
        read = [(entry.activity, _info(exchange, entry)) for entry in entries]
        found += [(at, info) for at, info in read if info is not None and _fits(operation, info)]
        if not below or len(found) > limit:
            break
    more = found[limit - 1][0].decode() if len(found) > limit else None
    return SessionPage([info for _, info in found[:limit]], more)


def listed_ids(exchange: Exchange, operation: ListSessions) -> RedisFlow[list[str]]:
    """Give the ids of all sessions that an index names: also of those that can't be read."""
    look = cluster_listing.look if exchange.layout.clustered else _look
    scope, below, ids = _scope(exchange, operation), b"", list[str]()
    while True:
        entries, below = yield from look(exchange, scope, PAGE, below)
        ids += [entry.id for entry in entries]
        if not below:
            return ids


def prune(exchange: Exchange, _: Prune) -> RedisFlow[int]:
    """Take expired sessions out of the index, a batch at a time; give how many."""
    prune_some = cluster_listing.prune_some if exchange.layout.clustered else _prune_some
    above, pruned = b"0", 0
    while exchange.layout.ttl and above:
        count, above = yield from prune_some(exchange, above)
        pruned += count
    return pruned


def _scope(exchange: Exchange, operation: ListSessions) -> Scope:
    layout, wanted = exchange.layout, (b"%d" % operation.since, operation.last)
    if operation.user_id is not None:
        index = layout.index(b"user", encoded(operation.user_id))
        return Scope(index, encoded(operation.agent_id), *wanted)
    if operation.agent_id is not None:
        return Scope(layout.index(b"agent", encoded(operation.agent_id)), b"", *wanted)
    return Scope(layout.index(b"all"), b"", *wanted)


def _look(
    exchange: Exchange, scope: Scope, limit: int, below: bytes
) -> RedisFlow[tuple[list[Entry], bytes]]:
    asked = (scope.agent, number(limit), below, number(PAGE), scope.since, number(scope.last))
    call = Call.of(scripts.LIST, (scope.key,), (exchange.layout.prefix, *asked))
    [[_, found, rest]] = yield from exchange.ask([call])
    return [Entry(*found[i : i + 4]) for i in range(0, len(found), 4)], rest


def _below(operation: ListSessions) -> bytes:
    """Give the activity of an index below which a page begins; nothing for its front."""
    cursor, until = _place(operation.cursor), operation.until
    if until is None:
        return cursor
    until = min(until, _INEXACT) + _APART
    return b"%d" % min(until, int(cursor or until))


def _fits(operation: ListSessions, info: SessionInfo) -> bool:
    """Tell whether a session was written to when it should be: an index may be a little late."""
    after, before = operation.updated_after, operation.updated_before
    return (after is None or info.updated_at > after) and (
        before is None or info.updated_at < before
    )


def _prune_some(exchange: Exchange, above: bytes) -> RedisFlow[tuple[int, bytes]]:
    layout = exchange.layout
    args = (layout.prefix, layout.ttl, above, number(PAGE))
    call = Call.of(scripts.PRUNE, (layout.index(b"all"),), args)
    [[_, pruned, rest]] = yield from exchange.ask([call])
    return int(pruned), rest


def _info(exchange: Exchange, entry: Entry) -> SessionInfo | None:
    """Give a session, or nothing where it can't be read: one must not break a list."""
    reported = exchange.reported
    if (info := entry.info()) is None and entry.id not in reported:
        reported[entry.id] = None
        if len(reported) > _MOST_REPORTED:
            del reported[next(iter(reported))]
        _logger.warning(
            "RedisSessionStore(%r): session %r can't be read, and is left out of lists",
            exchange.layout.where,
            entry.id,
        )
    return info


def _place(cursor: str | None) -> bytes:
    if cursor is None:
        return b""
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _LONGEST_CURSOR):
        raise InvalidSessionError("cursor is not one that list_sessions gave")
    return cursor.encode()
