"""`SessionMiddleware`: a session as the memory of a `create_agent` agent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.again import answer_id, end_of_turn
from langchain_sessionstore.agent_turn import AgentTurn
from langchain_sessionstore.codec import to_langchain_messages
from langchain_sessionstore.pending import closed
from langchain_sessionstore.saving import (
    OnSaveError,
    SessionSaveError,
    aplay_to_its_end,
    checked_on_save_error,
    failed,
)
from langchain_sessionstore.tokens import langchain_window
from sessionstore import (
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionStore,
    SessionStoreError,
    StoreUnavailableError,
    Window,
)
from sessionstore.arguments import checked_id
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import new_id

try:
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        AgentState,
        ExtendedModelResponse,
        ModelResponse,
        PrivateStateAttr,
    )
    from langgraph.channels.untracked_value import UntrackedValue
    from langgraph.config import get_config
    from langgraph.graph.message import REMOVE_ALL_MESSAGES
    from langgraph.types import Command
    from typing_extensions import NotRequired

    from langchain_sessionstore.origins import (
        Origins,
        belongs,
        checkpointer_of,
        is_undisturbed,
        steps_at_end,
    )
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
_MARK = "session_mark"
_NOT_OWN = (
    "this thread of the checkpointer belongs to another session or user: "
    "give each session a thread of its own"
)
_REMOVE_ALL = RemoveMessage(id=REMOVE_ALL_MESSAGES)
_STEPS = "session_steps"
_THREAD = "session_thread"
_TURN = "session_turn"


class SessionAgentState(AgentState[Any]):
    """An agent's state, with the turn that is running and the last message that is in the log.

    A checkpointer's has the session and the user that its thread belongs to, too, and the steps at
    which a turn ended, so that the next one sees whether others were there.
    """

    session_turn: NotRequired[Annotated[AgentTurn, UntrackedValue, PrivateStateAttr]]
    session_mark: NotRequired[Annotated[str, PrivateStateAttr]]
    session_steps: NotRequired[Annotated[list[int], PrivateStateAttr]]
    session_thread: NotRequired[Annotated[list[str | None], PrivateStateAttr]]


class _Caller:
    """The tool call that an agent is called from: its sessions are not for the agent inside."""

    def __init__(self, sessions: frozenset[str], result_id: str) -> None:
        self.sessions = sessions
        self.result_id = result_id


_caller: ContextVar[_Caller | None] = ContextVar("sessionstore_caller", default=None)


class SessionMiddleware(AgentMiddleware[SessionAgentState, Any]):
    """A session as the memory of a `create_agent` agent.

    A turn begins with the session's view in the agent's state. What the user said is saved before
    the model runs, each message as soon as it is made: a tool that raises, or a crash, loses none.
    A message is in the log once, by its id; one that was changed in the state, as by a redaction
    or a reviewer, is replaced there; one that was removed or summed up stays there.

    The session is ``session_id`` of the config's ``configurable`` or of the runtime's context, else
    ``thread_id``; ``user_id``, at the same places, is the caller and the owner.

    An agent with a checkpointer has its view from there: nothing is loaded, and the log mirrors
    the state. A thread belongs to the session and the user that began it: another's is refused
    before the model runs, also where it goes on after a pause; what a refused caller said is taken
    out of it at its next turn. A thread that tells no owner, from before this middleware or of a
    first turn that failed, belongs to who began it, as far as the checkpoints' metadata tell: the
    ``session_id`` and ``user_id`` of the config's ``configurable``. Where they tell nothing, it is
    that of a caller whose session is named like the thread, or has its messages, or who names no
    user. What LangGraph gives without running the agent is not guarded: a state or its history, the
    first chunk of ``stream_mode="values"``, a finished thread that is called with ``None`` or a
    `Command`. So a server checks first that the thread is its user's.

    A turn that was answered and is sent again with its messages' ids gives that answer, and the
    model is not asked. A call that was left without a result is closed in what the model is sent.
    An agent that is called in a tool of another has a session of its own: the one that its config
    names, else one named after the tool result's id and the agent (``"<id>/<agent_id>"``); never
    the session of the agent around it.

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
        window: What a turn sees of its session; ``None`` for all of it.
        user_scoped: Require a ``user_id`` of each call. Without it a call that names no user may go
            on with any session whose id it knows.
        on_save_error: Takes each failed save of what the model answered or a tool gave, which is
            the error's ``answer``, and the agent goes on: the next step tries to save that, too,
            and the end of the turn tells what could not be. A message that JSON can't hold is told
            once, and not tried again; the rest is saved. A plain function, for the async methods
            too; tools that run at once may call it from several threads.

    Raises:
        TypeError: The store is no `SessionStore`, the window is no `Window`, or ``on_save_error``
            is no plain function.
        InvalidSessionError: The agent's id is none. From a call of the agent: it names no session,
            no user where one is required, or two different ones; nothing has run.
        SessionAccessError: From a call of the agent: the session belongs to another user, or the
            checkpointer's thread to another user or session; nothing has run.
        SessionSaveError: From a call of the agent: what the model answered or a tool gave could not
            be saved, not at the second try either. The turn ends there.
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
    ) -> None:
        super().__init__()
        if not isinstance(store, SessionStore):
            kind = type(store).__name__
            raise TypeError(f"store must be a SessionStore, such as open_store(url), not {kind}")
        self._store = store
        self._agent_id = None if agent_id is None else checked_id(agent_id, "agent_id")
        self._window = langchain_window(window) or Window()
        self._user_scoped = user_scoped
        self._on_save_error = checked_on_save_error(on_save_error)

    def __repr__(self) -> str:
        """Tell where it remembers."""
        return f"{type(self).__name__}({self._store!r})"

    # -- LangChain's hooks, in both colours -------------------------------------------------------

    def before_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Load the view, and save what the user said."""
        config = config or get_config()
        origins = Origins()
        if saver := checkpointer_of(config):
            play(self._tracing(origins, state, config), saver.get_tuple)
        return self._play(self._beginning(state, runtime, config, origins))

    async def abefore_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Async twin of `before_agent`."""
        config = config or get_config()
        origins = Origins()
        if saver := checkpointer_of(config):
            await aplay(self._tracing(origins, state, config), saver.aget_tuple)
        return await self._aplay(self._beginning(state, runtime, config, origins))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> Any:
        """Save what came since, then the model's answer."""
        turn = self._turn(request.state, request.runtime.context)
        self._play(self._catching_up(turn, request.state["messages"], whole=True))
        response = _given_before(turn, request) or handler(_closed(request))
        self._play(self._keeping(turn, request, response))
        return _kept(request.state, turn, response)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> Any:
        """Async twin of `wrap_model_call`."""
        turn = self._turn(request.state, request.runtime.context)
        await self._aplay(self._catching_up(turn, request.state["messages"], whole=True))
        response = _given_before(turn, request) or await handler(_closed(request))
        await self._aplay(self._keeping(turn, request, response))
        return _kept(request.state, turn, response)

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Save what the tool gives."""
        turn, call_message = self._calling(request)
        self._play(self._catching_up(turn, request.state["messages"]))
        with _called_from(turn, call_message, request):
            result = handler(request)
        self._play(self._answering(turn, call_message, request, result))
        return result

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Async twin of `wrap_tool_call`."""
        turn, call_message = self._calling(request)
        await self._aplay(self._catching_up(turn, request.state["messages"]))
        with _called_from(turn, call_message, request):
            result = await handler(request)
        await self._aplay(self._answering(turn, call_message, request, result))
        return result

    def after_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Save what other middleware said or changed at the end."""
        return self._play(self._ending(state, runtime, config))

    async def aafter_agent(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig = _NO_CONFIG
    ) -> dict[str, Any] | None:
        """Async twin of `after_agent`."""
        return await self._aplay(self._ending(state, runtime, config))

    def _play(self, flow: Flow[T]) -> T:
        return play(flow, self._store._play)

    async def _aplay(self, flow: Flow[T]) -> T:
        # A tool that raises cancels those beside it: what they gave is saved all the same, while
        # the loop runs. One that ends (asyncio.run, Ctrl-C) cancels the saves, too.
        return await aplay_to_its_end(flow, self._store)

    # -- Flows: written once, for both colours ----------------------------------------------------

    def _tracing(
        self, origins: Origins, state: SessionAgentState, config: RunnableConfig
    ) -> Flow[None]:
        """Find out who said what is not in the log yet, where others may have been there."""
        ids = [message.id or "" for message in _behind_mark(state)]
        first = not (state.get("session_thread") or state.get(_MARK))
        undisturbed = is_undisturbed(config, state.get("session_steps"), first=first)
        if ids and not undisturbed and _mirrors(config, state) and _caller.get() is None:
            yield from origins.tracing(config, ids, state.get("session_steps"))

    def _beginning(
        self,
        state: SessionAgentState,
        runtime: Runtime[Any],
        config: RunnableConfig,
        origins: Origins,
    ) -> Flow[dict[str, Any]]:
        turn = self._new_turn(config, runtime.context)
        if not _mirrors(config, state):
            return (yield from self._loading(turn, state.get("messages") or [], config))
        self._require_own(turn, state)
        yield from self._verifying(turn)
        thread = state.get("session_thread") or [turn.session_id, turn.user_id]
        yield from self._require_begun(turn, state, config, origins)
        if not state.get("session_thread"):
            origins.refused.clear()  # of a thread that nobody owned yet
        others = origins.others(thread)
        known = yield from self._mirroring(turn, state, others)
        known[_THREAD] = thread
        if origins.steps:
            known[_STEPS] = origins.steps
        if others:
            removed: list[BaseMessage] = [RemoveMessage(id=id) for id in others]  # noqa: A001
            _tell_streams(config, removed)
            known["messages"] = removed
        return known

    def _mirroring(
        self, turn: AgentTurn, state: SessionAgentState, others: Collection[str]
    ) -> Flow[dict[str, Any]]:
        messages = [m for m in state.get("messages") or [] if m.id not in others]
        new = [message for message in _behind_mark(state) if message.id not in others]
        if not new:  # a turn that is sent again, maybe
            turn.answer_id = answer_id(messages[-1]) if messages else None
            yield turn.checking(self._store)
            return {_TURN: turn}
        # What stands before the last message was refused in a turn before, which could set no mark.
        needed = [] if isinstance(new[-1], (AIMessage, ToolMessage)) else new[-1:]
        yield from turn.saving(self._store, new, correct=False, needed=needed)
        self._tell_given_up(turn, self._on_save_error or _log_given_up)
        return {_TURN: turn, _MARK: messages[-1].id}

    def _loading(
        self, turn: AgentTurn, messages: list[AnyMessage], config: RunnableConfig
    ) -> Flow[dict[str, Any]]:
        loaded = yield from self._window.loading(self._store, turn.session_id, turn.user_id)
        shown = to_langchain_messages(loaded)
        given = {message.id: message for message in messages}
        new = [message for message in messages if message.id not in {m.id for m in shown}]
        shown = closed(shown, new or [HumanMessage("")])  # the model goes on in any case
        again = [place for place, message in enumerate(shown) if message.id in given]
        shown = [given.get(message.id, message) for message in shown]
        if again:  # to send an id again changes nothing
            if not new:
                shown = shown[: end_of_turn(shown, again[-1])]
                turn.answer_id = answer_id(shown[-1])
            turn.know(loaded, shown[again[0] :])
        yield from turn.saving(self._store, messages, correct=False, needed=messages)
        if not shown:
            return {_TURN: turn}
        _tell_streams(config, shown)
        state = _with_system_first([*shown, *new])
        return {_TURN: turn, "messages": [_REMOVE_ALL, *state]}

    def _keeping(
        self, turn: AgentTurn, request: ModelRequest[Any], response: ModelResponse[Any]
    ) -> Flow[None]:
        call_message = None
        for message in response.result:
            if isinstance(message, AIMessage):
                message.id = message.id or new_id()
                call_message = message
            elif isinstance(message, ToolMessage) and message.id is None and call_message:
                message.id = turn.result_id(call_message, message.tool_call_id)
        save = partial(turn.saving, self._store, response.result)
        yield from self._telling(turn, request.state["messages"], call_message, save)

    def _answering(
        self, turn: AgentTurn, call_message: AIMessage, request: ToolCallRequest, result: Any
    ) -> Flow[None]:
        call_id, state = request.tool_call["id"], request.state["messages"]
        id = turn.result_id(call_message, call_id)  # noqa: A001
        answers: list[ToolMessage] = []
        others: list[BaseMessage] = []
        for message in _messages_of(result):
            if isinstance(message, ToolMessage) and message.tool_call_id == call_id:
                message.id = id
                answers.append(message)
            elif not isinstance(message, RemoveMessage):
                message.id = message.id or f"{id}-{len(others)}"
                others.append(message)

        def save() -> Flow[None]:
            if answers:
                last = answers[-1]
                yield from turn.saving_result(self._store, state, call_message, call_id, last)
            yield from turn.saving(self._store, others)

        yield from self._telling(turn, state, result, save)

    def _ending(
        self, state: SessionAgentState, runtime: Runtime[Any], config: RunnableConfig
    ) -> Flow[dict[str, Any] | None]:
        config = config or get_config()
        messages = state["messages"]
        turn = self._turn(state, runtime.context, config)
        last = messages[-1] if messages else None
        save = partial(turn.mirroring, self._store, messages)
        turn.behind = not (yield from self._telling(turn, messages, last, save))
        if last is None or turn.behind or not _mirrors(config, state):
            return None  # without a mark the next turn mirrors this one, too
        return {_MARK: last.id, _STEPS: steps_at_end(config, state.get("session_steps"))}

    def _catching_up(
        self, turn: AgentTurn, state: list[AnyMessage], *, whole: bool = False
    ) -> Flow[None]:
        """Bring the log up to the state, which is the whole of it where no tool runs beside."""
        yield from self._verifying(turn)
        save = partial(turn.mirroring, self._store, state)
        if turn.behind:  # what it was told to go on without may wait
            with suppress(SessionStoreError):
                yield from save()
                turn.behind = not whole
            self._tell_given_up(turn, self._on_save_error)
        elif turn.has_run(state):
            yield from self._telling(turn, state, state[-1], save)
        else:
            yield from save()
            self._tell_given_up(turn, self._on_save_error)

    def _telling(
        self,
        turn: AgentTurn,
        state: list[AnyMessage],
        answer: Any,
        save: Callable[[], Flow[None]],
    ) -> Flow[bool]:
        """Save what was paid for or can't be undone, or else give it to the caller."""
        saved = True
        try:
            try:
                yield from self._in_order(turn, state, save)
            except StoreUnavailableError:  # to append an id again adds nothing
                yield from self._in_order(turn, state, save)
        except SessionStoreError as error:
            failed(self._on_save_error, answer, error, input_saved=True)
            turn.behind = True
            saved = False
        self._tell_given_up(turn, self._on_save_error, answer)
        return saved

    def _tell_given_up(
        self, turn: AgentTurn, on_save_error: OnSaveError | None, answer: Any = None
    ) -> None:
        for message, error in turn.telling_given_up():
            said = message if on_save_error or answer is None else answer
            failed(on_save_error, said, error, input_saved=True)

    def _in_order(
        self, turn: AgentTurn, state: list[AnyMessage], save: Callable[[], Flow[None]]
    ) -> Flow[None]:
        if turn.behind:
            yield from turn.mirroring(self._store, state)
        yield from save()

    # -- Whose turn it is -------------------------------------------------------------------------

    def _turn(self, state: Any, context: Any, config: RunnableConfig | None = None) -> AgentTurn:
        turn: AgentTurn | None = state.get(_TURN)
        if turn is None:  # it goes on after an interrupt or a crash
            turn = self._new_turn(config or _config_around(), context, resumed=True)
            self._require_own(turn, state)
        answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
        if answers and state.get(_EDITED):
            turn.edit(answers[-1], state[_EDITED])
        return turn

    def _require_own(self, turn: AgentTurn, state: SessionAgentState) -> None:
        """Refuse a checkpointer's thread that belongs to another session or user."""
        thread = state.get("session_thread")
        if not thread:
            # An older version of this package has only told how far its session's log goes.
            turn.unverified = state.get("session_mark") if self._user_scoped else None
            return
        # An agent in a tool has the thread of the one around it, but a session for each call.
        session_id = turn.session_id if _caller.get() is None else None
        if not belongs(thread, session_id, turn.user_id):
            raise SessionAccessError(_NOT_OWN)

    def _require_begun(
        self,
        turn: AgentTurn,
        state: SessionAgentState,
        config: RunnableConfig,
        origins: Origins,
    ) -> Flow[None]:
        """Refuse a thread that tells no owner, but that somebody else began."""
        if origins.thread and not belongs(origins.thread, turn.session_id, turn.user_id):
            raise SessionAccessError(_NOT_OWN)
        earlier = [
            m.id for m in state.get("messages") or [] if m.id in origins.runs.keys() - origins.own
        ]
        if state.get("session_thread") or state.get(_MARK) or not earlier:
            return
        if earlier[0] in origins.others([turn.session_id, turn.user_id]):
            raise SessionAccessError(_NOT_OWN)
        thread_id = (config.get("configurable") or {}).get("thread_id")
        unnamed = origins.unnamed()
        if earlier[0] not in unnamed or turn.user_id is None or turn.session_id == thread_id:
            return
        saved = yield self._store._reading(turn.session_id, None, None, turn.user_id, False)
        if not unnamed <= {message.id for message in saved}:
            raise SessionAccessError(_NOT_OWN)

    def _verifying(self, turn: AgentTurn) -> Flow[None]:
        """Refuse a thread of which nothing is told but a message, if the session lacks that."""
        mark = turn.unverified
        if mark is None or _caller.get() is not None:
            return
        there = yield self._store._getting(turn.session_id, 0, turn.user_id)
        try:
            yield self._store._reading(turn.session_id, 0, None, turn.user_id, False, after=mark)
        except InvalidMessageError:
            there = None
        if there is None:
            raise SessionAccessError(_NOT_OWN)
        turn.unverified = None

    def _calling(self, request: ToolCallRequest) -> tuple[AgentTurn, AIMessage]:
        runtime = request.runtime
        turn = self._turn(request.state, runtime.context, runtime.config)
        call_id = request.tool_call["id"]
        for message in reversed(request.state["messages"]):
            if isinstance(message, AIMessage) and call_id in [c["id"] for c in message.tool_calls]:
                return turn, message
        raise InvalidSessionError(f"no message of the state makes the tool call {call_id!r}")

    def _new_turn(
        self, config: RunnableConfig, context: Any, *, resumed: bool = False
    ) -> AgentTurn:
        named = (config.get("metadata") or {}).get("lc_agent_name")
        agent_id = self._agent_id or named or "default"
        session_id = checked_id(_asked_for(config, context), "session_id")
        caller = _caller.get()
        if caller and session_id in caller.sessions:
            session_id = f"{caller.result_id}/{agent_id}"
        user_id = _given("user_id", config, context)
        if self._user_scoped and user_id is None:
            raise InvalidSessionError(
                "the agent was called without a user, and its SessionMiddleware is user_scoped: "
                'give it config={"configurable": {"session_id": "...", "user_id": "..."}}'
            )
        return AgentTurn(session_id, agent_id, user_id, resumed)


def _log_given_up(error: SessionSaveError) -> None:
    _logger.error("a message of the agent's state is not in its session: %s", error.__cause__)


def _config_around() -> RunnableConfig:
    try:
        return get_config()
    except RuntimeError as error:
        raise InvalidSessionError(
            "on Python 3.10 LangGraph tells an async agent that goes on after a pause or a failure "
            "no config, so no session: use Python 3.11 or later, or the agent's sync methods"
        ) from error


def _given(key: str, config: RunnableConfig, context: Any) -> Any:
    value = (config.get("configurable") or {}).get(key)
    other = context.get(key) if isinstance(context, Mapping) else getattr(context, key, None)
    # An agent in a tool inherits what it does not name from the one around it.
    if None not in (value, other) and value != other and _caller.get() is None:
        raise InvalidSessionError(
            f"the config's configurable and the runtime's context each name another {key}: "
            "give one of them, or both the same"
        )
    return other if value is None else value


def _asked_for(config: RunnableConfig, context: Any) -> Any:
    for key in ("session_id", "thread_id"):
        value = _given(key, config, context)
        if value is not None:
            return value
    raise InvalidSessionError(
        "the agent was called without a session: give it "
        'config={"configurable": {"session_id": "..."}}, or a thread_id'
    )


def _behind_mark(state: SessionAgentState) -> list[AnyMessage]:
    messages = state.get("messages") or []
    places = [place for place, message in enumerate(messages) if message.id == state.get(_MARK)]
    return messages[places[-1] + 1 :] if places else messages


def _mirrors(config: RunnableConfig, state: SessionAgentState) -> bool:
    # An agent in a tool may see the checkpointer of the one around it, with nothing in it yet.
    return checkpointer_of(config) is not None and (_caller.get() is None or _MARK in state)


@contextmanager
def _called_from(
    turn: AgentTurn, call_message: AIMessage, request: ToolCallRequest
) -> Iterator[None]:
    runtime = request.runtime
    around = _caller.get()
    sessions = frozenset({turn.session_id, _asked_for(runtime.config, runtime.context)})
    result_id = turn.result_id(call_message, request.tool_call["id"])
    token = _caller.set(_Caller(sessions.union(around.sessions if around else ()), result_id))
    try:
        yield
    finally:
        _caller.reset(token)


def _closed(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Close the calls that a checkpointer's state has left open, in what the model is sent."""
    shown = closed(request.messages, [HumanMessage("")])
    return request.override(messages=cast("list[AnyMessage]", shown))


def _given_before(turn: AgentTurn, request: ModelRequest[Any]) -> ModelResponse[Any] | None:
    """Give the answer of a turn that is sent again after its end: its reply got lost, maybe."""
    last = request.messages[-1] if request.messages else None
    if not last or not last.id or last.id != turn.answer_id or request.response_format is not None:
        return None
    return ModelResponse([last])


def _kept(state: Any, turn: AgentTurn, response: ModelResponse[Any]) -> Any:
    if state.get(_TURN) is turn:
        return response
    return ExtendedModelResponse(response, Command(update={_TURN: turn}))


def _messages_of(result: Any) -> list[BaseMessage]:
    """Give the messages of what a tool gave, as those that will be in the state."""
    if isinstance(result, BaseMessage):
        return [result]
    if isinstance(result, list):
        return [message for item in result for message in _messages_of(item)]
    update = result.update if isinstance(result, Command) and result.graph is None else None
    if not isinstance(update, dict) or "messages" not in update:
        return []
    messages = update["messages"]
    said = convert_to_messages(messages if isinstance(messages, list) else [messages])
    update["messages"] = said
    return said


def _with_system_first(messages: list[BaseMessage]) -> list[BaseMessage]:
    system: dict[str, BaseMessage] = {}
    for message in messages:
        if message.type == "system":
            system.setdefault(str(message.content), message)
    return [*system.values(), *(message for message in messages if message.type != "system")]


def _tell_streams(config: RunnableConfig, shown: list[BaseMessage]) -> None:
    """Keep what was said earlier out of ``stream_mode="messages"``, which shows what is new."""
    for handler in getattr(config.get("callbacks"), "handlers", ()):
        seen = getattr(handler, "seen", None)
        if isinstance(seen, set):
            seen.update([REMOVE_ALL_MESSAGES, *(message.id for message in shown)])
