"""Notices that other middleware has summed up what an agent's state began with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.messages import BaseMessage, SystemMessage

from langchain_sessionstore.summaries import is_summary, summarized, text_of
from sessionstore import (
    InvalidMessageError,
    SessionData,
    SessionMessage,
    StoreUnavailableError,
)
from sessionstore.integration import StoreFlow
from sessionstore.models import Summary, summary_of, summary_until
from sessionstore.operations import Get, GetMessages

__all__ = ["Summarized"]


class Summarized:
    """The summary that a turn's state begins with, and what the state held when it was seen last.

    A state tells what was summed up only by what it held before.
    """

    def __init__(self) -> None:
        """Start with a state that nobody has seen."""
        self._id: str | None = None
        self._text: str | None = None
        self._until: str | None = None
        self._viewed: list[str | None] | None = None
        self._first: str | None = None
        self._moved: str | None = None
        self._before: Sequence[BaseMessage] | None = None

    def is_shown(self, view: Sequence[SessionMessage]) -> bool:
        """Tell whether a session's view has a summary, and take note of it.

        Args:
            view: What the turn begins with.

        Returns:
            Whether it has one.
        """
        self._viewed = [message.id for message in view]
        summary = next(filter(summary_until, view), None)
        self._id = summary.id if summary else None
        self._until = summary_until(summary) if summary else None
        return summary is not None

    def before(self, state: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """Take note of a state, and give the one before it; of a first one, the same."""
        before, self._before = self._before, state
        if before is None:
            self.keep(_summary_in(state))
            before = state
        if self._first is None:
            said = (m.id for m in before if not (isinstance(m, SystemMessage) or is_summary(m)))
            self._first = next(said, None)
        return before

    def new_in(self, state: Sequence[BaseMessage]) -> BaseMessage | None:
        """Give the summary in a state that is not yet in the session.

        Args:
            state: The state.

        Returns:
            Its message; ``None`` where there is no other than before.
        """
        message = _summary_in(state)
        return None if message is None or message.id == self._id else message

    def keep(self, message: BaseMessage | None, until: str | None = None) -> None:
        """Take note that the session has a summary, and up to where."""
        if message is not None:
            self._id, self._until = message.id, until or self._until
            self._moved = until or self._moved
            self._text = text_of(message)

    def made_of(
        self, message: BaseMessage, earlier: Sequence[str], kept: Sequence[str]
    ) -> Summary | None:
        """Give a new summary as the session keeps it.

        Args:
            message: The middleware's message.
            earlier: The ids of what the state and the turn said before, in order.
            kept: The ids of what stands behind it now.

        Returns:
            The summary; ``None`` where it is not known what it covers.
        """
        end = next((earlier.index(id) for id in kept if id in earlier), len(earlier))  # noqa: A001
        until = earlier[end - 1] if end else self._until
        return summarized(message, until) if until else None

    def agreeing(
        self,
        summary: Summary,
        session_id: str,
        user_id: str | None,
        known: Sequence[str],
    ) -> StoreFlow[Summary | None]:
        """Have a summary end in front of what others said: it would hide that, and not tell it.

        Args:
            summary: The summary.
            session_id: The session.
            user_id: The caller.
            known: The ids of what was summed up, or is known beside it, in order.

        Returns:
            The summary, which may end earlier; ``None`` where the session keeps the one it has.
        """
        if self._viewed is None:  # a checkpointer's thread: others may have summed up, too
            session: SessionData | None = yield Get(session_id, 0, user_id)
            held = summary_of(session.metadata) if session else None
            if (held.text.strip() if held else None) != self._text:
                return None
            self._until = held.until if held else None
            start = self._until or self._first
        else:  # what a window has cut between a summary and the view, this agent shows nobody
            start = self._moved or self._first or self._until
        if start is None or summary.until == self._first:
            return summary
        if summary.until == self._until:  # nothing more is summed up
            return None
        try:
            log = yield GetMessages(session_id, len(known) + 1, after=start, user_id=user_id)
        except (InvalidMessageError, StoreUnavailableError):  # deleted meanwhile; an outage
            return None
        end = _end_of({*known, *(self._viewed or ())}, log, summary.until)
        return Summary(summary.text, end) if end else None


def _end_of(known: Iterable[str | None], log: Sequence[SessionMessage], until: str) -> str | None:
    """Give the last message in front of one that is not known, up to where it is wanted."""
    end = None
    for message in log:
        if message.id not in known and message.role != "tool":  # that keeps a place, or has no call
            return end
        end = message.id
        if end == until:
            return end
    return None


def _summary_in(state: Sequence[BaseMessage]) -> BaseMessage | None:
    return next((message for message in reversed(state) if is_summary(message)), None)
