"""Entries of an index: session, agent and user, each percent-encoded, by last activity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sessionstore.errors import CorruptMessageError
from sessionstore.models import SessionInfo
from sessionstore.redis import scripts
from sessionstore.redis.calls import Call, number
from sessionstore.redis.heads import decode_info, pairs
from sessionstore.redis.keys import Layout, decoded_id

__all__ = ["TIES", "Entry", "Scope", "drops", "is_entry", "touches"]

TIES = 50
"""Microseconds by which an index under Cluster may move an activity on, to keep them apart."""
_PARTS = 3
_MOST_BODIES = 10_000


class Scope(NamedTuple):
    """Which entries of an index a list is about, and what it wants of their sessions.

    Attributes:
        key: The index's.
        agent: The agent to look for, where the index is not the agent's; or nothing.
        since: From which activity on.
        last: How many of each session's last messages.
    """

    key: bytes
    agent: bytes
    since: bytes
    last: int

    def most(self, limit: int) -> int:
        """Give how many sessions to look at in one step, of so many: others wait for it."""
        return min(limit, max(1, _MOST_BODIES // self.last)) if self.last else limit


class Entry(NamedTuple):
    """An entry of an index, with its session's head and last messages where they were looked up."""

    member: bytes
    activity: bytes
    head: list[bytes]
    bodies: Sequence[bytes] = ()

    @property
    def id(self) -> str:
        """The session's id."""
        return decoded_id(self.member)

    def info(self) -> SessionInfo | None:
        """Give the session, or nothing where its head or its last messages can't be read."""
        try:
            return decode_info(self.id, self.head, self.bodies)
        except (CorruptMessageError, UnicodeDecodeError):
            return None

    def is_of(self, head: list[bytes]) -> bool:
        """Tell whether a head is of this session, with its agent and user."""
        fields = pairs(head)
        return self.member.split(b"/")[1:] == [fields.get(b"agent"), fields.get(b"user")]


def is_entry(member: bytes) -> bool:
    """Tell whether the store may have written it."""
    return member.count(b"/") == _PARTS - 1


# Under Cluster each index has a slot of its own, and scripts that change nothing else.


def touches(layout: Layout, entry: Entry) -> list[Call]:
    """Give the calls that enter a session into its indexes under Cluster."""
    args = (entry.member, entry.activity, layout.ttl)
    return [Call.of(scripts.TOUCH, keys, args) for keys in layout.indexes(entry.member)]


def drops(layout: Layout, entry: Entry) -> list[Call]:
    """Give the calls that take a session out of its indexes, unless it was entered since."""
    args = (entry.member, number(int(entry.activity) + TIES))
    return [Call.of(scripts.DROP, keys, args) for keys in layout.indexes(entry.member)]
