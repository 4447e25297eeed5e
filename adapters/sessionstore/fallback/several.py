"""Several operations on one session as one step: what is learned of them, and in an outage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sessionstore.errors import OutageError
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.done import Together
from sessionstore.fallback.entries import rewrites
from sessionstore.fallback.learning import (
    learn_append,
    learn_messages,
    learn_restore,
    learn_session,
    learn_update,
    learn_write,
)
from sessionstore.fallback.leasing import lease_error
from sessionstore.fallback.outage import journaled, recalled
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.fallback.rewinding import gone, learn_rewind
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Restore,
    Rewind,
    SessionWrite,
    Several,
    Update,
)

__all__ = ["done_together", "learn_several"]

_LEARN: dict[type, Callable[[SessionCache, Any, Any, int], None]] = {
    Append: learn_append,
    Create: learn_write,
    Restore: learn_restore,
    ReplaceMessage: learn_write,
    DeleteMessages: learn_write,
    Rewind: learn_rewind,
    Update: learn_update,
    Delete: learn_write,
    Get: learn_session,
    GetMessages: learn_messages,
}


def learn_several(cache: SessionCache, asked: Several, results: list[Any], stamp: int) -> None:
    """Take note of what the primary answered: its writes in one step, so that Ctrl-C tears nothing.

    A fence tells nothing. Of the reads only the first is learned from, if it comes before the
    writes: what the others have read may be older by then than what was learned from others.

    Args:
        cache: What is known.
        asked: What the primary was asked for.
        results: What it gave.
        stamp: That of the session before the primary was asked.
    """
    answers = zip(asked.operations, results, strict=True)
    pairs = [answer for answer in answers if type(answer[0]) is not Fence]
    writes = [pair for pair in pairs if isinstance(pair[0], SessionWrite)]
    for first, result in pairs[:1]:
        if not isinstance(first, SessionWrite):
            _LEARN[type(first)](cache, first, result, stamp)
    if len(writes) == 1:
        [(write, result)] = writes
        _LEARN[type(write)](cache, write, result, stamp)
    elif writes:
        _learn_writes(cache, asked, [_as_done(cache, *pair, stamp) for pair in writes])


def _as_done(cache: SessionCache, write: Any, result: Any, stamp: int) -> Operation[Any]:
    """Give a write as what it has come to."""
    return gone(cache, write, result, stamp) if isinstance(write, Rewind) else write


def _learn_writes(cache: SessionCache, asked: Several, done: list[Any]) -> None:
    session_id = asked.session_id
    if cache.is_pinned(session_id) and any(map(rewrites, asked.writes)):
        return
    known = cache.look_up(session_id)
    sure = known is not None and known.current and known.is_sure
    learn_write(cache, Together(session_id, done, asked.user_id), None, 0)
    if sure and (known := cache.look_up(session_id)) is not None:
        known.sure = len(known.bodies)


def _goes_alone(write: SessionWrite) -> bool:
    return rewrites(write) or isinstance(write, (Create, Restore))


def done_together(parts: Parts, asked: Several) -> FallbackFlow[list[Any]]:
    """Journal the writes among several operations as one entry; the reads find what is known.

    Raises:
        OutageError: They can't be replayed in one step: several writes, of which one makes the
            session, deletes it, or replaces all of its messages. Or they carry a lease.
    """
    if Fence in map(type, asked.operations):
        raise lease_error()
    writes = asked.writes
    if not writes:
        results: list[Any] = yield from recalled(parts, asked)
        return results
    if len(writes) > 1 and any(map(_goes_alone, writes)):
        raise OutageError(
            "creating, deleting or replacing all messages can't be one step with other writes "
            "until the store is back"
        )
    results = yield from journaled(parts, asked)
    return results
