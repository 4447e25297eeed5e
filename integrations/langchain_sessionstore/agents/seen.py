"""What a checkpointer's thread has seen of its session, and how it is given what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages

from langchain_sessionstore.agents.changes import Changes
from langchain_sessionstore.agents.loading import SessionLoader
from langchain_sessionstore.agents.origins import Origins, is_nested
from langchain_sessionstore.agents.results import numbered_calls
from langchain_sessionstore.agents.sent import as_said
from langchain_sessionstore.agents.state import (
    MARK,
    OUTAGE,
    OWN,
    SEEN,
    THREAD,
    SessionAgentState,
    behind_mark,
)
from langchain_sessionstore.agents.thread_log import needed_of, taking_over
from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.edits import recalling
from langchain_sessionstore.sameness import edited, fingerprints
from langchain_sessionstore.summaries import to_show
from langchain_sessionstore.threads import NothingToResumeError, OnMismatch
from sessionstore import (
    SessionMessage,
    SessionStore,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.integration import StoreFlow
from sessionstore.operations import Get, GetMessages
from sessionstore.window.turns import is_made_up

__all__ = ["SessionSight", "is_empty", "note_own", "own_at_end"]

_logger = logging.getLogger("sessionstore")
_REMOVE_ALL = RemoveMessage(id=REMOVE_ALL_MESSAGES)
_MISMATCH = (
    "session %r holds %d messages, %d of which the checkpointer's thread has never seen (it holds "
    "%d, with what is said now), so the model is asked without them: "
    'SessionMiddleware(on_mismatch="load") gives them to the thread, "ignore" logs nothing'
)


def is_empty(state: SessionAgentState, config: RunnableConfig, origins: Origins) -> bool:
    """Tell whether no turn has begun in a thread: it holds this call's input, or failed ones'.

    Args:
        state: The thread's.
        config: The run's. An agent in a graph with a memory has from there what it is to see.
        origins: Who put the thread's messages there.

    Returns:
        Whether it is empty.
    """
    if state.get(THREAD) or state.get(MARK) or is_nested(config):
        return False
    earlier = origins.runs.keys() - origins.own
    answers = [m for m in state.get("messages") or [] if isinstance(m, (AIMessage, ToolMessage))]
    return earlier.isdisjoint(message.id for message in answers)


@dataclass(frozen=True)
class SessionSight:
    """Gives a thread what its session holds: an empty one the view, another what it lacks.

    Attributes:
        store: Where the sessions are.
        loader: What loads the view.
        on_mismatch: What is done where a session has what its thread has never seen.
    """

    store: SessionStore
    loader: SessionLoader
    on_mismatch: OnMismatch

    def first_turn(
        self, turn: AgentTurn, state: SessionAgentState, others: set[str]
    ) -> StoreFlow[dict[str, Any]]:
        """Begin the first turn of an empty thread, as where a session is the only memory.

        Args:
            turn: The turn.
            state: The thread's: what the caller sends, now and in calls that failed.
            others: What callers who were refused said in it.

        Returns:
            What is new in the thread's state.

        Raises:
            NothingToResumeError: Nothing is sent. LangGraph takes what is to resume an empty thread
                for its first input.
        """
        messages = [m for m in state.get("messages") or [] if m.id not in others]
        if not messages:
            raise NothingToResumeError
        was_degraded = self.store.is_degraded()
        loaded = yield from self.loader.loading(turn, messages, needed_of=needed_of)
        begun: Sequence[BaseMessage] = loaded or messages
        turn.summarized.before(begun)
        update = {"messages": [_REMOVE_ALL, *begun]} if loaded or others else {}
        in_outage = was_degraded or self.store.is_degraded()
        own: dict[str, Any] = yield from _own_at_start(turn, state, begun[-1].id)
        return {MARK: begun[-1].id, SEEN: fingerprints(begun), OUTAGE: in_outage} | own | update

    def next_turn(
        self,
        turn: AgentTurn,
        state: SessionAgentState,
        others: set[str],
        config: RunnableConfig,
        changes: Changes,
    ) -> StoreFlow[dict[str, Any]]:
        """Begin a turn of a thread that has a state: the log takes over what is new there.

        Args:
            turn: The turn.
            state: The thread's.
            others: What callers who were refused said in it.
            config: The run's.
            changes: What became of the thread's earlier messages.

        Returns:
            What is new in the thread's state.
        """
        loaded_by_langgraph = state
        state = as_said(state, others)
        turn.summarized.before(state.get("messages") or [])
        completes = bool(state.get(OUTAGE)) and not (self.store.is_degraded() or _goes_back(config))
        if completes:
            state = yield from self._completing(turn, state)
        else:
            state = yield from self.looking_on(turn, state, config)
        messages = state.get("messages") or []
        own = [message for message in messages if message.id not in others]
        new = [message for message in behind_mark(state) if message.id not in others]
        taken = yield from taking_over(turn, own, new, changes)
        known: dict[str, Any] = {SEEN: fingerprints(taken.kept)}
        if taken.is_new:
            known[MARK] = taken.kept[-1].id
        known |= yield from _own_at_start(turn, state, known.get(MARK) or state.get("session_mark"))
        if state.get(OUTAGE):
            known[OUTAGE] = not completes or self.store.is_degraded()
        removed = [RemoveMessage(id=id) for id in others]  # noqa: A001
        update = [*taken.update, *removed]
        if state is not loaded_by_langgraph:
            update = [_REMOVE_ALL, *cast("Any", add_messages)(messages, update)]
        return known | ({"messages": update} if update else {})

    def looking_on(
        self, turn: AgentTurn, state: SessionAgentState, config: RunnableConfig
    ) -> StoreFlow[SessionAgentState]:
        """Give the state of a turn that begins, with what the session has and it lacks, if wanted.

        A turn that waited for another one's end is given that in any case.

        Args:
            turn: The turn.
            state: The thread's.
            config: The run's.

        Returns:
            The state.
        """
        has_waited = turn.leased is not None and turn.leased.lease.has_waited
        if not has_waited and not self._looks(config):
            return state
        own: list[str] = state.get("session_own") or []
        since = own[0] if own else state.get("session_mark")
        session = yield Get(turn.session_id, 1, turn.user_id)
        if session is None or not session.messages or session.messages[-1].id == since:
            return state
        tail = yield from self._tail(turn, state, since)
        missing = _missing(tail, state, _own_and_not_lost(turn, state))
        if missing and (has_waited or self.on_mismatch == "load"):
            return _with_missing(state, _start_of(tail, state, since), tail, missing)
        if missing:
            _warn(turn, state, session.message_count, missing)
        return state

    def looking_back(
        self, turn: AgentTurn, state: SessionAgentState, config: RunnableConfig
    ) -> StoreFlow[None]:
        """Look once, in a turn that goes on after a pause, what others said meanwhile.

        What can't be read now, the next step looks for, or the next turn. What stands behind all
        that the thread has may be an answer of its own that was lost, as in a crash: it is let be.

        Args:
            turn: The turn.
            state: The thread's.
            config: The run's.
        """
        own: list[str] = state.get("session_own") or []
        if not own or not turn.resumed or turn.has_looked or not self._looks(config):
            return
        turn.unseen = True
        try:
            tail = yield GetMessages(turn.session_id, after=own[0], user_id=turn.user_id)
            missing = _said_meanwhile(turn, state, tail)
            warns = bool(missing) and self.on_mismatch == "warn"
            session = (yield Get(turn.session_id, 0, turn.user_id)) if warns else None
        except StoreUnavailableError:
            return
        except SessionStoreError:  # such as that the message is deleted: nobody knows
            turn.unseen = self.store.is_degraded()
            turn.has_looked = not turn.unseen
            return
        if self.store.is_degraded():
            return
        turn.has_looked, turn.unseen = True, bool(missing) and not warns
        if session:
            _warn(turn, state, session.message_count, missing)

    def _looks(self, config: RunnableConfig) -> bool:
        return self.on_mismatch != "ignore" and not (_goes_back(config) or is_nested(config))

    def _completing(
        self, turn: AgentTurn, state: SessionAgentState
    ) -> StoreFlow[SessionAgentState]:
        """Give the state of a thread that began in an outage, with all that it should have had."""
        view = yield from self.loader.window.loading(turn.session_id, turn.user_id)
        missing = _missing(view, state)
        if not missing:
            return state
        whole: dict[str, Any] = {**_with_missing(state, 0, view, missing), MARK: state.get(MARK)}
        return cast("SessionAgentState", whole)

    def _tail(
        self, turn: AgentTurn, state: SessionAgentState, mark: str | None
    ) -> StoreFlow[list[SessionMessage]]:
        """Give what the session holds behind what the thread is known to have seen."""
        if mark is None:  # from before this middleware: nothing is known
            return (yield from self.loader.window.loading(turn.session_id, turn.user_id))
        log = yield from recalling(turn.session_id, turn.user_id, [mark])
        known = {message.id for message in state.get("messages") or []}
        places = [place for place, message in enumerate(log) if message.id == mark]
        places = places or [place for place, message in enumerate(log) if message.id in known]
        return log[places[-1] + 1 if places else 0 :]


def _goes_back(config: RunnableConfig) -> bool:
    """Tell whether a call names the checkpoint to go on from: it leaves out what came after it."""
    return bool((config.get("metadata") or {}).get("checkpoint_id"))


def note_own(
    turn: AgentTurn, state: SessionAgentState, answers: Sequence[BaseMessage]
) -> dict[str, Any]:
    """Give what a thread is to know of its turn's own messages: what it had before, it may lose.

    Args:
        turn: The turn.
        state: The thread's.
        answers: What a model has answered now.

    Returns:
        What is new in the thread's state.
    """
    known: list[str] = state.get("session_own") or []
    if not known:
        return {}
    made = [own for one in answers if isinstance(one, AIMessage) for own in _results(turn, one)]
    ids = [*turn.told_of, *turn.written_behind(known[0]), *(one.id or "" for one in answers), *made]
    new = [id for id in dict.fromkeys(ids) if id and id not in known]  # noqa: A001
    return {OWN: new} if new else {}


def own_at_end(turn: AgentTurn, state: SessionAgentState) -> dict[str, Any]:
    """Give what a thread is to know of a turn's own messages when that has ended.

    Args:
        turn: The turn.
        state: The thread's.

    Returns:
        What is new in the thread's state: nothing of them is kept that the next turn needs not.
    """
    if turn.unseen:
        return note_own(turn, state, state.get("messages") or [])
    return {OWN: [""]} if state.get("session_own") else {}


def _own_at_start(
    turn: AgentTurn, state: SessionAgentState, mark: str | None
) -> StoreFlow[dict[str, Any]]:
    """Begin with nothing but the message behind which all in the log is new; an edit's is older."""
    known: list[str] = state.get("session_own") or []
    since = mark
    if turn.edit:
        try:
            last = yield GetMessages(turn.session_id, 1, user_id=turn.user_id)
        except StoreUnavailableError:
            return {OWN: [""]}
        since = last[-1].id if last else mark
    if since is None:
        return {}
    return {OWN: turn.told_of if known[:1] == [since] else ["", since, *turn.told_of]}


def _results(turn: AgentTurn, message: AIMessage) -> list[str]:
    return [own for _, own in numbered_calls(turn.session_id, message)]


def _own_and_not_lost(turn: AgentTurn, state: SessionAgentState) -> set[str]:
    """Give what a thread does not miss; a result whose call it has may be lost with a pause."""
    calls = [one for one in state.get("messages") or [] if isinstance(one, AIMessage)]
    own: list[str] = state.get("session_own") or []
    return set(own).difference(result for one in calls for result in _results(turn, one))


def _said_meanwhile(
    turn: AgentTurn, state: SessionAgentState, tail: Sequence[SessionMessage]
) -> list[SessionMessage]:
    """Give what others said in front of the last message that a thread has, or whose call it has.

    What stands behind that, in front of what the turn has said since, is let be from now on.
    """
    known = {*(state.get("session_own") or ()), *turn.written_behind("")}
    end = _end_in_state(turn, tail, state)
    turn.told_of += _before_last(tail[end:], known)
    return _missing(tail[:end], state, known)


def _end_in_state(turn: AgentTurn, tail: Sequence[SessionMessage], state: SessionAgentState) -> int:
    """Give the place behind the last message of a log that a thread has, or whose call it has."""
    messages = state.get("messages") or []
    results = {own for m in messages if isinstance(m, AIMessage) for own in _results(turn, m)}
    held = results.union(message.id or "" for message in messages)
    places = [place for place, message in enumerate(tail) if message.id in held]
    return places[-1] + 1 if places else 0


def _before_last(tail: Sequence[SessionMessage], known: Collection[str]) -> list[str]:
    ids = [message.id or "" for message in tail]
    places = [place for place, id in enumerate(ids) if id in known]  # noqa: A001
    return ids[: places[-1]] if places else []


def _warn(
    turn: AgentTurn, state: SessionAgentState, count: int, missing: list[SessionMessage]
) -> None:
    turn.told_of += [message.id or "" for message in missing]
    held = len(state.get("messages") or [])
    _logger.warning(_MISMATCH, turn.session_id, count, len(missing), held)


def _missing(
    tail: Sequence[SessionMessage], state: SessionAgentState, own: Collection[str] = ()
) -> list[SessionMessage]:
    """Give what a thread lacks: a result that it has may have another id in the log."""
    messages = state.get("messages") or []
    known = {*own, *(message.id for message in messages)}
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    return [
        message
        for message in tail
        if message.id not in known and not is_made_up(message)
        if message.tool_call_id is None or message.tool_call_id not in answered
    ]


def _with_missing(
    state: SessionAgentState,
    start: int,
    tail: list[SessionMessage],
    missing: list[SessionMessage],
) -> SessionAgentState:
    """Put what a thread lacks where the session has it: behind what it knows, before what is new.

    A call's results stay behind it: what was said between them comes after them.
    """
    messages = state.get("messages") or []
    start = _past_results(messages, start)
    merged, rest = list[BaseMessage](messages[:start]), messages[start:]
    lacks = {message.id for message in missing}
    for message in tail:
        places = [place for place, other in enumerate(rest) if other.id == message.id]
        if message.id in lacks:
            _put(merged, *to_show([message]))
        elif places:
            end = _past_results(rest, places[-1] + 1)
            merged, rest = [*merged, *rest[:end]], rest[end:]
    whole = [*merged, *rest]
    marks = (state.get(MARK), missing[-1].id)
    mark = next((message.id for message in reversed(whole) if message.id in marks), marks[1])
    now: dict[str, Any] = {"messages": whole, MARK: mark}
    return cast("SessionAgentState", {**state, **now})


def _start_of(tail: Sequence[SessionMessage], state: SessionAgentState, since: str | None) -> int:
    """Give the place in a state at which it begins to hold what the session has in its tail."""
    messages, ids = state.get("messages") or [], {message.id for message in tail}
    end = _end_of_known(state)
    held = [place for place, message in enumerate(messages[:end]) if message.id in ids]
    behind = [place + 1 for place, message in enumerate(messages[:end]) if message.id == since]
    return next(iter(behind or held), end)


def _end_of_known(state: SessionAgentState) -> int:
    """Give the place behind what a thread held when its last turn ended, or began."""
    messages, seen = state.get("messages") or [], state.get("session_seen")
    new = behind_mark(state) if seen is None else edited(messages, seen)
    ids = {message.id for message in new}
    known = [place for place, message in enumerate(messages) if message.id not in ids]
    return known[-1] + 1 if known else 0


def _past_results(messages: Sequence[BaseMessage], place: int) -> int:
    while place < len(messages) and isinstance(messages[place], ToolMessage):
        place += 1
    return place


def _put(messages: list[BaseMessage], message: BaseMessage) -> None:
    """Add a message at the end; a result behind its call, and none whose call is not there."""
    if not isinstance(message, ToolMessage):
        messages.append(message)
        return
    for place in range(len(messages) - 1, -1, -1):
        asking = messages[place]
        calls = asking.tool_calls if isinstance(asking, AIMessage) else []
        if message.tool_call_id in [call["id"] for call in calls]:
            messages.insert(_past_results(messages, place + 1), message)
            return
