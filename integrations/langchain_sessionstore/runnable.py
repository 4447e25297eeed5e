"""`with_session_history`: a Runnable that remembers, in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import ConfigurableFieldSpec, Runnable, RunnableConfig
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.utils import Input, Output, get_unique_config_specs
from pydantic import BaseModel, RootModel, create_model

from langchain_sessionstore.chain_reader import ChainReader
from langchain_sessionstore.chain_turn import ChainTurn
from langchain_sessionstore.concurrent_turns import ConcurrentTurns, TurnTerms, checked_terms
from langchain_sessionstore.config_keys import ConfigKeys
from langchain_sessionstore.echo import gives_all_back
from langchain_sessionstore.rewinding import REWIND_TO, rewind_of, without_rewind
from langchain_sessionstore.saving import (
    OnSaveError,
    SessionSaveError,
    aplay_to_its_end,
    checked_on_save_error,
    failed,
)
from langchain_sessionstore.shapes import Keys, Outcome, added_up, heard_of
from langchain_sessionstore.tokens import langchain_window
from langchain_sessionstore.turns import FreeTurn, LeasedTurn
from sessionstore import (
    InvalidMessageError,
    SessionStore,
    SessionStoreError,
    Window,
)
from sessionstore.arguments import checked_id
from sessionstore.flow import aplay, play
from sessionstore.integration import StoreFlow, checked_store
from sessionstore.operations import Get

if TYPE_CHECKING:
    from langchain_core.utils.pydantic import TypeBaseModel

__all__ = ["SessionHistoryRunnable", "with_session_history"]

M = TypeVar("M", bound=Callable[..., Any])


def with_session_history(
    runnable: Runnable[Input, Output],
    store: SessionStore,
    *,
    input_messages_key: str | None = None,
    output_messages_key: str | None = None,
    history_messages_key: str | None = None,
    user_scoped: bool = False,
    agent_id: str = "default",
    window: Window | None = None,
    on_save_error: OnSaveError | None = None,
    concurrent_turns: ConcurrentTurns = "interleave",
    turn_wait: float = 60,
) -> SessionHistoryRunnable[Input, Output]:
    """Make a runnable remember: before it runs it sees its session, and after it the turn is kept.

    It takes the keys and the config of LangChain's `RunnableWithMessageHistory`: call it with
    ``config={"configurable": {"session_id": "…"}}``. The session is read once; the turn's input
    and output are appended in one atomic step when the output is complete, so that two turns at
    once are both kept whole. Where the runnable raises, nothing is kept.

    A turn that is sent again, all of its messages with the ids that the session holds, runs again:
    the runnable sees what it saw the first time. Its answer takes the place of the first one; where
    it is several messages, as a graph's that called tools again, they are added.

    A message that comes again with its id and says something else is an edit: the runnable sees
    what stood before it, and when it has answered, the session has the new text in the old one's
    place. In the last turn the answer takes the place of what answered it, in an earlier one it is
    added at the end.

    With ``rewind_to`` in the config, the id of a message, a turn runs as if nothing came after that
    message. What did is deleted in the step in which the turn is saved: where the runnable raises,
    the caller leaves its stream, or the save fails, the session is as it was.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> from langchain_sessionstore import with_session_history
        >>> from sessionstore import InMemorySessionStore
        >>> count = RunnableLambda(lambda messages: f"You have said {len(messages)} things.")
        >>> chain = with_session_history(count, InMemorySessionStore())
        >>> session = {"configurable": {"session_id": "s1"}}
        >>> chain.invoke("One.", session)
        'You have said 1 things.'
        >>> chain.invoke("Two.", session)
        'You have said 3 things.'

    Args:
        runnable: Takes a list of messages, or a dict with them under ``input_messages_key``; gives
            a string, a message, a list of messages, or a dict with one of them under
            ``output_messages_key``.
        store: Where the sessions are.
        input_messages_key: Where a dict input has the new messages (or a string).
        output_messages_key: Where a dict output has the answer; not needed if it has one key.
        history_messages_key: Where a dict input is to get the history; without it the history
            goes before the new messages.
        user_scoped: Require a ``user_id`` in the config of each call. Where one is given it is the
            caller and the owner in any case, and another user's session raises
            `SessionAccessError` before the runnable runs; without it a call that names no user may
            go on with any session whose id it knows.
        agent_id: The agent of the sessions that are made.
        window: What the runnable sees of its session; ``None`` for all of it.
        on_save_error: Takes a failed save, and the answer is returned as if it had been saved. A
            plain function, for the async methods too.
        concurrent_turns: What a turn does while another one of its session runs. ``"interleave"``
            runs beside it, and both are kept whole. The others take the session's lease, under
            which all is saved: ``"wait"`` waits for its end, ``"reject"`` raises
            `SessionLeasedError`, ``"supersede"`` takes its place: the earlier one's save is refused
            with `TurnSupersededError`. In an outage that a fallback answers they raise
            `OutageError`. A runnable with a history of the same session within this one is a part
            of its turn.
        turn_wait: How many seconds ``"wait"`` waits before it raises `SessionLeasedError`.

    Returns:
        A `Runnable` with the input and output of the one given. Besides the runnable's and the
        store's own errors its calls raise `InvalidSessionError` for a missing config key and
        `SessionSaveError` for a turn that could not be saved, or of which only the input was: where
        the runnable gives ``None``, say.

    Raises:
        TypeError: The store, the window or ``on_save_error`` is invalid; the last must not be
            async.
        InvalidSessionError: The agent's id, ``concurrent_turns`` or ``turn_wait`` is invalid.
    """
    return SessionHistoryRunnable(
        bound=runnable,
        store=store,
        keys=Keys(input_messages_key, output_messages_key, history_messages_key),
        user_scoped=user_scoped,
        agent_id=agent_id,
        window=window,
        on_save_error=on_save_error,
        terms=checked_terms(concurrent_turns, turn_wait),
    )


def _described(method: M) -> M:
    """Keep a method's signature: LangChain asks twice in each call whether it takes a config."""
    described: Any = method
    described.__signature__ = signature(method)
    return method


class SessionHistoryRunnable(Runnable[Input, Output]):
    """What `with_session_history` makes: see there."""

    # LangChain passes a config to the private methods that name one: its types don't say so.

    def __init__(
        self,
        *,
        bound: Runnable[Input, Output],
        store: SessionStore,
        keys: Keys,
        user_scoped: bool,
        agent_id: str,
        window: Window | None,
        on_save_error: OnSaveError | None,
        terms: TurnTerms | None,
    ) -> None:
        self._bound = coerce_to_runnable(bound)
        self._store = checked_store(store)
        self._keys = keys
        self._config_keys = ConfigKeys(user_scoped)
        self._agent_id = checked_id(agent_id, "agent_id")
        self._window = langchain_window(window)
        self._on_save_error = checked_on_save_error(on_save_error)
        self._terms, self._free = terms, FreeTurn(self._store)

    def __repr__(self) -> str:
        """Show what is wrapped, and where it remembers."""
        return f"SessionHistoryRunnable({self._bound!r}, {self._store!r})"

    def check(self, config: RunnableConfig) -> None:
        """Check whose the session is, before a turn: a server refuses with it before it streams.

        Each turn checks it itself, in the step in which it reads and in the one in which it saves.
        What else may refuse a turn is not looked at: another turn that runs, or a ``rewind_to``.

        Args:
            config: As for `invoke`.

        Raises:
            InvalidSessionError: The config lacks a key.
            SessionAccessError: The session belongs to another user.
        """
        play(self._checking(config), self._store.run)

    async def acheck(self, config: RunnableConfig) -> None:
        """Async twin of `check`."""
        await aplay(self._checking(config), self._store.arun)

    # -- A runnable in each of its shapes ---------------------------------------------------------

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Run one turn.

        Args:
            input: As the wrapped runnable takes it, without the history.
            config: With ``session_id`` (and ``user_id``, the caller, and ``rewind_to``, the last
                message that stays) under ``configurable``.
            **kwargs: Passed on to the wrapped runnable.

        Returns:
            What the wrapped runnable gives.

        Raises:
            InvalidSessionError: The config lacks a key.
            SessionAccessError: The session belongs to another user; nothing has run.
            SessionNotFoundError: It has no message ``rewind_to``; nothing has run.
            SessionSaveError: The turn could not be saved.
        """
        return self._call_with_config(self._invoke, input, config, **kwargs)  # type: ignore[arg-type]

    async def ainvoke(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        """Async twin of `invoke`."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)  # type: ignore[arg-type]

    def stream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Output]:
        """Run one turn, chunk by chunk: it is saved after the last one.

        Where the caller stops listening, what was said until then is saved, without tool calls.
        An async caller does so for sure with `contextlib.aclosing`: to leave an ``async for`` by
        ``break`` alone closes the stream whenever Python comes to it.

        Args:
            input: As for `invoke`.
            config: As for `invoke`.
            **kwargs: As for `invoke`.

        Yields:
            What the wrapped runnable yields.

        Raises:
            InvalidSessionError: As for `invoke`.
            SessionAccessError: As for `invoke`.
            SessionNotFoundError: As for `invoke`.
            SessionSaveError: As for `invoke`, after the last chunk.
        """
        chunks = self._transform_stream_with_config(
            iter([input]),
            self._stream,  # type: ignore[arg-type]
            config,
            **kwargs,
        )
        yield from chunks

    async def astream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Output]:
        """Async twin of `stream`."""
        chunks = self._atransform_stream_with_config(
            _once(input),
            self._astream,  # type: ignore[arg-type]
            config,
            **kwargs,
        )
        generator = cast("AsyncGenerator[Any, None]", chunks)
        async with aclosing(generator):  # so that a caller who stops listening is noticed at once
            async for chunk in generator:
                yield chunk

    @_described
    def _invoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        with self._held(config) as held:
            turn = play(self._beginning(input, config), held.run)
            with held.inside():
                answer = self._bound.invoke(turn.value, without_rewind(config), **kwargs)
            play(self._saving(turn, answer), held.run)
        return answer

    @_described
    async def _ainvoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        async with self._held(config) as held:
            turn = await aplay(self._beginning(input, config), held.arun)
            with held.inside():
                answer = await self._bound.ainvoke(turn.value, without_rewind(config), **kwargs)
            await aplay_to_its_end(self._saving(turn, answer), held)
        return answer

    @_described
    def _stream(
        self, inputs: Iterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        with self._held(config) as held:
            turn = play(self._beginning(next(inputs), config), held.run)
            chunks, outcome = list[Any](), Outcome()
            config = outcome.heeding(without_rewind(config))
            stream = self._bound.stream(turn.value, config, **kwargs)
            try:
                for chunk in held.steps(stream):
                    chunks.append(chunk)
                    yield chunk
            except GeneratorExit:
                try:
                    held.leave(stream)
                finally:  # what is in there may fail
                    play(self._leaving(turn, added_up(chunks)), held.run)
                raise
            answer = self._answer(turn, added_up(chunks), outcome)
            play(self._saving(turn, answer), held.run)

    @_described
    async def _astream(
        self, inputs: AsyncIterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        input = await anext(inputs)  # noqa: A001 - LangChain's name for it
        async with self._held(config) as held:
            turn = await aplay(self._beginning(input, config), held.arun)
            chunks, outcome = list[Any](), Outcome()
            config = outcome.heeding(without_rewind(config))
            stream = self._bound.astream(turn.value, config, **kwargs)
            try:
                async for chunk in held.asteps(stream):
                    chunks.append(chunk)
                    yield chunk
            except (GeneratorExit, asyncio.CancelledError) as left:
                try:
                    await self._aleave(turn, stream, added_up(chunks), held)
                except SessionSaveError as unsaved:
                    if isinstance(left, GeneratorExit):
                        raise
                    raise left from unsaved  # who cancels waits for nothing else
                raise
            answer = self._answer(turn, added_up(chunks), outcome)
            await aplay_to_its_end(self._saving(turn, answer), held)

    async def _aleave(
        self, turn: ChainTurn, stream: AsyncIterator[Any], heard: Any, held: FreeTurn
    ) -> None:
        try:
            await held.aleave(stream)
        finally:
            await aplay_to_its_end(self._leaving(turn, heard), held)

    def _held(self, config: RunnableConfig) -> FreeTurn:
        if self._terms is None:
            return self._free
        return LeasedTurn(self._store, *self._config_keys.session(config), self._terms)

    # -- What it takes and gives ------------------------------------------------------------------

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The config keys of the wrapped runnable, ``session_id``, and ``user_id`` if scoped."""
        return get_unique_config_specs([*self._bound.config_specs, *self._config_keys.specs])

    def get_input_schema(
        self,
        config: RunnableConfig | None = None,  # noqa: ARG002 - it makes no difference
    ) -> type[BaseModel]:
        """Give the schema of the input: messages, alone or under the input key.

        Args:
            config: Not used.

        Returns:
            A Pydantic model.
        """
        if self._keys.input is None:
            return RootModel[Sequence[BaseMessage]]
        new: Any = str | BaseMessage | Sequence[BaseMessage]
        fields: dict[str, Any] = {self._keys.input: (new, ...)}
        model: type[BaseModel] = create_model("SessionHistoryInput", **fields)
        return model

    def get_output_schema(self, config: RunnableConfig | None = None) -> TypeBaseModel:
        """Give the schema of the wrapped runnable's output.

        Args:
            config: Passed on to the wrapped runnable.

        Returns:
            A Pydantic model.
        """
        return self._bound.get_output_schema(config)

    def _checking(self, config: RunnableConfig) -> StoreFlow[None]:
        session_id, user_id = self._config_keys.session(config)
        yield Get(session_id, 0, user_id)

    # -- A turn, once for every shape, sync and async ------------------------------------------

    def _beginning(self, input: Any, config: RunnableConfig) -> StoreFlow[ChainTurn]:
        session_id, user_id = self._config_keys.session(config)
        rewind = rewind_of(session_id, user_id, config.get("configurable", {}).get(REWIND_TO))
        reader = ChainReader(self._keys, self._agent_id, self._window)
        return (yield from reader.beginning(input, session_id, user_id, rewind))

    def _answer(self, turn: ChainTurn, total: Any, outcome: Outcome) -> Any:
        """Give the outcome of a stream: a graph's chunks are its steps, its states, or neither."""
        if outcome.value is None:
            return total
        try:
            self._keys.answers(total)
        except InvalidMessageError:
            return outcome.value
        if outcome.input is turn.value or isinstance(total, (dict, list)):
            with suppress(InvalidMessageError):
                if gives_all_back(self._keys.answers(outcome.value), turn.new, turn.shown):
                    return outcome.value
        return total

    def _saving(self, turn: ChainTurn, answer: Any) -> StoreFlow[None]:
        input_saved = False
        try:
            try:
                answers = self._keys.answers(answer)
            except InvalidMessageError:
                if not turn.rewind:  # what the user said is still kept
                    yield turn.appending(turn.new)
                    input_saved = True
                raise
            yield from turn.keeping(answers)
        except SessionStoreError as error:
            self._failed(answer, error, input_saved=input_saved)

    def _leaving(self, turn: ChainTurn, answer: Any) -> StoreFlow[None]:
        """Keep what was streamed before the caller left: of a graph's steps, what the user said."""
        if turn.rewind or (turn.answer_id and not (turn.again and turn.again.is_edited)):
            return  # what is in the log says more: the whole answer of the first time
        answers: list[BaseMessage] = []
        with suppress(InvalidMessageError):
            answers = heard_of(self._keys.answers(answer))
        try:
            yield from turn.keeping(answers)
        except SessionStoreError as error:
            self._failed(answer, error)

    def _failed(self, answer: Any, error: SessionStoreError, *, input_saved: bool = False) -> None:
        failed(self._on_save_error, answer, error, input_saved=input_saved)


async def _once(value: Any) -> AsyncIterator[Any]:
    yield value
