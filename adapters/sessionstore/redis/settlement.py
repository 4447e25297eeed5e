"""How a write that nobody was answered about is settled: the server notes it as given up."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ResponseError

from sessionstore.redis import scripts
from sessionstore.redis.calls import Call
from sessionstore.redis.doubts import DOUBTS
from sessionstore.redis.entries import Entry, touches
from sessionstore.redis.heads import pairs
from sessionstore.redis.keys import Layout
from sessionstore.redis.requests import RedisFlow

__all__ = ["settle"]


def settle(layout: Layout, records: Sequence[bytes] | None) -> RedisFlow[None]:
    """Have the server note what is in doubt as given up, unless it is done.

    Args:
        layout: Where the sessions are.
        records: The keys of their newest writes; ``None`` for all sessions.
    """
    for place, names in DOUBTS.of(layout.where, records):
        record = place[1]
        try:
            yield [Call.of(scripts.SETTLE, (record,), names).by_text()]
            if layout.clustered:
                yield from _list_again(layout, record)
        except ResponseError:
            continue  # such as a replica's: what is asked next gets it, too
        DOUBTS.settle(place, names)


def _list_again(layout: Layout, record: bytes) -> RedisFlow[None]:
    """Enter a session into the lists: the write may have ended before it did that."""
    head = record.removesuffix(b":writes") + b":session"
    [reply] = yield [Call.of(scripts.PEEK, (head,), (b"0",)).by_text()]
    fields = pairs(reply[1]) if len(reply) > 1 else {}
    if fields.get(b"updated", b"").isdigit() and b"agent" in fields:
        encoded_id = head.partition(b"{")[2].partition(b"}")[0]
        member = b"/".join((encoded_id, fields[b"agent"], fields.get(b"user", b"")))
        for call in touches(layout, Entry(member, fields[b"updated"], [])):
            yield [call.by_text()]
