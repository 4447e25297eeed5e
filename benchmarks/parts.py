"""What `with_session_history` costs over its parts: reading, the runnable, saving."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import places
from langchain_core.chat_history import BaseChatMessageHistory, InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from measure import BURST, Loop, Measured, Use, interleaved
from ours import opened, said
from turns import TEXTS, texts

from langchain_sessionstore import (
    session_history_factory,
    to_langchain_messages,
    to_session_messages,
    with_session_history,
)
from sessionstore import SessionMessage, SessionStore

WIRING = "a turn around a model that answers at once"
PARTS, OURS, THEIRS = "its parts, by hand", "with_session_history", "RunnableWithMessageHistory"
SIZES, _STORED = (0, 100, 1000), 100
_KEYS: dict[str, Any] = {"input_messages_key": "question", "history_messages_key": "history"}
_ASKED = "why?"
_QUESTION, _ANSWER = HumanMessage(_ASKED), AIMessage(TEXTS[1])
_LAMBDA = RunnableLambda(lambda _: _ANSWER)
_PROMPT = ChatPromptTemplate.from_messages(
    [MessagesPlaceholder("history"), ("human", "{question}")]
)
_ids = map(str, itertools.count())


def wiring(loop: Loop, *, seconds: float) -> list[Measured]:
    """Measure turns in sessions of all lengths in memory, and of one length elsewhere.

    In memory LangChain's own wiring has LangChain's own history, elsewhere it has ours.
    """
    warnings.simplefilter("ignore")
    with opened("memory", "") as store:
        uses = [
            use
            for size in SIZES
            for prompted in (False, True)
            for how in ("invoke", "stream")
            for use in _Turns(store, "memory", size, how, prompted=prompted).uses()
        ]
        measured = interleaved(loop, uses, seconds=2 * seconds, most=1000)
    with ExitStack() as stack:
        uses = []
        for backend in ("sqlite", "redis"):
            place = stack.enter_context(places.place(backend))
            store = stack.enter_context(opened(backend, place()))
            for how in ("invoke", "ainvoke"):
                uses += _Turns(store, backend, _STORED, how, prompted=False).uses()
        measured += interleaved(loop, uses, seconds=seconds, most=1000)
        loop.run(store.aclose())
    return measured


class _Turns:
    """Turns of one shape, each in a session of its own that is filled before.

    Args:
        store: Where sessions are.
        backend: Its name.
        size: How many messages a session has.
        how: ``"invoke"``, ``"stream"`` or ``"ainvoke"``.
        prompted: Whether there is a prompt before the model.
    """

    def __init__(
        self, store: SessionStore, backend: str, size: int, how: str, *, prompted: bool
    ) -> None:
        self._store, self._backend, self._size, self._how = store, backend, size, how
        self._runnable: Runnable[Any, Any] = _PROMPT | _LAMBDA if prompted else _LAMBDA
        self._prompted, self._keys = prompted, _KEYS if prompted else {}
        self._seed = said(texts(size))
        self._seen = to_langchain_messages(self._seed)
        self._sessions: list[str] = []
        self._histories: dict[str, BaseChatMessageHistory] = {}

    def uses(self) -> Iterator[Use]:
        """Give the ways to do a turn."""
        chain = with_session_history(self._runnable, self._store, **self._keys)
        get: Any = session_history_factory(self._store)
        if self._backend == "memory":
            get = lambda session_id: self._histories[session_id]  # noqa: E731 - it asks for the name
        theirs = RunnableWithMessageHistory(self._runnable, get, **self._keys)
        yield self._use(PARTS, "limit", self._aparts if self._is_async else self._parts)
        yield self._use(OURS, "ours", partial(self._whole, chain))
        yield self._use(THEIRS, "langchain", partial(self._whole, theirs))

    @property
    def _is_async(self) -> bool:
        return self._how == "ainvoke"

    def _use(self, name: str, family: str, step: Callable[[], Any]) -> Use:
        shape = "a prompt and a runnable" if self._prompted else "a runnable"
        work = f"{WIRING}: {shape}, {self._how.removeprefix('a')}"
        mode = "async" if self._is_async else "sync"
        measured = Measured(work, self._backend, mode, name, family, self._size)
        return Use(measured, step, self._fill)

    def _fill(self) -> None:
        """Make the next burst's sessions, in both stores; those of memory go when they are done."""
        if self._backend == "memory":
            for session in [*self._histories]:
                self._store.delete(session)
            self._histories.clear()
        self._sessions = [next(_ids) for _ in range(BURST)]
        for session in self._sessions:
            if self._seed:
                self._store.append_messages(session, self._seed)
            if self._backend == "memory":
                self._histories[session] = InMemoryChatMessageHistory(messages=[*self._seen])

    def _whole(self, chain: Runnable[Any, Any]) -> Any:
        asked: Any = {"question": _ASKED} if self._prompted else _ASKED
        config = RunnableConfig(configurable={"session_id": self._sessions.pop()})
        return self._run(chain, asked, config)

    def _parts(self) -> None:
        session = self._sessions.pop()
        self._run(self._runnable, self._given(self._store.get_messages(session)), {})
        self._store.append_messages(session, to_session_messages([_QUESTION, _ANSWER]))

    async def _aparts(self) -> None:
        session = self._sessions.pop()
        await self._run(self._runnable, self._given(await self._store.aget_messages(session)), {})
        await self._store.aappend_messages(session, to_session_messages([_QUESTION, _ANSWER]))

    def _given(self, messages: Sequence[SessionMessage]) -> Any:
        seen = to_langchain_messages(messages)
        assert len(seen) == self._size
        return {"question": _ASKED, "history": seen} if self._prompted else [*seen, _QUESTION]

    def _run(self, chain: Runnable[Any, Any], value: Any, config: RunnableConfig) -> Any:
        found = getattr(chain, self._how)(value, config)
        return list(found) if self._how == "stream" else found
