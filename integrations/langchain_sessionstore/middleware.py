"""`SessionMiddleware`: a session as the memory of a `create_agent` agent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.leases.modes import AgentTurns, checked_terms
from langchain_sessionstore.rewinding import saving_rewound
from langchain_sessionstore.sameness import edited, fingerprints
from langchain_sessionstore.saving import (
    OnSaveError,
    aplay_to_its_end,
    checked_on_save_error,
)
from langchain_sessionstore.threads import OnMismatch, checked_on_mismatch
from langchain_sessionstore.tokens import langchain_window
from sessionstore import SessionStore, Window
from sessionstore.arguments import checked_id
from sessionstore.flow import aplay, play
from sessionstore.integration import StoreFlow, checked_store

try:
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        ExtendedModelResponse,
        ModelResponse,
    )
    from langgraph.config import get_config
    from langgraph.graph.message import REMOVE_ALL_MESSAGES
    from langgraph.types import Command

    from langchain_sessionstore.agents.callers import (
        called_from,
        caller_around,
        config_around,
        context_of,
    )
    from langchain_sessionstore.agents.changes import Changes
    from langchain_sessionstore.agents.decisions import require_own_decision
    from langchain_sessionstore.agents.leases import AgentLeases
    from langchain_sessionstore.agents.loading import SessionLoader
    from langchain_sessionstore.agents.model_request import given_before, with_closed_calls
    from langchain_sessionstore.agents.origins import (
        Origins,
        SaverFlow,
        checkpointer_of,
        is_undisturbed,
        steps_at_end,
    )
    from langchain_sessionstore.agents.rewinding import refuse_with_checkpointer, rewind_asked_for
    from langchain_sessionstore.agents.saving import TurnSaver, hide_from_streams, log_given_up
    from langchain_sessionstore.agents.seen import (
        SessionSight,
        is_empty,
        note_own,
        own_at_end,
    )
    from langchain_sessionstore.agents.state import (
        MARK,
        SEEN,
        STEPS,
        THREAD,
        TURN,
        SessionAgentState,
        behind_mark,
    )
    from langchain_sessionstore.agents.thread_owner import require_begun, require_own, verifying
    from langchain_sessionstore.agents.turn_finder import TurnFinder
except ImportError as _missing:
    raise ImportError(
        "SessionMiddleware needs LangChain's agents: pip install 'langchain>=1.2.11'"
    ) from _missing

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ToolCallRequest
    from langgraph.runtime import Runtime

__all__ = ["SessionMiddleware"]

T = TypeVar("T")

_logger = logging.getLogger("sessionstore")
_NO_CONFIG: RunnableConfig = {}
_EDITED = "hitl_edited_tool_calls"
_REMOVE_ALL = RemoveMessage(id=REMOVE_ALL_MESSAGES)


class SessionMiddleware(AgentMiddleware[SessionAgentState, Any]):
    """A session as the memory of a `create_agent` agent.

    A turn begins with the session's view in the agent's state. What the user said is saved before
    the model runs, each message as soon as it is made: a tool that raises, or a crash, loses none.
    A message is in the log once, by its id; one that was changed in the state, as by a redaction
    or a reviewer, is replaced there; one that was removed or summed up stays there. A summary by
    LangChain's `SummarizationMiddleware`, in front or behind, is kept in the session's metadata:
    later turns begin with it, and nothing is summed up twice.

    The session is ``session_id`` of the config's ``configurable`` or of the runtime's context, else
    ``thread_id``; ``user_id``, at the same places, is the caller and the owner.

    An agent with a checkpointer has its view from there, and the log mirrors the state. A thread
    that is *empty* is given the session's view first, once: so an agent with approvals goes on with
    what a chain began, or with what the checkpointer forgot. What was to resume such a thread is
    refused (`NothingToResumeError`).

    A thread belongs to the session and the user that began it: another's is refused before the
    model runs, also where it goes on after a pause; what a refused caller said is taken out of it
    at its next turn, and a pause that he ended is refused to its owner, who says something new
    then. A thread that names no owner, from before this middleware or of a
    first turn that failed, belongs to who began it, as far as the checkpoints' metadata say: the
    ``session_id`` and ``user_id`` of the config's ``configurable``. Where they say nothing, it is
    that of a caller whose session is named like the thread, or has its messages, or who names no
    user. What LangGraph gives without running the agent is not guarded: a state or its history, the
    first chunk of ``stream_mode="values"``, a finished thread that is called with ``None`` or a
    `Command`. So a server checks first that the thread is its user's.

    A turn that was answered and is sent again with its messages' ids gives that answer, and the
    model is not asked. A message that comes again with its id and says something else is an edit:
    the log has the new text in its place, and the model is asked with what stood before it. In the
    last turn its answer takes the old one's place; in an earlier one the turn goes on at the end,
    and a checkpointer's state goes on from the edit.

    With ``rewind_to``, the id of a message, at the same places as the session, a turn runs as if
    nothing came after that message. What did is deleted in the step that saves the input.

    A call that was left without a result is closed in what the model is sent. An agent that is
    called in a tool of another has a session of its own: the one that its config names, else one
    named after the tool result's id and the agent (``"<id>/<agent_id>"``); never the session of the
    agent around it.

    Example:
        >>> from langchain.agents import create_agent
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from langchain_sessionstore import SessionMiddleware
        >>> from sessionstore import InMemorySessionStore
        >>> model = FakeListChatModel(responses=["Hello, Alice!", "You are Alice."])
        >>> agent = create_agent(model, middleware=[SessionMiddleware(InMemorySessionStore())])
        >>> alice = {"configurable": {"session_id": "alice-1"}}
        >>> turn = agent.invoke({"messages": [("user", "I am Alice.")]}, alice)
        >>> turn = agent.invoke({"messages": [("user", "Who am I?")]}, alice)
        >>> [message.content for message in turn["messages"]]
        ['I am Alice.', 'Hello, Alice!', 'Who am I?', 'You are Alice.']

    Args:
        store: Where the sessions are.
        agent_id: The agent of the sessions that are made; ``None`` for the name that the agent was
            made with, or else ``"default"``.
        window: What a turn sees of its session; ``None`` for all of it, or for all that its summary
            does not cover.
        user_scoped: Require a ``user_id`` of each call. Without it a call that names no user may go
            on with any session whose id it knows.
        on_save_error: Takes each failed save of what the model answered or a tool gave, which is
            the error's ``answer``, and the agent goes on: the next step tries to save that, too,
            and the end of the turn reports what could not be. A message that JSON can't hold is
            reported once, and not tried again; the rest is saved. A plain function, for the async
            methods too; tools that run at once may call it from several threads.
        concurrent_turns: What a turn does while another one of its session runs. ``"interleave"``
            runs beside it: both are kept, step by step. The others take the session's lease, under
            which all is saved: ``"wait"`` waits for its end, ``"reject"`` raises
            `SessionLeasedError`. In an outage that a fallback answers they raise `OutageError`.
        turn_wait: How many seconds ``"wait"`` waits before it raises `SessionLeasedError`.
        on_mismatch: What a turn does whose session has messages that its checkpointer's thread has
            never seen, as from a chain. ``"warn"`` logs how many both hold; ``"load"`` puts them
            into the thread, where the session has them; ``"ignore"`` does not look, which saves a
            request. A call that names a ``checkpoint_id`` goes back on purpose: nobody looks.

    Raises:
        TypeError: The store is not a `SessionStore`, the window is not a `Window`, or
            ``on_save_error`` is not a plain function.
        InvalidSessionError: The agent's id, ``concurrent_turns``, ``turn_wait`` or ``on_mismatch``
            is invalid. From a call of the agent: it names no session, no user where one is
            required, or two different ones, or says nothing where nothing was said, or
            ``rewind_to`` with a checkpointer; nothing has run. Or middleware in front made a
            request without a runtime.
        NothingToResumeError: From a call of the agent: it brings no message, and the checkpointer
            has no state of its thread; nothing has run.
        SessionNotFoundError: From a call of the agent: the session has no message ``rewind_to``;
            nothing has run.
        SessionAccessError: From a call of the agent: the session belongs to another user, or the
            checkpointer's thread to another user or session; nothing has run.
        SessionSaveError: From a call of the agent: what the model answered or a tool gave could not
            be saved, not at the second try either. The turn ends there. `TurnSupersededError` where
            its lease was lost.
        SessionLeasedError: From a call of the agent: another turn of the session runs.
        SessionStoreError: From a call of the agent: the store's other errors, before the model or a
            tool has run.
    """

    state_schema = SessionAgentState

    def __init__(
        self,
        store: SessionStore,
        *,
        agent_id: str | None = None,
        window: Window | None = None,
        user_scoped: bool = False,
        on_save_error: OnSaveError | None = None,
        concurrent_turns: AgentTurns = "interleave",
        turn_wait: float = 60,
        on_mismatch: OnMismatch = "warn",
    ) -> None:
        super().__init__()
        self._store = checked_store(store)
        agent_id = None if agent_id is None else checked_id(agent_id, "agent_id")
        self._turns = TurnFinder(agent_id, user_scoped=user_scoped)
        self._loader = SessionLoader(langchain_window(window) or Window())
        self._sight = SessionSight(self._store, self._loader, checked_on_mismatch(on_mismatch))
        self._saver = TurnSaver(checked_on_save_error(on_save_error))
        terms = checked_terms(concurrent_turns, turn_wait, of_agent=True)
        self._leases = AgentLeases(self._store, terms)

    def __repr__(self) -> str:
        """Show where it remembers."""
        return f"{type(self).__name__}({self._store!r})"

    # -- LangChain's hooks, sync and async --------------------------------------------------------

    def before_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Load the view, and save what the user said."""
        config = config or get_config()
        turn = self._turns.new(config, runtime.context)
        traced, left = (Origins(), Changes()), None
        if saver := checkpointer_of(config):
            left = play(self._leases.looking_back(turn, state, config), saver.get_tuple)
        with self._leases.beginning(turn, left, is_resumable=saver is not None):
            if saver:
                play(self._tracing(*traced, state, config), saver.get_tuple)
            beginning = self._beginning(turn, state, runtime, config, traced)
            return self._play(turn, beginning)

    async def abefore_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Async twin of `before_agent`."""
        config = config or get_config()
        turn = self._turns.new(config, runtime.context)
        traced, left = (Origins(), Changes()), None
        if saver := checkpointer_of(config):
            left = await aplay(self._leases.looking_back(turn, state, config), saver.aget_tuple)
        async with self._leases.abeginning(turn, left, is_resumable=saver is not None):
            if saver:
                await aplay(self._tracing(*traced, state, config), saver.aget_tuple)
            beginning = self._beginning(turn, state, runtime, config, traced)
            return await self._aplay(turn, beginning)

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> Any:
        """Save what came since, then the model's answer."""
        turn = self._turns.of(request.state, context_of(request))
        _check(turn, request.state)
        with self._leases.step(turn, request.state):
            self._play(turn, self._saver.catching_up(turn, request.state["messages"], whole=True))
            if again := given_before(turn, request):
                self._play(turn, self._saver.keeping_again(turn, request, again))
                return self._play(turn, self._kept(request.state, turn, again))
            with with_closed_calls(request) as shown:
                response = handler(shown)
            self._play(turn, self._saver.keeping(turn, request, response))
            return self._play(turn, self._kept(request.state, turn, response))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Any:
        """Async twin of `wrap_model_call`."""
        turn = self._turns.of(request.state, context_of(request))
        await _acheck(turn, request.state)
        async with self._leases.astep(turn, request.state):
            await self._aplay(
                turn, self._saver.catching_up(turn, request.state["messages"], whole=True)
            )
            if again := given_before(turn, request):
                await self._aplay(turn, self._saver.keeping_again(turn, request, again))
                return await self._aplay(turn, self._kept(request.state, turn, again))
            with with_closed_calls(request) as shown:
                response = await handler(shown)
            await self._aplay(turn, self._saver.keeping(turn, request, response))
            return await self._aplay(turn, self._kept(request.state, turn, response))

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Save what the tool gives."""
        turn, call_message, result_id = self._turns.calling(request)
        _check(turn, request.state, request.runtime.config)
        with self._leases.step(turn, request.state, of_tool=True):
            self._play(turn, self._saver.catching_up(turn, request.state["messages"]))
            with called_from(turn.session_id, request.runtime, result_id):
                result = handler(request)
            self._play(turn, self._saver.answering(turn, call_message, result_id, request, result))
            return result

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Async twin of `wrap_tool_call`."""
        turn, call_message, result_id = self._turns.calling(request)
        await _acheck(turn, request.state, request.runtime.config)
        async with self._leases.astep(turn, request.state, of_tool=True):
            await self._aplay(turn, self._saver.catching_up(turn, request.state["messages"]))
            with called_from(turn.session_id, request.runtime, result_id):
                result = await handler(request)
            await self._aplay(
                turn, self._saver.answering(turn, call_message, result_id, request, result)
            )
            return result

    def after_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Save what other middleware said or changed at the end."""
        config = config or get_config()
        turn = self._turns.of(state, runtime.context, config)
        with self._leases.ending(turn, state):
            return self._play(turn, self._ending(turn, state, config))

    async def aafter_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Async twin of `after_agent`."""
        config = config or get_config()
        turn = self._turns.of(state, runtime.context, config)
        async with self._leases.aending(turn, state):
            return await self._aplay(turn, self._ending(turn, state, config))

    def _play(self, turn: AgentTurn, flow: StoreFlow[T]) -> T:
        return play(flow, self._leases.runner(turn).run)

    async def _aplay(self, turn: AgentTurn, flow: StoreFlow[T]) -> T:
        # A tool that raises cancels those beside it: what they gave is still saved, while
        # the loop runs. One that ends (asyncio.run, Ctrl-C) cancels the saves, too.
        return await aplay_to_its_end(flow, self._leases.runner(turn))

    # -- Flows: written once, sync and async ------------------------------------------------------

    def _tracing(
        self, origins: Origins, changes: Changes, state: SessionAgentState, config: RunnableConfig
    ) -> SaverFlow[None]:
        """Find out who said what is not in the log yet, where others may have been there."""
        if not _mirrors(config, state) or caller_around() is not None:
            return
        new, steps = behind_mark(state), state.get("session_steps")
        ids = [message.id or "" for message in new]
        first = not (state.get("session_thread") or state.get(MARK))
        if ids and not is_undisturbed(config, steps, first=first):
            yield from origins.tracing(config, ids, steps)
        earlier = (state.get("messages") or [])[: -len(new) or None]
        if changed := edited(earlier, state.get("session_seen")):
            thread = state.get("session_thread") or [None, None]
            yield from changes.tracing(config, changed, steps, thread)

    def _beginning(
        self,
        turn: AgentTurn,
        state: SessionAgentState,
        runtime: Runtime[Any],
        config: RunnableConfig,
        traced: tuple[Origins, Changes],
    ) -> StoreFlow[dict[str, Any]]:
        origins, changes = traced
        known: dict[str, Any] = {TURN: turn} | self._leases.known(turn)
        messages = state.get("messages") or []
        rewind = rewind_asked_for(turn, config, runtime.context)
        if not _mirrors(config, state):
            loading = self._loader.loading(turn, messages, opens=rewind is None)
            loaded = yield from saving_rewound(loading, rewind)
            turn.summarized.before(loaded or messages)
            hide_from_streams(config, loaded or [])
            return known | ({"messages": [_REMOVE_ALL, *loaded]} if loaded else {})
        refuse_with_checkpointer(rewind)
        require_own(turn, state, user_scoped=self._turns.user_scoped)
        yield from verifying(turn)
        thread = state.get("session_thread") or [turn.session_id, turn.user_id]
        yield from require_begun(turn, state, config, origins)
        if not state.get("session_thread"):
            origins.refused.clear()  # of a thread that nobody owned yet
        known |= {THREAD: thread} | ({STEPS: origins.steps} if origins.steps else {})
        others = origins.others(thread)
        if is_empty(state, config, origins):
            known |= yield from self._sight.first_turn(turn, state, others)
        else:
            known |= yield from self._sight.next_turn(turn, state, others, config, changes)
        self._saver.report_given_up(turn, or_else=log_given_up)
        hide_from_streams(config, known.get("messages", []))
        return known

    def _ending(
        self, turn: AgentTurn, state: SessionAgentState, config: RunnableConfig
    ) -> StoreFlow[dict[str, Any] | None]:
        messages = state["messages"]
        last = messages[-1] if messages else None
        save = partial(turn.mirroring, messages)
        turn.behind = not (yield from self._saver.saving_or_reporting(turn, messages, last, save))
        if last is None or turn.behind or not _mirrors(config, state):
            return None  # without a mark the next turn mirrors this one, too
        steps = steps_at_end(config, state.get("session_steps"))
        yield from self._sight.looking_back(turn, state, config)
        ended = {MARK: last.id, STEPS: steps, SEEN: fingerprints(messages)} | own_at_end(
            turn, state
        )
        return ended | self._leases.ended(turn)

    def _kept(self, state: Any, turn: AgentTurn, response: ModelResponse[Any]) -> StoreFlow[Any]:
        if turn.resumed:
            yield from self._sight.looking_back(turn, state, config_around())
        known = note_own(turn, state, response.result)
        if state.get(TURN) is not turn:
            known |= {TURN: turn} | self._leases.known(turn)
        return ExtendedModelResponse(response, Command(update=known)) if known else response


def _mirrors(config: RunnableConfig, state: SessionAgentState) -> bool:
    # An agent in a tool may see the checkpointer of the one around it, with nothing in it yet.
    return checkpointer_of(config) is not None and (caller_around() is None or MARK in state)


def _check(turn: AgentTurn, state: Any, config: RunnableConfig | None = None) -> None:
    config = (config or config_around()) if turn.resumed else _NO_CONFIG
    if saver := checkpointer_of(config):
        play(require_own_decision(turn, state, config), saver.get_tuple)


async def _acheck(turn: AgentTurn, state: Any, config: RunnableConfig | None = None) -> None:
    config = (config or config_around()) if turn.resumed else _NO_CONFIG
    if saver := checkpointer_of(config):
        await aplay(require_own_decision(turn, state, config), saver.aget_tuple)
