"""Trying the primary now, and the end of a fallback."""

from __future__ import annotations

import logging

from sessionstore.errors import SessionStoreError, StoreBusyError, StoreUnavailableError
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.memory import InMemorySessionStore
from sessionstore.operations import Ping
from sessionstore.wrapper import unwrapped

__all__ = ["closing", "recovering"]

_logger = logging.getLogger("sessionstore")


def recovering(parts: Parts) -> FallbackFlow[bool]:
    """Try the primary now, and replay all that waits for it.

    Returns:
        Whether it is there, nothing waits for it any more, and the journal says so.
    """
    permit = parts.health.permit(now=True)
    if permit is None:  # somebody is trying just now
        return False
    whole = False
    try:
        yield from ask(parts.primary, Ping())
        parts.triage.heard(None)
        parts.circuits.clear(parts.journal.holds)
        if not permit.needs_write:
            parts.triage.back(permit)
        whole = yield from parts.adopter.adopt()
        yield from parts.replay.all(permit)
    except SessionStoreError as error:
        away = isinstance(error, StoreUnavailableError) and not isinstance(error, StoreBusyError)
        if permit.is_probe or away:
            parts.health.failed(permit, error)
    finally:
        parts.health.end(permit)
    return whole and not (parts.health.is_degraded or _waits(parts))


def closing(parts: Parts) -> FallbackFlow[None]:
    """Replay what waits, if the primary is there, and own nothing any more."""
    try:
        if _waits(parts):
            yield from recovering(parts)
        else:  # what is done with is not to be replayed by the next one
            yield from parts.journal.obsolete.sweep()
    finally:
        parts.journal.leave()
    waiting = parts.journal.size
    if waiting and isinstance(unwrapped(parts.fallback), InMemorySessionStore):
        _logger.error("closed with %d writes that the store lacks: see pending()", waiting)
    if parts.journal.has_unnoted:
        _logger.error("closed before the fallback could note what was replayed: see its store")


def _waits(parts: Parts) -> bool:
    return bool(parts.journal.size or parts.journal.has_unnoted)
