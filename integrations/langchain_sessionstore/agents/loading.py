"""How a turn begins where a session is an agent's only memory: with its view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_sessionstore.again import answer_id, end_of_turn
from langchain_sessionstore.agents.sent import said_by_caller, with_ids
from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.codec import to_langchain_messages
from langchain_sessionstore.edits import SentAgain, edited_in, recalling
from langchain_sessionstore.pending import closed, closed_view
from langchain_sessionstore.sameness import as_given
from langchain_sessionstore.summaries import is_summary
from sessionstore import SessionMessage, Window
from sessionstore.integration import StoreFlow
from sessionstore.operations import Append, Several

__all__ = ["SessionLoader"]

T = TypeVar("T")

_MANY = 1000  # messages: who reads more reads apart


@dataclass(frozen=True)
class SessionLoader:
    """Loads what a turn sees of its session, and saves what the user says in it."""

    window: Window

    def loading(
        self,
        turn: AgentTurn,
        messages: list[AnyMessage],
        *,
        opens: bool = True,
        needed_of: Callable[[list[AnyMessage]], Sequence[AnyMessage]] = list,
    ) -> StoreFlow[list[BaseMessage] | None]:
        """Begin a turn.

        Args:
            turn: The turn.
            messages: What the caller sends.
            opens: Whether it may be saved in the step of the first read, before that is known.
            needed_of: Gives what of it must be saved, or the turn does not run: all of it.

        Returns:
            The agent's state; ``None`` where that is what is sent, and nothing else.
        """
        sent, messages = messages, with_ids(messages)
        opening = turn.opening(messages) if opens else None
        reading = self.window.loading(turn.session_id, turn.user_id)
        loaded, added = yield from _opened(reading, opening)
        if turn.summarized.is_shown(loaded):  # a client may send one back, maybe an older one
            messages = [message for message in messages if not is_summary(message)]
        else:
            messages = said_by_caller(messages)
        state = None
        if ids := edited_in(loaded, messages):
            log = yield from recalling(turn.session_id, turn.user_id, ids)
            obsolete = SentAgain(log, messages).obsolete()
            loaded = [message for message in loaded if message.id not in obsolete]
            state = yield from self._sent_again(turn, log, messages)
        if state is None:
            done = None if opening is None or added is None else (opening, added)
            needed = needed_of(messages)
            state, older = yield from self._viewing(turn, loaded, messages, needed, done)
            whole = None
            if older:
                ids = [message.id for message in messages]
                log = yield from recalling(turn.session_id, turn.user_id, ids)
                whole = yield from self._sent_again(turn, log, messages)
                state = whole or _without_older(state, loaded, log)
            if whole is None and state and state[-1].id in {message.id for message in loaded}:
                turn.answer_id = answer_id(state[-1])  # nothing is asked that is not answered
        return _with_system_first(state) if loaded or messages is not sent else None

    def _viewing(
        self,
        turn: AgentTurn,
        loaded: list[SessionMessage],
        messages: list[AnyMessage],
        needed: Sequence[AnyMessage],
        done: tuple[Append, int] | None,
    ) -> StoreFlow[tuple[list[BaseMessage], bool]]:
        """Give the view and what is new, and whether that is older than the view."""
        ids = {message.id for message in loaded}
        given_now = {message.id: message for message in messages}
        new = [message for message in messages if message.id not in ids]
        shown = closed_view(loaded, new or [HumanMessage("")])  # the model goes on in any case
        again = [place for place, message in enumerate(shown) if message.id in given_now]
        shown = as_given(shown, given_now)
        if again:  # to send an id again changes nothing
            if not new:
                shown = shown[: end_of_turn(shown, again[-1])]
            turn.know(loaded, shown[again[0] :])
        older = yield from turn.saving(messages, correct=False, needed=needed, done=done)
        return [*shown, *new], older

    def _sent_again(
        self, turn: AgentTurn, log: list[SessionMessage], messages: list[AnyMessage]
    ) -> StoreFlow[list[BaseMessage] | None]:
        """Go on with a turn that was edited, or that is older than the view, if one is sent."""
        again = SentAgain(log, messages)
        yield from turn.editing(again)
        if again.question is None:
            return None
        question = again.question.id
        before = yield from self.window.loading(turn.session_id, turn.user_id, before=question)
        turn.summarized.is_shown(before)
        given_now = {message.id: message for message in messages}
        turn_now = to_langchain_messages(Window().view([again.question, *again.steps()]))
        both = [closed_view(before, [HumanMessage("")])]
        both.append(closed(as_given(turn_now, given_now), [HumanMessage("")]))
        turn.answer_id = answer_id(both[1][-1])
        turn.know(log, both[1])
        system = [message for message in messages if isinstance(message, SystemMessage)]
        yield from turn.saving(system, correct=False)
        return [*as_given(both[0], given_now), *both[1], *system]


def _opened(reading: StoreFlow[T], append: Append | None) -> StoreFlow[tuple[T, int | None]]:
    """Read, and append in the step of the first read; give how many were added, too.

    A long read is a step of its own, which holds no writer up: nothing is appended then.
    """
    if append is None:
        return (yield from reading), None
    first: Any = next(reading)
    if first.limit is None or first.limit > _MANY:
        found, added = (yield first), None
    else:
        found, added = yield Several([first, append])
    resume: Callable[[Any], Any] = reading.send
    while True:
        try:
            request = resume(found)
        except StopIteration as over:
            return over.value, added
        try:
            resume, found = reading.send, (yield request)
        except Exception as error:  # noqa: BLE001 - handed to the flow, which may read again
            resume, found = reading.throw, error


def _without_older(
    state: list[BaseMessage], loaded: list[SessionMessage], log: list[SessionMessage]
) -> list[BaseMessage]:
    """Leave out what the log held before this turn and its view does not show."""
    viewed = {message.id for message in loaded}
    places = {message.id: place for place, message in enumerate(log)}
    end = max((places[id] for id in viewed if id in places), default=-1)  # noqa: A001
    return [
        message
        for message in state
        if message.id in viewed
        or isinstance(message, SystemMessage)
        or places.get(message.id, len(log)) > end
    ]


def _with_system_first(messages: list[BaseMessage]) -> list[BaseMessage]:
    system: dict[str, BaseMessage] = {}
    for message in messages:
        if message.type == "system":
            system.setdefault(str(message.content), message)
    return [*system.values(), *(message for message in messages if message.type != "system")]
