"""How sessions are listed and pruned under Cluster, where no index is in its sessions' slot.

First the index is read, and then the sessions; entries of sessions that are gone are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessionstore.redis import scripts
from sessionstore.redis.calls import Call, number
from sessionstore.redis.entries import Entry, Scope, drops, is_entry
from sessionstore.redis.exchange import PAGE, Exchange
from sessionstore.redis.keys import session_keys
from sessionstore.redis.requests import RedisFlow

__all__ = ["look", "prune_some"]


def look(
    exchange: Exchange, scope: Scope, limit: int, below: bytes
) -> RedisFlow[tuple[list[Entry], bytes]]:
    """Give some entries whose sessions are there, and below which activity to go on."""
    args = (below, number(min(limit, PAGE)), scope.agent, number(PAGE), scope.since)
    [[_, flat, rest]] = yield from exchange.ask([Call.of(scripts.PAGE, (scope.key,), args)])
    live, _ = yield from _checked(exchange, flat, scope.last)
    return live, rest


def prune_some(exchange: Exchange, above: bytes) -> RedisFlow[tuple[int, bytes]]:
    """Take some expired sessions out; give how many, and above which activity to go on."""
    layout = exchange.layout
    call = Call.of(scripts.OLDEST, (layout.index(b"all"),), (above, number(PAGE), layout.ttl))
    [[_, flat]] = yield from exchange.ask([call])
    _, gone = yield from _checked(exchange, flat)
    return gone, flat[-1] if len(flat) == 2 * PAGE else b""


def _checked(
    exchange: Exchange, flat: Sequence[bytes], last: int = 0
) -> RedisFlow[tuple[list[Entry], int]]:
    """Look at the sessions of some entries; take out those that are gone, and count them."""
    members = zip(flat[::2], flat[1::2], strict=True)
    entries = [Entry(member, activity, []) for member, activity in members if is_entry(member)]
    if not entries:
        return [], 0
    replies = yield from exchange.ask([_peek(exchange, entry, last) for entry in entries])
    answered = zip(entries, replies, strict=True)
    seen = [entry._replace(head=r[1], bodies=r[2]) for entry, r in answered if len(r) > 1]
    live = [entry for entry in seen if entry.is_of(entry.head)]
    gone = [entry for entry in seen if not entry.is_of(entry.head)]
    if gone:
        yield from exchange.ask([call for entry in gone for call in drops(exchange.layout, entry)])
    return live, len(gone)


def _peek(exchange: Exchange, entry: Entry, last: int) -> Call:
    keys = session_keys(exchange.layout.prefix, entry.member.split(b"/")[0])
    return Call.of(scripts.PEEK, keys[:2], (number(last),))
