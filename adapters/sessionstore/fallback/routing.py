"""Whom to ask: the primary where that may answer, and the fallback where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sessionstore.errors import (
    OutageError,
    SessionStoreError,
    StoreBusyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.health import PING, Permit
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow, Request, ask, by
from sessionstore.operations import Operation, Ping

__all__ = ["Route", "operate"]

T = TypeVar("T")


class Route(NamedTuple):
    """What a fallback does for an operation, beside asking its primary.

    Attributes:
        learn: Has the cache take note of the operation and the primary's result; it is given its
            stamp from before that, too.
        answer: Carries the operation out without the primary.
        writes: Whether the primary must take writes for it.
        reads: Whether the cache learns from what the primary gives.
        also: Names the session that the operation makes, where that is another one.
    """

    learn: Callable[[SessionCache, Any, Any, int], None]
    answer: Callable[[Parts, Any], FallbackFlow[Any]]
    writes: bool = False
    reads: bool = True
    also: Callable[[Any], str] | None = None


# In seconds: what the fallback has at least, where the primary's timeout is not shorter.
_LEAST = 1.0
# Of a call's time, when nothing more is begun that it does not need.
_UPKEEP_ENDS = 0.75


def operate(parts: Parts, operation: Operation[Any], route: Route) -> FallbackFlow[Any]:
    """Ask the primary, where that may answer; else, or if it does not, answer.

    Args:
        parts: The fallback.
        operation: The operation.
        route: What to do for it.
    """
    session_id = PING if type(operation) is Ping else operation.about
    started, deadline, writes = time.monotonic(), None, route.writes
    permit = parts.triage.enter(session_id, reads=not writes)
    if permit is None:
        return (yield from _answered(parts, route.answer(parts, operation), started))
    probes = permit.is_probe
    other = route.also(operation) if route.also else None
    learned = other or session_id
    stamp = 0 if learned is None or not route.reads else parts.cache.stamp(learned)
    try:
        ready = True
        if probes or (session_id is not None and parts.journal.holds(session_id)):
            deadline = parts.triage.deadline()
            ready = yield from _make_ready(parts, session_id, permit, deadline)
            started = time.monotonic()
        if ready and other is not None and parts.journal.holds(other):
            deadline = parts.triage.deadline() if deadline is None else deadline
            ready = yield from _make_other_ready(parts, other, permit, deadline)
            started = time.monotonic()
        if ready:
            result = yield Request(parts.primary, operation, deadline)
            parts.triage.heard(session_id)
            route.learn(parts.cache, operation, result, stamp)
            if probes or parts.journal.has_work or parts.adopter.looks_again_at is not None:
                yield from _keep_up(parts, permit, started, wrote=writes)
            return result
    except (StoreBusyError, OutageError):  # it is there, and this is the caller's to know
        parts.triage.heard(None)
        raise
    except StoreUnavailableError as error:
        parts.triage.failed(session_id, permit, error, started, deadline)
    except SessionStoreError:  # a caller's mistake: to tell so needs a primary that is there
        parts.triage.heard(session_id)
        yield from _keep_up(parts, permit, started, wrote=False)
        raise
    finally:
        parts.triage.leave(session_id, permit)
    return (yield from _answered(parts, route.answer(parts, operation), started))


def _answered(parts: Parts, flow: FallbackFlow[T], started: float) -> FallbackFlow[T]:
    """Give an answer of the fallback what is left of the call's time, but not too little.

    A file that another process holds just now is waited for in that time, and no longer.
    """
    timeout = parts.primary.timeout
    if timeout is None:
        return flow
    return by(max(started + timeout, time.monotonic() + min(timeout, _LEAST)), flow)


def _make_ready(
    parts: Parts, session_id: str | None, permit: Permit, deadline: float | None
) -> FallbackFlow[bool]:
    """End the outage, if it can be, and replay the session's writes before the call."""
    if permit.is_probe and not permit.needs_write:
        try:
            yield from ask(parts.primary, Ping(), deadline)
        except SessionStoreError as error:  # whatever it is, this caller has not asked for it
            parts.health.failed(permit, error)
            return False
        parts.triage.back(permit)
    if session_id is None or not parts.journal.holds(session_id):
        return True
    if parts.health.is_degraded and not permit.is_probe:
        return False  # it takes no writes
    return (yield from by(deadline, parts.replay.session(session_id, permit, deadline)))


def _make_other_ready(
    parts: Parts, session_id: str, permit: Permit, deadline: float | None
) -> FallbackFlow[bool]:
    """Replay the writes of the session that a call makes: it is not to come before them."""
    if parts.circuits.is_open(session_id) or (parts.health.is_degraded and not permit.is_probe):
        return False
    started = time.monotonic()
    try:
        return (yield from by(deadline, parts.replay.session(session_id, permit, deadline)))
    except StoreTimeoutError as error:  # that one's, and none of the session that was asked for
        parts.triage.failed(session_id, permit, error, started, deadline)
        return False


def _keep_up(parts: Parts, permit: Permit, started: float, *, wrote: bool) -> FallbackFlow[None]:
    """Do what else is due after the primary has answered, in the time that is left.

    Nothing of it fails the caller.
    """
    if wrote:
        parts.triage.back(permit)
        parts.replay.took_another()
    timeout = parts.primary.timeout
    deadline = None if timeout is None else started + timeout * _UPKEEP_ENDS
    if deadline is None or time.monotonic() < deadline:
        yield from by(deadline, _upkeep(parts, permit, deadline))


def _upkeep(parts: Parts, permit: Permit, deadline: float | None) -> FallbackFlow[None]:
    if parts.adopter.is_due:
        yield from parts.adopter.adopt()
    if parts.journal.has_work and not parts.health.is_degraded:
        yield from parts.replay.next_one(permit, deadline)
