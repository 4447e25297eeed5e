"""`KnownSession`: what is known of one session of a primary."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from sessionstore._in_memory.session import Removal, StoredSession
from sessionstore.errors import StoreUnavailableError
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    decode_message,
    encode_message,
    encode_metadata,
    to_microseconds,
    without_summary,
)
from sessionstore.operations import GetMessages

__all__ = ["KnownSession", "Origin"]

_OLDER = 10  # times as many ids as messages are kept


class Origin(Enum):
    """How it is known that there is a session.

    Attributes:
        PRIMARY: From the primary.
        APPENDED: It was first appended to in an outage: nothing is known of its past.
        MADE: It was made in an outage: the primary may turn out to hold another.
    """

    PRIMARY = "primary"
    APPENDED = "appended"
    MADE = "made"


class Rewound(NamedTuple):
    """Messages that are gone from the end of a session.

    Attributes:
        taken: What `KnownSession.take_out` is to do.
        emptied: There are no others before them.
    """

    taken: tuple[Removal, int, int, Sequence[str]]
    emptied: bool


class KnownSession(StoredSession):
    """What is known of a session: its last messages, in one piece.

    Attributes:
        certain: Its owner, or lack of one, was told by the primary or by its maker.
        current: The primary said so when it was asked last, or has acknowledged it since.
        partial: There are messages before these, or may be.
        origin: How it is known that there is the session.
        sure: How many of the messages, from the first on, have nothing missing between them.
        older: The ids of messages that were cut off, so that none of them is taken for a new one.
        system: The session's first message, if that is a system message that was cut off.
        hidden: How many messages there are before these, as far as is known.
    """

    certain: bool = False
    current: bool = False
    partial: bool = False
    origin: Origin = Origin.PRIMARY
    sure: int = 0
    older: dict[str, None] = msgspec.field(default_factory=dict)
    system: bytes = b""
    hidden: int = 0

    def head(self) -> dict[str, Any]:
        """Give the fields that `SessionData` and `SessionInfo` share."""
        return {**StoredSession.head(self), "message_count": self.hidden + len(self.bodies)}

    @property
    def is_sure(self) -> bool:
        """Whether nothing is missing between the messages."""
        return self.sure == len(self.bodies)

    @property
    def is_whole(self) -> bool:
        """Whether all of it is known: each message, the owner, the agent and the metadata.

        Of one that was made in an outage, its maker knows all.
        """
        if self.partial or self.hidden or not self.certain:
            return False
        if self.origin is Origin.PRIMARY:
            return self.current and self.is_sure
        return self.origin is Origin.MADE

    @property
    def system_id(self) -> str | None:
        """The id of the system message that was cut off."""
        return decode_message(self.system).id if self.system else None

    def put_system(self, body: bytes) -> None:
        """Swap the system message that was cut off for another."""
        self.system = body

    def copy(self) -> KnownSession:
        """Give a copy that no change of this one reaches."""
        return replace(
            self,
            bodies=self.bodies.copy(),
            positions=self.positions.copy(),
            older=self.older.copy(),
        )

    def lacks(self, message_ids: Sequence[str]) -> bool:
        """Tell whether a message may be there, but is not known."""
        if not self.partial and self.is_sure:
            return False
        return not self.positions.keys() >= set(message_ids)

    def become(self, changed: tuple[bytes, list[tuple[str, bytes]] | None]) -> None:
        """Take other metadata, and other messages if some are given."""
        StoredSession.become(self, changed)
        if changed[1] == []:  # emptied: also of what is not known
            self.become_all(changed)

    def become_all(self, changed: tuple[bytes, list[tuple[str, bytes]] | None]) -> None:
        """Take other metadata, and those messages: there are no older ones any more."""
        StoredSession.become(self, changed)
        self.older, self.system, self.hidden, self.partial = {}, b"", 0, False
        self.sure = len(self.bodies)

    def take_out(self, change: tuple[Removal, int, int, Sequence[str]]) -> None:
        """Take messages out; to do so once more is the same.

        Args:
            change: What is left then; how many of that have nothing missing between them; how many
                are before that; the ids.
        """
        removal, self.sure, self.hidden, message_ids = change
        self.shrink(removal)
        if self.system_id in message_ids:
            self.system = b""
        self.metadata = without_summary(self.metadata, message_ids)
        for message_id in message_ids:
            self.older.pop(message_id, None)

    def knows_behind(self, message_id: str | None) -> bool:
        """Tell whether all messages behind one are known, or all that there are."""
        if self.origin is not Origin.PRIMARY:  # others' are none that a caller could know of
            return message_id in self.positions or (
                message_id is None and self.origin is Origin.MADE
            )
        is_known = message_id in self.positions or not self.partial
        return is_known and self.current and self.is_sure

    def rewound(self, gone: Sequence[str], *, emptied: bool) -> Rewound:
        """Tell what is left without messages that the primary has deleted from the end.

        Args:
            gone: Their ids.
            emptied: They were all that there were.
        """
        removal = self.removal(gone)
        deleted = len(removal.deleted)
        hidden = 0 if emptied else max(0, self.hidden - (len(gone) - deleted))
        return Rewound((removal, max(0, self.sure - deleted), hidden, gone), emptied)

    def take_back(self, change: Rewound) -> None:
        """Take messages out of the end; to do so once more is the same."""
        self.take_out(change.taken)
        if change.emptied:
            self.older, self.system, self.partial = {}, b"", False

    # -- What the primary says --------------------------------------------------------------------

    def agrees_with(self, data: SessionData, most: int, *, whole: bool) -> bool:
        """Tell whether all that the primary has given is known.

        Args:
            data: The session, or its last messages.
            most: How many messages are to be known.
            whole: Whether these are all of its messages.
        """
        count = len(data.messages)
        return (
            self.current
            and self.version == data.version
            and (not (self.partial and whole) or count >= most)
            and len(self.bodies) >= min(count, most)
            and (not count or data.messages[-1].id == next(reversed(self.positions)))
            and not self.is_resealed(data)
        )

    def is_resealed(self, data: SessionData) -> bool:
        """Tell whether the primary has the same messages in another form: see `Reseal`."""
        last = data.messages[-1:]
        return bool(
            last
            and self.current
            and self.version == data.version
            and self._last_ids(1) == [last[0].id]
            and (self._is_other(last[0]) or self.begins_in_another_form(data.messages))
        )

    def begins_in_another_form(self, messages: Sequence[SessionMessage]) -> bool:
        """Tell whether the first of the last messages, as far as it is known, is another by now.

        The last one may have been under the newer key from the beginning. Without extras it is not
        sealed at all, and what is not is not compared.
        """
        first = messages[-len(self.bodies) :][:1] if self.bodies else ()
        return bool(first and first[0].extra and self._is_other(first[0]))

    def has_other_metadata(self, data: SessionData) -> bool:
        """Tell whether the primary has other metadata, which at one version is a `Reseal` alone."""
        return bool(data.metadata) and self.metadata != encode_metadata(data.metadata)

    def ends_with(self, messages: Sequence[SessionMessage]) -> bool:
        """Tell whether these are known to be the session's last messages."""
        ids = [message.id for message in messages]
        return (
            self.current
            and ids == self._last_ids(len(ids))
            and not (ids and self._is_other(messages[-1]))
            and not self.begins_in_another_form(messages)
        )

    def _is_other(self, message: SessionMessage) -> bool:
        name = str(message.id)
        return name in self.positions and self.bodies[self.place(name)] != encode_message(message)

    def learned(
        self, messages: Sequence[SessionMessage], most: int, *, whole: bool
    ) -> KnownSession:
        """Give what is known when the primary has told the last messages.

        Args:
            messages: The messages.
            most: How many are to be known.
            whole: Whether these are all.
        """
        last = messages[-most:]
        records = [(str(message.id), encode_message(message)) for message in last]
        ids = [message_id for message_id, _ in records]
        if not whole and ids == self._last_ids(len(ids)):
            front = self.bodies[: len(self.bodies) - len(ids)]
            return replace(self, bodies=front + [body for _, body in records], current=True)
        older = [] if whole else [*self.older, *self.positions]
        older += [str(message.id) for message in messages[:-most]]
        front_records = [] if whole else self._front(ids[0])
        cut = len(last) < len(messages)
        system = self.system
        if whole:
            system = encode_message(messages[0]) if cut and _is_system(messages[0]) else b""
        session = replace(self, bodies=[], positions={}, first=0, older={}, system=system)
        session.add([*front_records, *records])
        session.remember_older(older, most)
        total = len(messages) if whole else max(self.hidden + len(self.bodies), len(messages))
        session.hidden = max(0, total - len(session.bodies))
        session.sure = len(session.bodies)
        session.partial = cut if whole else session.partial or not front_records
        session.current, session.origin = True, Origin.PRIMARY
        return session

    def learn_head(self, head: SessionData | SessionInfo) -> None:
        """Take note of all but the messages."""
        self.user_id: str | None = head.user_id
        self.agent_id: str = head.agent_id
        self.metadata: bytes = encode_metadata(head.metadata)
        self.created_at: int = to_microseconds(head.created_at)
        self.updated_at: int = to_microseconds(head.updated_at)
        self.version: int = head.version
        self.hidden = max(0, head.message_count - len(self.bodies))
        self.certain = True

    def _front(self, first: str) -> list[tuple[str, bytes]]:
        """Give what comes before a message without a gap."""
        place = self.place(first) if first in self.positions else self.sure + 1
        if place > self.sure:
            return []
        return list(zip(islice(self.positions, place), self.bodies, strict=False))

    def _last_ids(self, count: int) -> list[str]:
        return list(islice(reversed(self.positions), count))[::-1]

    def forked(self, info: SessionInfo) -> KnownSession | None:
        """Give what is known of a session that the primary has made of this one.

        Args:
            info: The new session: how many messages it has, and which is the last, tells whether
                these are the primary's.

        Returns:
            The new one; ``None`` where its messages are not known.
        """
        last = info.metadata["forked_from"]["message_id"]
        count = 0 if last is None else self.place(last) + 1 if last in self.positions else -1
        if not 0 <= count <= self.sure or info.message_count != self.hidden + count:
            return None
        positions = dict(zip(islice(self.positions, count), range(count), strict=True))
        bodies, older = self.bodies[:count], self.older.copy()
        named = {"id": info.id, "bodies": bodies, "positions": positions, "older": older}
        session: KnownSession = replace(self, first=0, **named)
        session.learn_head(info)
        # One of them may have been replaced since: the next read tells.
        session.sure, session.current, session.origin = count, False, Origin.PRIMARY
        return session

    # -- Within bounds ----------------------------------------------------------------------------

    def cut_to(self, most: int) -> KnownSession:
        """Give what is left when only the last messages are kept."""
        cut = len(self.bodies) - most
        session = self.copy()
        if not self.partial and _is_system(decode_message(self.bodies[0])):
            session.system = self.bodies[0]
        ids = list(islice(self.positions, cut))
        session.remove(ids)
        session.hidden += cut
        session.partial, session.sure = True, max(0, self.sure - cut)
        session.remember_older(ids, most)
        return session

    def remember_older(self, ids: list[str], most: int) -> None:
        """Know of messages that are not kept that they are there."""
        for message_id in ids[-_OLDER * most :]:
            if message_id not in self.positions:
                self.older[message_id] = None
        surplus = len(self.older) - _OLDER * most
        for message_id in list(islice(self.older, max(0, surplus))):
            del self.older[message_id]

    def refuse_older(self, read: GetMessages) -> None:
        """Refuse to read messages that are not known.

        Raises:
            StoreUnavailableError: Some of them may be older than those that are.
        """
        reached = read.after is None
        if read.before is not None:
            place = self.place(read.before) if read.before in self.positions else 0
            reached = read.limit is not None and read.limit <= place
        if read.after is not None:
            reached = read.after in self.positions
        if not reached:
            raise StoreUnavailableError("older messages can't be read until the store is back")


def _is_system(message: SessionMessage) -> bool:
    return message.role in SYSTEM_ROLES
