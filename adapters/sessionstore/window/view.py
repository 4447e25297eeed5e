"""`Window`: reading what an agent sees of a session, and choosing it from a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from sessionstore.arguments import named_messages
from sessionstore.errors import InvalidMessageError
from sessionstore.flow import aplay, play
from sessionstore.models import SYSTEM_ROLES, MessageLike, SessionMessage, Summary, summary_of
from sessionstore.operations import GetMessages
from sessionstore.store import SessionStore
from sessionstore.window.reading import Reading, newest
from sessionstore.window.tokens import TokenCounter, count_tokens, is_counter
from sessionstore.window.turns import Turn, turns_behind, turns_of

__all__ = ["Window"]

_PAGE = 50
_TRIES = 3


class Window(msgspec.Struct, frozen=True):
    """What an agent sees of a session: its newest whole turns, within limits.

    A turn is a user's message with all that follows it up to the next one. A view

    - keeps the system messages (and OpenAI's "developer" messages) that came up in the turns it
      shows, and the one that the session begins with, in front (each text once);
    - starts at a user's message, and keeps at least the last turn, even one beyond the limits.
      What came before the first user's message, such as a greeting, is not shown: models take no
      conversation that the assistant begins;
    - puts each tool's result right behind its call, in the order of the calls, and leaves out a
      result without a call, and one whose metadata says ``{"pending": True}``: it only keeps a
      place in the log;
    - closes a call whose result never came with one that says so, unless the call is the last
      message: its approval may be pending. Whoever puts new input behind a view has to close it,
      unless that is its result; `langchain_sessionstore` does;
    - gives a call without an id, or with the id of a newer call, an id of its own;
    - shows the summary that the session's metadata holds, ``{"summary": {"text": "...", "until":
      "<message id>"}}``, in place of the messages up to and with that one, as a user's message in
      front of those that follow. It is read in the same step. One whose message is not in the log
      any more, after a rewind or in a fork, is not shown.

    Example:
        >>> from sessionstore import SessionMessage, Window
        >>> log = [SessionMessage("user", "1"), SessionMessage("assistant", "2")] * 3
        >>> [message.content for message in Window(max_messages=3).view(log)]
        ['1', '2']

    Args:
        max_messages: At most so many messages, system messages aside; ``None`` for no limit.
        max_tokens: At most so many tokens; ``None`` for no limit. A turn that does not fit, be it
            for one huge result of a tool, hides itself and what is older; the last turn is shown.
        token_counter: Counts the tokens of a list of `SessionMessage`; `approximate_tokens` if
            ``None``. It is called once for what stands in front, and once for each turn that may be
            in the view, newest first, and its numbers are added up; it runs where the view is made,
            on the event loop too. What it raises reaches the caller. In `langchain_sessionstore` it
            may be a LangChain model or LangChain's `count_tokens_approximately`, which are given
            LangChain's messages.

    Raises:
        ValueError: A limit is not a whole number of 1 or more.
        TypeError: The token counter can't be called.
    """

    max_messages: int | None = None
    max_tokens: int | None = None
    token_counter: TokenCounter | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("max_messages", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of 1 or more, or None")
        if self.token_counter is not None and not is_counter(self.token_counter):
            kind = type(self.token_counter).__name__
            raise TypeError(f"token_counter must be a function or a model, not {kind}")

    def load(
        self, store: SessionStore, session_id: str, *, user_id: str | None = None
    ) -> list[SessionMessage]:
        """Read the view of a session, at a cost that follows the window, not the session.

        One message more than `max_messages` is read, or pages of 50, 100, 200 … until `max_tokens`
        are full; more only where the last turn is longer than that. Where a summary ends before
        what was read, one request more asks whether its last message is still there.

        Args:
            store: Where the session is.
            session_id: Its id.
            user_id: The caller, where ownership is to be checked.

        Returns:
            The view; ``[]`` when there is no session.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionStoreError: The store's other errors, as for `SessionStore.get_messages`.
            TypeError: As for `view`.
            ValueError: As for `view`.
        """
        return play(self.loading(session_id, user_id), store.run)

    async def aload(
        self, store: SessionStore, session_id: str, *, user_id: str | None = None
    ) -> list[SessionMessage]:
        """Async twin of `load`."""
        return await aplay(self.loading(session_id, user_id), store.arun)

    def view(
        self, messages: Sequence[MessageLike], *, metadata: Mapping[str, Any] | None = None
    ) -> list[SessionMessage]:
        """Give the view of a log, or of as much of its end as was read.

        Args:
            messages: The messages, oldest first, up to the last one.
            metadata: The session's, for its summary: it is taken to end before these messages where
                its last one is not among them. ``None`` for no summary.

        Returns:
            Those that the agent sees.

        Raises:
            TypeError: The token counter is async, gives no number, or is a model that only
                `langchain_sessionstore` can ask.
            ValueError: The token counter gives a negative number, or NaN.
            InvalidMessageError: One of them is neither a message nor a mapping of its fields.
        """
        return self._view(named_messages(messages), summary_of(metadata or {}))

    def _view(
        self, log: Sequence[SessionMessage], summary: Summary | None = None
    ) -> list[SessionMessage]:
        front = _Front(_first(log), summary)
        return self._shown(front, front.turns_of(log), _Tokens(self, front))

    def loading(
        self, session_id: str, user_id: str | None, *, before: str | None = None
    ) -> Reading[list[SessionMessage]]:
        """Give `load` as a flow of operations; or the view of what is before a message."""
        for _ in range(_TRIES - 1):
            try:
                return (yield from self._paging(session_id, user_id, before))
            except InvalidMessageError:
                continue  # the messages were replaced between two pages: from the start again
        return (yield from self._paging(session_id, user_id, before))

    def _paging(
        self, session_id: str, user_id: str | None, before: str | None
    ) -> Reading[list[SessionMessage]]:
        size = self._first_page()
        log, summary = yield from newest(session_id, user_id, before, size)
        if size is None:
            return self._view(log, summary)
        front, log = _Front(log[:-size], summary), log[-size:]
        tokens, found, turns = _Tokens(self, front), len(log), list[Turn]()
        while found == size and not front.covers(log):
            turns = turns_of(log)
            if not self._may_go_on(log, turns, tokens):
                return self._shown(front, turns, tokens)
            size = self._next_page(size, len(log))
            page = yield GetMessages(session_id, size, before=log[0].id, user_id=user_id)
            found, log = len(page), page + log
        if _first(log) != front.system and (found < size or not front.system):
            # The first page began with the log's first: nothing is counted yet.
            return self._view(log, summary)
        return self._shown(front, front.turns_of(log), tokens)

    def _first_page(self) -> int | None:
        # One more than fit: where a turn ends just there, it shows that there is an older one.
        size = None if self.max_messages is None else self.max_messages + 1
        return size if self.max_tokens is None else min(size or _PAGE, _PAGE)

    def _next_page(self, size: int, read: int) -> int:
        missing = (self.max_messages or 0) + 1 - read
        return min(2 * size, missing) if missing > 0 else 2 * size

    def _may_go_on(self, log: list[SessionMessage], turns: list[Turn], tokens: _Tokens) -> bool:
        """Tell whether an older message could be in the view, or be the log's first in this one."""
        if log[0].role in SYSTEM_ROLES:
            return True
        whole = turns[1:]
        return not whole or (
            self._has_room(sum(turn.size for turn in turns))
            and self._newest(whole, tokens) == len(whole)
            and tokens.fit(whole, len(whole))
        )

    def _shown(self, front: _Front, turns: list[Turn], tokens: _Tokens) -> list[SessionMessage]:
        kept = turns[len(turns) - self._newest(turns, tokens) :]
        system: dict[str, SessionMessage] = {}
        for message in chain(front.system, *(turn.system for turn in kept)):
            system.setdefault(str(message.content), message)
        shown = chain(front.shown(), *(turn.messages for turn in kept))
        return [*system.values(), *shown]

    def _newest(self, turns: list[Turn], tokens: _Tokens) -> int:
        """Count the turns that fit, from the last one back: that one does in any case."""
        size = 0
        for count, turn in enumerate(reversed(turns), 1):
            size += turn.size
            if count > 1 and not (self._has_room(size) and tokens.fit(turns, count)):
                return count - 1
        return len(turns)

    def _has_room(self, size: int) -> bool:
        return self.max_messages is None or size <= self.max_messages


class _Front(msgspec.Struct, frozen=True):
    """What stands in a view in front of the turns."""

    system: list[SessionMessage]
    summary: Summary | None

    def shown(self) -> list[SessionMessage]:
        """Give the summary as a message."""
        return [self.summary.message()] if self.summary else []

    def covers(self, log: list[SessionMessage]) -> bool:
        """Tell whether nothing before a log's first message is to be shown."""
        if _first(log) and not self.system:
            return False  # whether that is the session's first is not known
        return self.summary is not None and self.summary.until in [m.id for m in log]

    def turns_of(self, log: Sequence[SessionMessage]) -> list[Turn]:
        """Cut what a summary does not cover of a log into its turns."""
        ids = [message.id for message in log] if self.summary else []
        if self.summary is None or self.summary.until not in ids:
            return turns_of(log[len(_first(log)) :])
        return turns_behind(self.summary.message(), log[ids.index(self.summary.until) + 1 :])


class _Tokens:
    """The tokens of a log's newest turns: each is counted once, however many pages are read."""

    def __init__(self, window: Window, front: _Front) -> None:
        self._window = window
        self._texts: set[str] = set()
        self._totals = [self._count(front.system, front.shown())]

    def fit(self, turns: list[Turn], count: int) -> bool:
        """Tell whether so many of the newest turns cost no more than the window has."""
        limit = self._window.max_tokens
        if limit is None:
            return True
        while len(self._totals) <= count and self._totals[-1] <= limit:
            turn = turns[-len(self._totals)]
            self._totals.append(self._totals[-1] + self._count(turn.system, turn.messages))
        return len(self._totals) > count and self._totals[count] <= limit

    def _count(self, system: list[SessionMessage], messages: list[SessionMessage]) -> float:
        if self._window.max_tokens is None:
            return 0
        new = {str(m.content): m for m in system if str(m.content) not in self._texts}
        self._texts.update(new)
        shown = [*new.values(), *messages]
        return count_tokens(self._window.token_counter, shown) if shown else 0


def _first(log: Sequence[SessionMessage]) -> list[SessionMessage]:
    return [message for message in log[:1] if message.role in SYSTEM_ROLES]
