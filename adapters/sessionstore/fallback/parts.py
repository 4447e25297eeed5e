"""`Parts`: what a fallback is made of, for its operations to work with."""

from __future__ import annotations

from typing import NamedTuple

from sessionstore.fallback.adopter import Adopter
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.circuits import Circuits
from sessionstore.fallback.health import Health
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.replay import Replay
from sessionstore.fallback.triage import Triage
from sessionstore.models import new_id
from sessionstore.store import SessionStore

__all__ = ["Limits", "Parts"]


class Limits(NamedTuple):
    """How much a fallback remembers.

    Attributes:
        max_sessions: Of how many sessions something is cached.
        max_messages: How many of the last messages of each.
        max_pending: How many writes may wait.
    """

    max_sessions: int
    max_messages: int
    max_pending: int


class Parts(NamedTuple):
    """What a fallback is made of.

    Attributes:
        primary: Where the sessions are.
        fallback: Where the journal is.
        raises_unknown: Whether a session never seen raises in an outage.
        health: Whether the primary is there.
        circuits: The sessions that it does not answer for.
        triage: What an error of it tells.
        cache: What is known of its sessions.
        journal: What it does not have yet.
        replay: Brings it that.
        adopter: Takes over what other processes have left.
        cursor: What the cursor of a list that began in an outage begins with.
    """

    primary: SessionStore
    fallback: SessionStore
    raises_unknown: bool
    health: Health
    circuits: Circuits
    triage: Triage
    cache: SessionCache
    journal: Journal
    replay: Replay
    adopter: Adopter
    cursor: str

    @classmethod
    def made(
        cls,
        primary: SessionStore,
        fallback: SessionStore,
        health: Health,
        circuits: Circuits,
        limits: Limits,
        *,
        raises_unknown: bool,
    ) -> Parts:
        """Put them together, with nothing cached or journaled."""
        cache = SessionCache(limits.max_sessions, limits.max_messages)
        journal = Journal(fallback, limits.max_pending, cache.unpin, health.events)
        triage = Triage(primary, health, circuits)
        return cls(
            primary=primary,
            fallback=fallback,
            raises_unknown=raises_unknown,
            health=health,
            circuits=circuits,
            triage=triage,
            cache=cache,
            journal=journal,
            replay=Replay(primary, journal, triage),
            adopter=Adopter(journal, fallback, cache),
            cursor=f"outage-{new_id()}:",
        )

    def knows(self, view: SessionCache, session_id: str) -> bool:
        """Tell whether a session was seen, or written to in this outage."""
        return view.knows(session_id) or (view is self.cache and self.journal.has_shown(session_id))
