"""Several operations on one session as one step: what is learned of them, and in an outage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sessionstore.errors import OutageError
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.entries import rewrites
from sessionstore.fallback.learning import (
    learn_append,
    learn_messages,
    learn_session,
    learn_update,
    learn_write,
)
from sessionstore.fallback.outage import journaled, recalled
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ReplaceMessage,
    Several,
    Update,
)

__all__ = ["done_together", "learn_several"]

_OVERTAKEN = -1  # a stamp that no session has

_LEARN: dict[type, Callable[[SessionCache, Any, Any, int], None]] = {
    Append: learn_append,
    Create: learn_write,
    ReplaceMessage: learn_write,
    DeleteMessages: learn_write,
    Update: learn_update,
    Delete: learn_write,
    Get: learn_session,
    GetMessages: learn_messages,
}


def learn_several(cache: SessionCache, asked: Several, results: list[Any], stamp: int) -> None:
    """Take note of each operation and of what the primary answered to it.

    Args:
        cache: What is known.
        asked: What the primary was asked for.
        results: What it gave.
        stamp: That of the session before the primary was asked. Once something else was learned
            meanwhile, what these have read may be older than that.
    """
    with cache.lock:
        for part, result in zip(asked.operations, results, strict=True):
            if cache.stamp(asked.session_id) != stamp:
                stamp = _OVERTAKEN
            _LEARN[type(part)](cache, part, result, stamp)
            if stamp != _OVERTAKEN:
                stamp = cache.stamp(asked.session_id)


def done_together(parts: Parts, asked: Several) -> FallbackFlow[list[Any]]:
    """Journal the writes among several operations as one entry; the reads find what is known.

    Raises:
        OutageError: They can't be replayed in one step: several writes, of which one makes the
            session, deletes it, or replaces all of its messages.
    """
    writes = asked.writes
    if not writes:
        results: list[Any] = yield from recalled(parts, asked)
        return results
    if len(writes) > 1 and any(rewrites(part) or type(part) is Create for part in writes):
        raise OutageError(
            "creating, deleting or replacing all messages can't be one step with other writes "
            "until the store is back"
        )
    results = yield from journaled(parts, asked)
    return results
