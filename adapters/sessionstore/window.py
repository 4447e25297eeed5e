"""`Window`: which messages of a session an agent sees. The log itself is never cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import msgspec

from sessionstore.errors import InvalidMessageError
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore

__all__ = ["INTERRUPTED", "Window", "approximate_tokens"]

INTERRUPTED = "This tool call was interrupted: it gave no result."
"""What stands in a view for the result of a tool call that never came."""

_PAGE = 50
_TRIES = 3


def approximate_tokens(messages: Iterable[SessionMessage]) -> int:
    """Estimate how many tokens messages cost: a quarter of their characters, and 3 each.

    Args:
        messages: The messages.

    Returns:
        The estimate. For exact numbers use the tokenizer of the model.
    """
    return sum(3 + (len(str(m.content)) + len(str(m.tool_calls or ""))) // 4 for m in messages)


class Window(msgspec.Struct, frozen=True):
    """What an agent sees of a session: its newest whole turns, within limits.

    A turn is a user's message with all that follows it up to the next one. A view

    - keeps the system messages that came up in the turns it shows, and the one that the session
      begins with, in front (each text once);
    - starts at a user's message, and keeps at least the last turn, even one beyond the limits;
    - puts each tool's result right behind its call, and leaves out a result without a call;
    - closes a call whose result never came with one that says so, unless the call is the last
      message: its approval may be pending.

    Example:
        >>> log = [SessionMessage("user", "1"), SessionMessage("assistant", "2")] * 3
        >>> [message.content for message in Window(max_messages=3).view(log)]
        ['1', '2']

    Args:
        max_messages: At most so many messages, system messages aside; ``None`` for no limit.
        max_tokens: At most so many tokens; ``None`` for no limit.
        token_counter: Counts the tokens of a list of messages; `approximate_tokens` if ``None``.

    Raises:
        ValueError: A limit is not a whole number of 1 or more.
    """

    max_messages: int | None = None
    max_tokens: int | None = None
    token_counter: Callable[[list[SessionMessage]], int] | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("max_messages", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number of 1 or more, or None")

    def load(
        self, store: SessionStore, session_id: str, *, user_id: str | None = None
    ) -> list[SessionMessage]:
        """Read the view of a session, at a cost that follows the window, not the session.

        Args:
            store: Where the session is.
            session_id: Its id.
            user_id: The caller, where ownership is to be checked.

        Returns:
            The view; ``[]`` when there is no session.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionStoreError: The store's other errors, as for `SessionStore.get_messages`.
        """
        return play(self.loading(store, session_id, user_id), store._play)

    async def aload(
        self, store: SessionStore, session_id: str, *, user_id: str | None = None
    ) -> list[SessionMessage]:
        """Async twin of `load`."""
        return await aplay(self.loading(store, session_id, user_id), store._aplay)

    def view(self, messages: Sequence[SessionMessage]) -> list[SessionMessage]:
        """Give the view of a log, or of as much of its end as was read.

        Args:
            messages: The messages, oldest first, up to the last one.

        Returns:
            Those that the agent sees.
        """
        first = [message for message in messages[:1] if message.role == "system"]
        return self._shown(first, messages[len(first) :])

    def _shown(
        self, first: list[SessionMessage], log: Sequence[SessionMessage]
    ) -> list[SessionMessage]:
        kept = self._newest(first, _turns(log))
        front: dict[str, SessionMessage] = {}
        for message in chain(first, *(turn.system for turn in kept)):
            front.setdefault(str(message.content), message)
        return [*front.values(), *chain.from_iterable(turn.messages for turn in kept)]

    def loading(
        self, store: SessionStore, session_id: str, user_id: str | None
    ) -> Flow[list[SessionMessage]]:
        """Give `load` as a flow, whose requests are the store's flows."""
        for _ in range(_TRIES - 1):
            try:
                return (yield from self._paging(store, session_id, user_id))
            except InvalidMessageError:
                continue  # the messages were replaced between two pages: from the start again
        return (yield from self._paging(store, session_id, user_id))

    def _paging(
        self, store: SessionStore, session_id: str, user_id: str | None
    ) -> Flow[list[SessionMessage]]:
        size = self._first_page()
        log = yield store._reading(session_id, size, None, user_id, size is not None)
        if size is None:
            return self.view(log)
        first, log = log[:-size], log[-size:]
        found = len(log)
        while found == size and self._may_go_on(first, log):
            size *= 2
            page = yield store._reading(session_id, size, log[0].id, user_id, False)
            found, log = len(page), page + log
        return self.view(log) if found < size else self._shown(first, log)

    def _first_page(self) -> int | None:
        # One more than fit: where a turn ends just there, it shows that there is an older one.
        size = None if self.max_messages is None else self.max_messages + 1
        return size if self.max_tokens is None else min(size or _PAGE, _PAGE)

    def _may_go_on(self, first: list[SessionMessage], log: list[SessionMessage]) -> bool:
        """Tell whether an older message could be in the view, or be the log's first in this one."""
        turns = _turns(log)
        return log[0].role == "system" or len(self._newest(first, turns)) == len(turns)

    def _newest(self, first: list[SessionMessage], turns: list[_Turn]) -> list[_Turn]:
        kept: list[_Turn] = []
        size, tokens = 0, self._count(first)
        for turn in reversed(turns):
            size += turn.size
            tokens += self._count(turn.system + turn.messages)
            if kept and not self._has_room(size, tokens):
                break
            kept.insert(0, turn)
        return kept

    def _count(self, messages: list[SessionMessage]) -> int:
        if self.max_tokens is None or not messages:
            return 0
        return (self.token_counter or approximate_tokens)(messages)

    def _has_room(self, size: int, tokens: int) -> bool:
        return (self.max_messages is None or size <= self.max_messages) and (
            self.max_tokens is None or tokens <= self.max_tokens
        )


class _Turn(msgspec.Struct):
    """What is shown of a turn; of what came before the first turn, only system messages are."""

    system: list[SessionMessage]
    messages: list[SessionMessage]
    size: int


def _turns(log: Sequence[SessionMessage]) -> list[_Turn]:
    """Cut a log into its turns.

    The first of them is what comes before the first user's message, be it nothing: the start of
    the log, or the rest of a turn whose start was not read.
    """
    groups = iter(_groups([message for message in log if message.role != "system"]))
    turns = [_Turn([], [], 0)]
    for message in log:
        if message.role == "system":
            turns[-1].system.append(message)
        elif message.role != "tool":
            group = next(groups)
            if message.role == "user":
                turns.append(_Turn([], [], 0))
            turns[-1].size += len(group)
            turns[-1].messages += group if len(turns) > 1 else []
    return turns


def _groups(messages: list[SessionMessage]) -> list[list[SessionMessage]]:
    """Pair each message that calls tools with their results, wherever they came in."""
    groups: list[list[SessionMessage]] = []
    waiting: dict[str | None, list[SessionMessage]] = {}
    for message in messages:
        if message.role == "tool":
            waiting.pop(message.tool_call_id, []).append(message)
            continue
        groups.append([message])
        waiting.update((call["id"], groups[-1]) for call in message.tool_calls)
    pending = groups[-1:] if messages and messages[-1].role != "tool" else []
    for group in groups[: len(groups) - len(pending)]:
        group.extend(_interrupted(group))
    return groups


def _interrupted(group: list[SessionMessage]) -> list[SessionMessage]:
    call_message, *results = group
    answered = {result.tool_call_id for result in results}
    return [
        SessionMessage(
            "tool",
            INTERRUPTED,
            id=f"interrupted:{call['id']}",
            name=call["name"],
            tool_call_id=call["id"],
            created_at=call_message.created_at,
        )
        for call in call_message.tool_calls
        if call["id"] not in answered
    ]
