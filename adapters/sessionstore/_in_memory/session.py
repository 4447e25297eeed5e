"""A session as `InMemorySessionStore` keeps it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from sessionstore._runtime.clock import clock
from sessionstore.errors import InvalidMessageError, SessionNotFoundError
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionInfo,
    SessionMessage,
    decode_messages,
    decode_metadata,
    from_microseconds,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from sessionstore.operations import Swaps

__all__ = ["StoredSession", "with_system"]


class Tail(msgspec.Struct):
    """Messages at a session's end: the place of the first, and all of them."""

    start: int
    bodies: list[bytes]
    positions: dict[str, int]


class Removal(NamedTuple):
    """What is left of both ends of a session when some messages are taken out.

    Attributes:
        deleted: The ids of those messages, in order.
        tail: What follows, from a place on, instead of what was there.
        moved: The ids of what follows there, with their new positions.
        before: How many messages there were.
        head: What comes instead of the first ones.
        end: How many those were.
        kept: The ids of what comes instead of them, with their new positions.
        first: The new position of the first of all.
    """

    deleted: list[str]
    tail: Tail
    moved: dict[str, int]
    before: int
    head: list[bytes]
    end: int
    kept: dict[str, int]
    first: int


class StoredSession(msgspec.Struct):
    """A session as it is kept in memory: its messages as JSON, and where each of them is.

    A message's position counts from ``first``, that of the oldest: to delete what is near either
    end moves none of the others.

    What changes it comes in two parts, so that a store can repeat it where it broke off: one
    that looks (`fresh`, `removal`), and one that does it and may be done again (`grow`, `shrink`).
    """

    id: str
    agent_id: str
    user_id: str | None
    metadata: bytes
    created_at: int = msgspec.field(default_factory=clock.now)
    updated_at: int = 0
    version: int = 0
    # Its place in lists; and a number that only this state of it has, which each change gives.
    activity: int = 0
    state: int = 0
    # Kept as JSON, so that no later change to a caller's object reaches the store.
    bodies: list[bytes] = []
    positions: dict[str, int] = {}
    first: int = 0

    def place(self, message_id: str) -> int:
        """Give a message's place in the list."""
        return self.positions[message_id] - self.first

    def bounds(self, limit: int | None, before: str | None, after: str | None) -> tuple[int, int]:
        """Give the places that a read begins at and ends before."""
        start, end = 0, len(self.bodies)
        for named, way in ((before, "before"), (after, "on from")):
            if named and named not in self.positions:
                raise InvalidMessageError(f"the session has no message {named!r} to go {way}")
        if after is not None:
            start = self.place(after) + 1 if after else 0
            return start, end if limit is None else start + limit
        if before is not None:
            end = self.place(before)
        return start if limit is None else max(0, end - limit), end

    def fresh(self, records: Iterable[tuple[str, bytes]], older: Container[str] = ()) -> Tail:
        """Give the messages among these that are not there yet, as they would be added.

        Args:
            records: The messages, by their ids.
            older: The ids of messages that count as there, though they are not kept.
        """
        start, positions, position = len(self.bodies), self.positions, self.first
        bodies: list[bytes] = []
        fresh: dict[str, int] = {}
        position += start
        for message_id, body in records:
            if not (message_id in positions or message_id in fresh or message_id in older):
                fresh[message_id] = position
                bodies.append(body)
                position += 1
        return Tail(start, bodies, fresh)

    def up_to(self, message_id: str | None) -> Tail:
        """Give the messages up to and with one, or all, as another session would add them.

        Raises:
            SessionNotFoundError: There is no such message.
        """
        end = len(self.bodies)
        if message_id is not None:
            if message_id not in self.positions:
                raise SessionNotFoundError(f"the session has no message {message_id!r}")
            end = self.place(message_id) + 1
        positions = dict(zip(islice(self.positions, end), range(end), strict=True))
        return Tail(0, self.bodies[:end], positions)

    def grow(self, tail: Tail) -> None:
        """Add messages; to do so once more changes nothing."""
        self.bodies[tail.start :] = tail.bodies
        self.positions.update(tail.positions)

    def go_on(self, grown: tuple[bytes, Tail]) -> None:
        """Take other metadata, and add messages; to do so once more changes nothing."""
        self.metadata, tail = grown
        self.grow(tail)

    def add(self, records: Iterable[tuple[str, bytes]]) -> int:
        """Add the messages that are not there yet, and count them."""
        tail = self.fresh(records)
        self.grow(tail)
        return len(tail.bodies)

    def behind(self, message_id: str | None) -> list[str]:
        """Give the ids of all messages behind one that is there; ``None`` for those of all."""
        start = 0 if message_id is None else self.place(message_id) + 1
        return list(islice(reversed(self.positions), len(self.bodies) - start))[::-1]

    def removal(self, message_ids: Iterable[str]) -> Removal:
        """Tell how to take those messages out that are there, from both ends."""
        places = {self.place(held): held for held in message_ids if held in self.positions}
        count = len(self.bodies)
        start = min((place for place in places if place >= count // 2), default=count)
        end = max((place for place in places if place < count // 2), default=-1) + 1
        ids = list(islice(reversed(self.positions), count - start))[::-1]
        tail = [place for place in range(start, count) if place not in places]
        head = [place for place in range(end) if place not in places]
        first = self.first + end - len(head)
        old = list(islice(self.positions, end))
        return Removal(
            deleted=[places[place] for place in sorted(places)],
            moved={ids[place - start]: self.first + start + n for n, place in enumerate(tail)},
            tail=Tail(start, [self.bodies[place] for place in tail], {}),
            before=count,
            kept={old[place]: first + n for n, place in enumerate(head)},
            head=[self.bodies[place] for place in head],
            end=end,
            first=first,
        )

    def shrink(self, removal: Removal) -> None:
        """Take messages out; to do so once more, or from where it broke off, is the same."""
        without_tail = removal.tail.start + len(removal.tail.bodies)
        if len(self.bodies) == removal.before:
            self.bodies[removal.tail.start :] = removal.tail.bodies
        if len(self.bodies) == without_tail:
            self.bodies[: removal.end] = removal.head
        self.first = removal.first
        for message_id in (*removal.deleted, *removal.moved):
            self.positions.pop(message_id, None)
        self.positions.update(removal.kept)
        self.positions.update(removal.moved)

    def remove(self, message_ids: Iterable[str]) -> list[str]:
        """Take those messages out that are there, and give their ids in order."""
        removal = self.removal(message_ids)
        self.shrink(removal)
        return removal.deleted

    def become(self, changed: tuple[bytes, list[tuple[str, bytes]] | None]) -> None:
        """Take other metadata, and other messages if some are given."""
        self.metadata, records = changed
        if records is not None:
            self.bodies, self.first = [body for _, body in records], 0
            self.positions = {message_id: place for place, (message_id, _) in enumerate(records)}

    def take(self, draft: StoredSession) -> None:
        """Become what a copy of it was made into."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(draft, name))

    def put(self, record: tuple[str, bytes]) -> None:
        """Swap a message for another, in its place."""
        self.bodies[self.place(record[0])] = record[1]

    def swapped(self, swaps: Swaps) -> tuple[tuple[bytes, list[tuple[str, bytes]]], int]:
        """Give what is to be put in for what is still as it was; and how many these are."""
        there = [held for held in swaps.messages if held in self.positions]
        records = swaps.of_messages([(held, self.bodies[self.place(held)]) for held in there])
        metadata, count = swaps.of_metadata(self.metadata)
        return (self.metadata if metadata is None else metadata, records), len(records) + count

    def put_all(self, changed: tuple[bytes, list[tuple[str, bytes]]]) -> None:
        """Take other metadata, and swap messages for others; to do so once more is the same."""
        self.metadata, records = changed
        for record in records:
            self.put(record)

    def copy(self) -> Self:
        """Give a copy that no change of this one reaches."""
        return replace(self, bodies=self.bodies.copy(), positions=self.positions.copy())

    def scopes(self) -> Sequence[tuple[str, str | None] | None]:
        """Give the lists that the session stands in."""
        if self.user_id is None:
            return None, ("agent", self.agent_id)
        return None, ("agent", self.agent_id), ("user", self.user_id)

    def info(self, last: int = 0) -> SessionInfo:
        """Give what a list shows of the session, with so many of its last messages."""
        messages = decode_messages(self.id, self.last(last)) if last else []
        return SessionInfo(**self.head(), messages=messages)

    def last(self, limit: int | None) -> list[bytes]:
        """Give the last messages."""
        return self.bodies[0 if limit is None else max(0, len(self.bodies) - limit) :]

    def head(self) -> dict[str, Any]:
        """Give the fields that `SessionData` and `SessionInfo` share."""
        return {
            "id": self.id,
            "agent_id": self.agent_id,
            "user_id": self.user_id,
            "metadata": decode_metadata(self.metadata),
            "created_at": from_microseconds(self.created_at),
            "updated_at": from_microseconds(self.updated_at),
            "version": self.version,
            "message_count": len(self.bodies),
        }


def with_system(session_id: str, first: list[bytes], last: list[bytes]) -> list[SessionMessage]:
    """Decode a session's last messages, and put its first in front if it is a system message.

    Args:
        session_id: The session.
        first: Its first message; empty where that is not wanted.
        last: Its last messages.

    Returns:
        The messages.

    Raises:
        CorruptMessageError: One can't be read.
    """
    messages = decode_messages(session_id, first + last)
    return messages[1:] if first and messages[0].role not in SYSTEM_ROLES else messages
