"""What an agent's turn has in its session's log, and what it has still to write there."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from msgspec.structs import replace

from langchain_sessionstore.codec import to_session
from sessionstore import (
    InvalidMessageError,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
    ToolCall,
)
from sessionstore.flow import Flow
from sessionstore.models import encode_message, new_id
from sessionstore.turns import unfinished

__all__ = ["AgentTurn"]

_Named: TypeAlias = tuple[BaseMessage, str | None]


@dataclass(eq=False, repr=False)
class AgentTurn:
    """One turn of an agent in one session: the flows that write its messages, each of them once.

    It knows what it wrote, so that a step costs one write and no read. What it does not know, since
    it was written before an interrupt or a crash, it appends by id, and replaces if it was there.

    It travels in the agent's state, and so in what the agent streams: as a dataclass it can be
    turned into JSON there.

    Attributes:
        session_id: The session.
        agent_id: The agent of the session, if this makes it.
        user_id: The caller; the owner, if this makes the session.
        resumed: Whether the turn began before this call.
        answer_id: The message that answered the turn before this call, if it was answered.
        behind: Whether a save failed, and the caller went on without it.
        unverified: A message that the session has to hold, or else the thread is another's.
    """

    session_id: str
    agent_id: str = "default"
    user_id: str | None = None
    resumed: bool = False

    def __post_init__(self) -> None:
        """Begin with nothing written."""
        self.answer_id: str | None = None
        self.behind: bool = False
        self.unverified: str | None = None
        self._untold: list[tuple[BaseMessage, InvalidMessageError]] = []
        self._given_up: set[str | None] = set()
        self._written: dict[str, tuple[datetime, bytes]] = {}
        self._edits: dict[str, Mapping[str, Any]] = {}

    def __repr__(self) -> str:
        """Tell the session's id and how much was written: never what was said."""
        return f"AgentTurn({self.session_id!r}, written=<{len(self._written)}>)"

    def result_id(self, call_message: BaseMessage, call_id: str | None) -> str:
        """Give the id of a tool call's result: the same one however often the tool is run."""
        names = repr((self.session_id, call_message.id, call_id))
        return hashlib.sha256(names.encode()).hexdigest()[:32]

    def know(self, loaded: Sequence[SessionMessage], shown: Sequence[BaseMessage]) -> None:
        """Take note of what the log holds, as the agent sees it, and of what only the view has."""
        made = {message.id: message.created_at for message in loaded}
        for message in map(to_session, shown):
            self._know(replace(message, created_at=made.get(message.id, message.created_at)))

    def has_run(self, state: Sequence[BaseMessage]) -> bool:
        """Tell whether a state ends with what was said in this turn, since this call began."""
        last = state[-1] if state else None
        return bool(self._written) and isinstance(last, (AIMessage, ToolMessage))

    def telling_given_up(self) -> Iterator[tuple[BaseMessage, InvalidMessageError]]:
        """Take what can't be stored, each message once: tools run at once."""
        with suppress(IndexError):
            while True:
                yield self._untold.pop(0)

    def edit(self, call_message: AIMessage, calls: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of tool calls, by id, that run otherwise than the model asked for."""
        for call_id, call in calls.items():
            self._edits[self.result_id(call_message, call_id)] = call

    # -- Flows: a request is one of the store's flows ---------------------------------------------

    def mirroring(self, store: SessionStore, state: Sequence[BaseMessage]) -> Flow[None]:
        """Bring the log up to a state: what came behind is appended, what was changed replaced.

        What stands in front of what is known is history, or a summary of it. What is gone from the
        state stays in the log.
        """
        named = self._named(state)
        yield from self._writing(store, named[self._first_of_turn(named) :])

    def saving(
        self,
        store: SessionStore,
        messages: Sequence[BaseMessage],
        *,
        correct: bool = True,
        needed: Collection[BaseMessage] = (),
    ) -> Flow[None]:
        """Append the messages that are not in the log; replace those that are otherwise there.

        What can't be stored is given up, unless it is needed: it would hold up what can.
        """
        said = [(message, message.id) for message in messages if _is_said(message)]
        yield from self._writing(store, said, correct=correct, needed=needed)

    def _writing(
        self,
        store: SessionStore,
        named: list[_Named],
        *,
        correct: bool = True,
        needed: Collection[BaseMessage] = (),
    ) -> Flow[None]:
        try:
            yield from self._putting(store, named, correct=correct)
        except InvalidMessageError as error:
            storable = self._storable(named, error, needed)
            yield from self._putting(store, storable, correct=correct)

    def _putting(self, store: SessionStore, named: list[_Named], *, correct: bool) -> Flow[None]:
        messages = [self._stored(*pair) for pair in named]
        new = [message for message in messages if message.id not in self._written]
        changed = [message for message in map(self._dated, messages) if self._differs(message)]
        if new:
            added = yield self._appending(store, new)
            for message in new:
                self._know(message)
            if added < len(new) and correct:
                changed += new
        for message in changed:
            yield from self._replacing(store, message)

    def saving_result(
        self,
        store: SessionStore,
        state: Sequence[BaseMessage],
        call_message: AIMessage,
        call_id: str | None,
        result: ToolMessage,
    ) -> Flow[None]:
        """Save what a tool gave, in the place of its call among those that run beside it.

        A call before it that still runs gets its place, with a message that says that there is no
        result yet, in the same atomic step. Whoever writes a result writes those places: one that
        adds nothing has found its own place taken, and fills it.
        """
        try:
            yield from self._putting_result(store, state, call_message, call_id, result)
        except InvalidMessageError as error:
            self._storable([(result, result.id)], error)

    def _putting_result(
        self,
        store: SessionStore,
        state: Sequence[BaseMessage],
        call_message: AIMessage,
        call_id: str | None,
        result: ToolMessage,
    ) -> Flow[None]:
        stored = self._stored(result)
        places = self._places_before(state, call_message, call_id)
        added = yield self._appending(store, [*places, stored])
        self._know(stored)
        if not added:
            yield from self._replacing(store, stored)

    def checking(self, store: SessionStore) -> Flow[Any]:
        """Raise `SessionAccessError` where the session belongs to another user."""
        return store._reading(self.session_id, 0, None, self.user_id, False)

    def _appending(self, store: SessionStore, messages: list[SessionMessage]) -> Flow[int]:
        return store._appending(self.session_id, messages, self.agent_id, self.user_id, None)

    def _replacing(self, store: SessionStore, message: SessionMessage) -> Flow[None]:
        try:
            yield store._replacing(self.session_id, message, self.user_id)
        except SessionNotFoundError:
            return  # somebody deleted it meanwhile: it stays deleted
        self._know(message)

    def _know(self, message: SessionMessage) -> None:
        self._written[message.id or ""] = (message.created_at, encode_message(message))

    def _storable(
        self, named: list[_Named], error: InvalidMessageError, needed: Collection[BaseMessage] = ()
    ) -> list[_Named]:
        """Give up what no later try can store, and keep the rest; raise where that is all."""
        storable = []
        for message, id in named:  # noqa: A001
            try:
                encode_message(self._stored(message, id))
            except InvalidMessageError as why:
                if message in needed:
                    raise
                if message.id not in self._given_up:
                    self._given_up.add(message.id)
                    self._untold.append((message, why))
            else:
                storable.append((message, id))
        if len(storable) == len(named):
            raise error  # of none of them
        return storable

    # -- What is where ----------------------------------------------------------------------------

    def _named(self, state: Sequence[BaseMessage]) -> list[_Named]:
        """Pair what was said with its id in the log: a result's is made of its call's.

        Not every result passes here when it is made: other middleware answers calls, too.
        """
        results: dict[str | None, str] = {}
        named: list[_Named] = []
        for message in filter(_is_said, state):
            id = message.id  # noqa: A001
            if isinstance(message, AIMessage):
                for call in message.tool_calls:
                    results[call["id"]] = self.result_id(message, call["id"])
            elif isinstance(message, ToolMessage) and id not in self._written:
                id = results.get(message.tool_call_id, id)  # noqa: A001
            named.append((message, id))
        return named

    def _first_of_turn(self, named: list[_Named]) -> int:
        for place, (_, id) in enumerate(named):  # noqa: A001
            if id in self._written:
                return place
        if not self.resumed:
            return len(named)
        calls = [place for place, (message, _) in enumerate(named) if message.type == "ai"]
        return calls[-1] if calls else 0

    def _stored(self, message: BaseMessage, id: str | None = None) -> SessionMessage:
        if message.id is None:
            message.id = new_id()
        stored = to_session(message)
        calls: list[ToolCall] = []
        for call in stored.tool_calls:
            edit = self._edits.get(self.result_id(message, call["id"]), call)
            calls.append({**call, "name": edit["name"], "args": edit["args"]})
        return replace(stored, id=id or stored.id, tool_calls=calls)

    def _dated(self, message: SessionMessage) -> SessionMessage:
        known = self._written.get(message.id or "")
        return message if known is None else replace(message, created_at=known[0])

    def _differs(self, message: SessionMessage) -> bool:
        known = self._written.get(message.id or "")
        return known is not None and known[1] != encode_message(message)

    def _places_before(
        self, state: Sequence[BaseMessage], call_message: AIMessage, call_id: str | None
    ) -> list[SessionMessage]:
        answered = {message.tool_call_id for message in state if isinstance(message, ToolMessage)}
        places = []
        for call in call_message.tool_calls:
            if call["id"] == call_id:
                break
            if call["id"] not in answered:
                places.append(unfinished(self.result_id(call_message, call["id"]), call))
        return places


def _is_said(message: BaseMessage) -> bool:
    # A summary stands for messages that the log keeps.
    return (
        not isinstance(message, RemoveMessage)
        and message.additional_kwargs.get("lc_source") != "summarization"
    )
