"""What a checkpointer's thread has seen of its session, and how it is given what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages

from langchain_sessionstore.agents.changes import Changes
from langchain_sessionstore.agents.loading import SessionLoader
from langchain_sessionstore.agents.origins import Origins, is_nested
from langchain_sessionstore.agents.sent import as_said
from langchain_sessionstore.agents.state import (
    MARK,
    OUTAGE,
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
from sessionstore import SessionMessage, SessionStore
from sessionstore.integration import StoreFlow
from sessionstore.operations import Get
from sessionstore.window.turns import is_made_up

__all__ = ["SessionSight", "is_empty"]

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
        return {MARK: begun[-1].id, SEEN: fingerprints(begun), OUTAGE: in_outage} | update

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
        looks = self.on_mismatch != "ignore" and not (_goes_back(config) or is_nested(config))
        if not has_waited and not looks:
            return state
        session = yield Get(turn.session_id, 1, turn.user_id)
        if session is None or not session.messages or session.messages[-1].id == state.get(MARK):
            return state
        tail = yield from self._tail(turn, state)
        missing = _missing(tail, state)
        if missing and (has_waited or self.on_mismatch == "load"):
            return _with_missing(state, _end_of_known(state), tail, missing)
        if missing:
            held = len(state.get("messages") or [])
            count = session.message_count
            _logger.warning(_MISMATCH, turn.session_id, count, len(missing), held)
        return state

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

    def _tail(self, turn: AgentTurn, state: SessionAgentState) -> StoreFlow[list[SessionMessage]]:
        """Give what the session holds behind what the thread is known to have seen."""
        mark = cast("str | None", state.get(MARK))
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


def _missing(tail: Sequence[SessionMessage], state: SessionAgentState) -> list[SessionMessage]:
    """Give what a thread lacks: a result that it has may have another id in the log."""
    messages = state.get("messages") or []
    known = {message.id for message in messages}
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
    now: dict[str, Any] = {"messages": [*merged, *rest], MARK: missing[-1].id}
    return cast("SessionAgentState", {**state, **now})


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
