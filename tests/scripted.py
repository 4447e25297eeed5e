"""Agents for tests: a chat model with a script, which takes only what real models take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from langchain_sessionstore import to_langchain_messages
from sessionstore import InMemorySessionStore, SessionStore
from sessionstore.operations import Operation

CONFIG: Any = {"configurable": {"session_id": "s"}}


class Scripted(BaseChatModel):
    """Says its lines, one a call, and writes down what it was shown. An error is raised."""

    lines: list[Any]
    _shown: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def shown(self) -> list[list[BaseMessage]]:
        return self._shown

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        require_acceptable(messages)
        self._shown.append(list(messages))
        line = self.lines[len(self._shown) - 1]
        if isinstance(line, Exception):
            raise line
        line = line(messages) if callable(line) else line
        return AIMessage(line) if isinstance(line, str) else line.model_copy(deep=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> Iterator[ChatGenerationChunk]:
        said = self._next(messages)
        calls: list[Any] = [
            {"name": c["name"], "args": str(c["args"]).replace("'", '"'), "id": c["id"], "index": n}
            for n, c in enumerate(said.tool_calls)
        ]
        words = str(said.content).split(" ")
        for n, word in enumerate(words):
            text = word if n == 0 else f" {word}"
            chunk = AIMessageChunk(text, tool_call_chunks=calls if n == 0 else [])
            generation = ChatGenerationChunk(message=chunk)
            if run_manager:
                run_manager.on_llm_new_token(text, chunk=generation)
            yield generation


def require_acceptable(messages: Sequence[BaseMessage]) -> None:
    """Raise where a provider would: a call without its result, a result without its call."""
    waiting: list[str | None] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in waiting, "a result without its call, or a second one"
            waiting.remove(message.tool_call_id)
            continue
        assert not waiting, "a tool call without its result"
        made = [*getattr(message, "tool_calls", []), *getattr(message, "invalid_tool_calls", [])]
        waiting = [call["id"] for call in made]  # providers' packages send both
    assert not waiting, "a tool call without its result"
    ids = [message.id for message in messages if message.id]
    assert len(ids) == len(set(ids)), "a message twice"
    kinds = [message.type for message in messages]
    assert "system" not in kinds[kinds.count("system") :], "a system message in the middle"


def calls(*names: str, **args: Any) -> AIMessage:
    """Call tools, with the ids c-NAME."""
    return AIMessage("", tool_calls=[{"name": n, "args": args, "id": f"c-{n}"} for n in names])


def log(store: SessionStore, session_id: str = "s") -> list[tuple[str, Any]]:
    return [
        (m.role, m.content or [c["name"] for c in m.tool_calls])
        for m in store.get_messages(session_id)
    ]


def logged(store: SessionStore, session_id: str = "s") -> list[BaseMessage]:
    return to_langchain_messages(store.get_messages(session_id))


def watched(
    monkeypatch: pytest.MonkeyPatch, cls: type[SessionStore] = InMemorySessionStore
) -> list[Operation[Any]]:
    """Note each operation that stores of a class are given from now on."""
    given: list[Operation[Any]] = []
    run, arun = cls.run, cls.arun

    def note(operation: Operation[Any]) -> None:
        if not given or given[-1] is not operation:  # `arun` may call `run`
            given.append(operation)

    def watched_run(self: SessionStore, operation: Operation[Any]) -> Any:
        note(operation)
        return run(self, operation)

    async def watched_arun(self: SessionStore, operation: Operation[Any]) -> Any:
        note(operation)
        return await arun(self, operation)

    monkeypatch.setattr(cls, "run", watched_run)
    monkeypatch.setattr(cls, "arun", watched_arun)
    return given


def counted(operations: list[Operation[Any]]) -> Counter[type[Operation[Any]]]:
    """Count operations by their kind."""
    return Counter(map(type, operations))
