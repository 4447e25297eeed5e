"""What an agent's turn has in its session's log, and how it writes there: each message once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from msgspec.structs import replace

from langchain_sessionstore.agents.inserted import (
    Inserted,
    is_said,
)
from langchain_sessionstore.agents.results import (
    numbered_calls,
    open_repairs,
    result_id,
)
from langchain_sessionstore.agents.summarized import Summarized
from langchain_sessionstore.codec import to_langchain, to_session
from langchain_sessionstore.edits import EDIT, recalling
from langchain_sessionstore.leases.turns import LeasedTurn
from langchain_sessionstore.sameness import SAID, gist
from sessionstore import (
    InvalidMessageError,
    InvalidSessionError,
    SessionConflictError,
    SessionMessage,
    SessionNotFoundError,
    StoreUnavailableError,
    ToolCall,
)
from sessionstore.integration import StoreFlow
from sessionstore.models import decode_message, encode_message, new_id
from sessionstore.operations import Append, Get, ReplaceMessage, Update

__all__ = ["Named", "TurnLog"]

_SHORT = 500

Named: TypeAlias = tuple[BaseMessage, str | None]


@dataclass(eq=False, repr=False)
class TurnLog:
    """A turn of an agent in one session: the flows that write its messages, each of them once.

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
        inserted: What other middleware put among the messages that a model was asked with.
        summarized: What other middleware summed up.
        edit: What marks the turn's messages, where it answers an edit of an earlier turn.
        leased: What puts the turn's writes under its session's lease, if it takes one.
        has_looked: Whether it is known what others said while the turn paused.
        unseen: Whether the next turn is to look for that.
        told_of: What others said that was warned of, by the messages' ids.
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
        self.inserted: Inserted = Inserted()
        self.summarized: Summarized = Summarized()
        self.edit: str | None = None
        self.leased: LeasedTurn | None = None
        self.has_looked: bool = False
        self.unseen: bool = False
        self.told_of: list[str] = []
        self._tried: set[str | None] = set()
        self._places: set[str | None] = set()
        self._running: dict[str, list[str]] = {}
        self._unreported: list[tuple[BaseMessage, InvalidMessageError]] = []
        self._given_up: set[str | None] = set()
        self._written: dict[str, tuple[datetime, bytes]] = {}
        self._edits: dict[str, Mapping[str, Any]] = {}
        self._said: dict[str | None, int] = {}

    def __repr__(self) -> str:
        """Show the session's id and how much was written: never what was said."""
        return f"AgentTurn({self.session_id!r}, written=<{len(self._written)}>)"

    def know(self, loaded: Sequence[SessionMessage], shown: Sequence[BaseMessage]) -> None:
        """Take note of what the log holds, as the agent sees it, and of what only the view has."""
        made = {message.id: message.created_at for message in loaded}
        for message in map(self._stored, shown):
            self._know(replace(message, created_at=made.get(message.id, message.created_at)))

    def has_run(self, state: Sequence[BaseMessage]) -> bool:
        """Tell whether a state ends with what was said in this turn, since this call began."""
        last = state[-1] if state else None
        return bool(self._written) and isinstance(last, (AIMessage, ToolMessage))

    def written_behind(self, id: str) -> list[str]:
        """Give the ids of what the turn knows to be in the log, behind a message if that is known.

        Args:
            id: The message.

        Returns:
            The ids.
        """
        written = list(self._written)
        return written[written.index(id) + 1 :] if id in written else written

    def take_given_up(self) -> Iterator[tuple[BaseMessage, InvalidMessageError]]:
        """Take what can't be stored, each message once: tools run at once."""
        with suppress(IndexError):
            while True:
                yield self._unreported.pop(0)

    def opening(self, messages: Sequence[BaseMessage]) -> Append | None:
        """Give what appends the one message that begins the turn; ``None`` where there are more.

        What is known of more than one, such as that an earlier turn is edited, must be read first.
        """
        if len(messages) != 1 or not is_said(messages[0]):
            return None
        return self._appending([self._stored(messages[0], messages[0].id)])

    # -- Flows: each request is an operation -------------------------------------------------------

    def saving(
        self,
        messages: Sequence[BaseMessage],
        *,
        correct: bool = True,
        needed: Collection[BaseMessage] = (),
        behind: Sequence[BaseMessage] = (),
        done: tuple[Append, int] | None = None,
    ) -> StoreFlow[bool]:
        """Append the messages that are not in the log; replace those that are otherwise there.

        What can't be stored is given up, unless it is needed: it would hold up what can. What the
        messages stand behind in the state may have places to keep. Gives whether the log had one
        of those that this turn did not know. What is done is the append itself, and what it gave.
        """
        if done and not any(message.id in self._written for message in done[0].messages):
            return self._opened(*done)
        count = sum(map(is_said, messages))
        if not count:
            return False
        said = [(message, message.id) for message in messages if is_said(message)]
        if behind:
            said = self._named([*_since_last_answer(behind, behind), *messages])[-count:]
        places = open_repairs(self.session_id, behind)
        there = yield from self._writing(said, correct=correct, needed=needed, places=places)
        return bool(there)

    def _opened(self, append: Append, added: int) -> bool:
        for message in append.messages:
            self._know(message)
        return added < len(append.messages)

    def _writing(
        self,
        named: list[Named],
        *,
        correct: bool = True,
        needed: Collection[BaseMessage] = (),
        places: Sequence[SessionMessage] = (),
        in_order: bool = False,
    ) -> StoreFlow[list[SessionMessage]]:
        try:
            if in_order:
                yield from self._inserting(named)
            return (yield from self._putting(named, places, correct=correct))
        except InvalidMessageError as error:
            storable = self._storable(named, error, needed)
            return (yield from self._putting(storable, places, correct=correct))

    def _inserting(self, named: list[Named]) -> StoreFlow[None]:
        """Put what stands before a known message there, in one step; in a long log it comes last.

        Other middleware says it with an answer that is in the log by then.
        """
        late = self._late(named)
        if not late:
            return
        with suppress(SessionConflictError, SessionNotFoundError, StoreUnavailableError):
            log = yield Get(self.session_id, _SHORT, self.user_id)
            if log is None or log.message_count > len(log.messages):
                return
            held = {message.id for message in log.messages}
            missing = {place: [m for m in late[place] if m.id not in held] for place in late}
            whole = [m for each in log.messages for m in (*missing.get(each.id, ()), each)]
            yield Update(self.session_id, whole, None, self.user_id, log.version)
            for message in (m for place in missing.keys() & held for m in missing[place]):
                self._know(message)

    def _late(self, named: list[Named]) -> dict[str | None, list[SessionMessage]]:
        """Give what is new in front of known messages, by the message that it stands before."""
        late: dict[str | None, list[SessionMessage]] = {}
        waiting: list[Named] = []
        for message, id in named:  # noqa: A001
            if id in self._written:
                if waiting:
                    late[id] = [self._stored(*pair) for pair in waiting]
                waiting = []
            elif id not in self._places and id not in self._given_up:
                waiting.append((message, id))
        return late

    def _putting(
        self,
        named: list[Named],
        places: Sequence[SessionMessage],
        *,
        correct: bool,
    ) -> StoreFlow[list[SessionMessage]]:
        """Give those that were appended, where the log held one of them."""
        messages = [self._stored(*pair) for pair in named]
        new = [message for message in messages if message.id not in self._written]
        changed = [self._as_was_said(m) for m in map(self._dated, messages) if self._differs(m)]
        there: list[SessionMessage] = []
        if new:
            batch = [*self._missing(places), *self._with_places(named, messages)]
            added = yield self._appending(batch)
            self._places.update(message.id for message in batch if message not in new)
            for message in new:
                self._know(message)
            there = new if added < len(batch) else []
            if there and correct and self.resumed:
                yield from self._recalling(there)
                again = {message.id for message in there}
                stored = [self._dated(self._stored(*pair)) for pair in named]
                there_now = [one for one in stored if one.id in again and self._differs(one)]
                changed += map(self._as_was_said, there_now)
            elif correct:
                changed += there
        for message in changed:
            yield from self._replacing(message)
        return there

    def _recalling(self, there: list[SessionMessage]) -> StoreFlow[None]:
        """Take note of what the turn wrote before it was broken off."""
        ids = {message.id for message in there}
        log = yield from recalling(self.session_id, self.user_id, ids)
        held = {message.id: message for message in log if message.id in ids}
        for message in held.values():
            self._know(message)
            if SAID in message.metadata:
                self._said[message.id] = message.metadata[SAID]
        last = [held[message.id] for message in there if message.id in held][-1:]
        self.edit = next((m.metadata[EDIT][0] for m in last if EDIT in m.metadata), self.edit)

    def _appending(self, messages: list[SessionMessage]) -> Append:
        return Append(self.session_id, messages, self.agent_id, self.user_id)

    def _replacing(self, message: SessionMessage) -> StoreFlow[None]:
        try:
            yield ReplaceMessage(self.session_id, message, self.user_id)
        except SessionNotFoundError:
            return  # somebody deleted it meanwhile: it stays deleted
        self._know(message)

    def _know(self, message: SessionMessage) -> None:
        self._written[message.id or ""] = (message.created_at, encode_message(message))

    def _storable(
        self, named: list[Named], error: InvalidMessageError, needed: Collection[BaseMessage] = ()
    ) -> list[Named]:
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
                    self._unreported.append((message, why))
            else:
                storable.append((message, id))
        if len(storable) == len(named):
            raise error  # of none of them
        return storable

    def _summarizing(self, state: Sequence[BaseMessage]) -> StoreFlow[None]:
        """Put a summary that other middleware made of a state's start into the metadata."""
        before = self.summarized.before(state)
        message = self.summarized.new_in(state)
        if message is None:
            return
        kept = [id or "" for _, id in self._named(state)]  # noqa: A001
        said = self._said_before(before)
        summary = self.summarized.made_of(message, said, kept)
        if summary is not None:
            agreeing = self.summarized.agreeing
            summary = yield from agreeing(summary, self.session_id, self.user_id, said)
        if summary is not None:
            # Somebody deleted it meanwhile, or JSON can't hold it: a later turn sums up again.
            with suppress(SessionNotFoundError, InvalidSessionError):
                yield Update(self.session_id, None, summary.metadata(), self.user_id)
        self.summarized.keep(message, summary.until if summary else None)

    def _said_before(self, state: Sequence[BaseMessage]) -> list[str]:
        """Give the ids of what a state held, and of what the turn has said since."""
        held = [id or "" for _, id in self._named(state)]  # noqa: A001
        written, known = list(self._written), set(held)
        places = [place for place, id in enumerate(written) if id in known]  # noqa: A001
        return [*held, *(written[places[-1] + 1 :] if places else ())]

    # -- What is where ----------------------------------------------------------------------------

    def _since_known(self, state: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """Leave out what stands in front of the answer before the first known message."""
        for place, message in enumerate(state):
            if message.id in self._written:
                return _since_last_answer(state[: place + 1], state)
        return state

    def _named(self, state: Sequence[BaseMessage]) -> list[Named]:
        """Pair what was said with its id in the log: a result's is made of its call's.

        Not every result passes here when it is made: other middleware answers calls, too.
        """
        results: dict[str | None, list[str]] = {}
        named: list[Named] = []
        for message in filter(is_said, state):
            id = message.id  # noqa: A001
            if isinstance(message, AIMessage):
                own_results = defaultdict[str | None, list[str]](list)
                for call, own in numbered_calls(self.session_id, message):
                    own_results[call["id"]].append(own)
                results.update(own_results)
            elif isinstance(message, ToolMessage) and (made := results.get(message.tool_call_id)):
                own = made.pop(made.index(id) if id in made else 0)
                id = id if id in self._written else own  # noqa: A001
            named.append((message, id))
        return named

    def _first_of_turn(self, named: list[Named]) -> int:
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
            edit = self._edits.get(result_id(self.session_id, message, call["id"]), call)
            calls.append({**call, "name": edit["name"], "args": edit["args"]})
        metadata = {**stored.metadata, EDIT: [self.edit, []]} if self.edit else stored.metadata
        stored = replace(stored, id=id or stored.id, tool_calls=calls, metadata=metadata)
        return self._with_said(stored)

    def _as_was_said(self, message: SessionMessage) -> SessionMessage:
        """Note how a user's message was that middleware changed: sent again, it is recognized."""
        if message.role != "user":
            return message
        if message.id not in self._said:
            sent = decode_message(self._written[message.id or ""][1])
            self._said[message.id] = gist(to_langchain(sent))
        return self._with_said(message)

    def _with_said(self, message: SessionMessage) -> SessionMessage:
        if message.id not in self._said:
            return message
        return replace(message, metadata={**message.metadata, SAID: self._said[message.id]})

    def _dated(self, message: SessionMessage) -> SessionMessage:
        known = self._written.get(message.id or "")
        return message if known is None else replace(message, created_at=known[0])

    def _differs(self, message: SessionMessage) -> bool:
        known = self._written.get(message.id or "")
        return known is not None and known[1] != encode_message(message)

    def _with_places(
        self, named: list[Named], messages: list[SessionMessage]
    ) -> Iterator[SessionMessage]:
        """Give what is new, each behind the places that are still to be kept in front of it."""
        places: dict[str | None, SessionMessage] = {}
        for (message, _), stored in zip(named, messages, strict=True):
            is_repair = places.pop(stored.id, None)
            if stored.id not in self._written:
                if not is_repair:
                    yield from self._missing(places.values())
                    places = {}
                yield stored
            if isinstance(message, AIMessage):
                places = {place.id: place for place in open_repairs(self.session_id, [message])}

    def _missing(self, places: Iterable[SessionMessage]) -> list[SessionMessage]:
        return [place for place in places if place.id not in {*self._written, *self._places}]


def _since_last_answer(
    state: Sequence[BaseMessage], messages: Sequence[BaseMessage]
) -> Sequence[BaseMessage]:
    """Give the messages from the last answer in a state on; all where there is none."""
    for place in range(len(state) - 1, -1, -1):
        if isinstance(state[place], AIMessage):
            return messages[place:]
    return messages
