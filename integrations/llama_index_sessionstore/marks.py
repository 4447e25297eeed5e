"""How far a session is archived: what its metadata say of it, and how it is found in its log."""

from __future__ import annotations

from typing import Any, NamedTuple

from llama_index_sessionstore.chat_store import METADATA
from sessionstore import SessionData, SessionMessage

__all__ = ["Mark", "archived_of", "known_active", "mark_of"]

# How many messages are archived, and which are the last of those. Several, since other users of the
# session may delete some: then the one before counts.
_COUNT, _LAST = "archived", "last_archived"
_TRAIL = 8


class Mark(NamedTuple):
    """How far a session is archived: how many messages, and the ids of the last of them."""

    archived: int = 0
    trail: tuple[str, ...] = ()

    def beyond(self, messages: list[SessionMessage]) -> Mark:
        """Give the mark behind so many more messages."""
        ids = [str(message.id) for message in messages[-_TRAIL:]]
        return Mark(self.archived + len(messages), (*self.trail, *ids)[-_TRAIL:])

    def without(self, lost: int) -> Mark:
        """Give the mark when so many of the last archived messages are no longer there."""
        kept = self.trail[: len(self.trail) - lost]
        return Mark(max(self.archived - lost, 1), kept) if kept else Mark()

    def without_these(self, ids: list[str]) -> Mark:
        """Give the mark when these archived messages were deleted."""
        trail = tuple(one for one in self.trail if one not in ids)
        return Mark(max(self.archived - len(ids), 1), trail) if trail else Mark()

    def metadata(self) -> dict[str, Any]:
        """Give what the session's metadata say of it."""
        return {METADATA: {_COUNT: self.archived, _LAST: self.trail} if self.trail else None}


def mark_of(session: SessionData | None) -> Mark:
    """Give how far a session is archived, as its metadata say.

    Args:
        session: The session; its messages are not looked at.

    Returns:
        The mark; that of a session without archived messages where the metadata say nothing.
    """
    stored = session.metadata.get(METADATA) if session else None
    if not isinstance(stored, dict):
        return Mark()
    count, trail = stored.get(_COUNT), stored.get(_LAST)
    known = isinstance(trail, list) and all(isinstance(one, str) and one for one in trail)
    if not known or not trail or not isinstance(count, int):
        return Mark()
    return Mark(max(count, 1), tuple(trail))


def archived_of(mark: Mark, messages: list[SessionMessage]) -> list[SessionMessage]:
    """Give the archived messages: fewer than are counted, where somebody has deleted some since.

    Args:
        mark: How far the session is archived.
        messages: As many of its first messages as are counted as archived.

    Returns:
        Those up to the last archived one that is there.
    """
    ends = [at for at, message in enumerate(messages, 1) if message.id in mark.trail]
    if ends and messages[ends[-1] - 1].id == mark.trail[-1]:
        return messages[: ends[-1]]
    return messages


def known_active(
    session: SessionData | None, *, whole: bool = False
) -> tuple[Mark, list[SessionMessage]] | None:
    """Give the mark and the active messages, where all of them are among those that were read.

    Args:
        session: The session, with its last messages.
        whole: Nobody can read more of it.

    Returns:
        Both; ``None`` where some active messages were not read.
    """
    if session is None:
        return Mark(), []
    mark = mark_of(session)
    places = {message.id: at for at, message in enumerate(session.messages, 1)}
    for lost, last in enumerate(reversed(mark.trail)):
        if last in places:
            active = session.messages[places[last] :]
            return Mark(session.message_count - len(active), mark.without(lost).trail), active
    if whole or len(session.messages) == session.message_count:
        return Mark(), session.messages
    return None
