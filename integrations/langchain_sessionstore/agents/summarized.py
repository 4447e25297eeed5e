"""Notices that other middleware has summed up what an agent's state began with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.messages import BaseMessage

from langchain_sessionstore.summaries import is_summary, summarized
from sessionstore import SessionMessage
from sessionstore.models import Summary, summary_until

__all__ = ["Summarized"]


class Summarized:
    """The summary that a turn's state begins with, and what the state held when it was seen last.

    A state tells what was summed up only by what it held before.
    """

    def __init__(self) -> None:
        """Start with a state that nobody has seen."""
        self._id: str | None = None
        self._until: str | None = None
        self._before: Sequence[BaseMessage] | None = None

    def is_shown(self, view: Iterable[SessionMessage]) -> bool:
        """Tell whether a session's view has a summary, and take note of it.

        Args:
            view: What the turn begins with.

        Returns:
            Whether it has one.
        """
        summary = next(filter(summary_until, view), None)
        if summary is not None:
            self._id, self._until = summary.id, summary_until(summary)
        return summary is not None

    def before(self, state: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """Take note of a state, and give the one before it; of a first one, the same."""
        before, self._before = self._before, state
        if before is None:
            self.keep(_summary_in(state))
            return state
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


def _summary_in(state: Sequence[BaseMessage]) -> BaseMessage | None:
    return next((message for message in reversed(state) if is_summary(message)), None)
