"""Models and agents that tests share: they answer at once, and from what they are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

CALL = {"name": "look_up", "args": {"word": "x"}, "id": "call"}


class CountingModel(BaseChatModel):
    """Says how many messages it was given; calls a tool first, where asked to look something up."""

    seen: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "counting"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:  # noqa: ARG002
        return self

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        self.seen.append(messages)
        if messages[-1].type == "human" and "look up" in messages[-1].text:
            return AIMessage("", tool_calls=[{**CALL, "id": f"call-{len(messages)}"}])
        return AIMessage(f"{len(messages)} messages, the last says {messages[-1].text}")

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._answer(messages)
        words = answer.text.split(" ")
        for place, word in enumerate(words):
            text = word if place == 0 else f" {word}"
            yield ChatGenerationChunk(message=AIMessageChunk(text, tool_calls=answer.tool_calls))


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a letter"


def agent(**options: Any) -> Any:
    """Make a `create_agent` graph with one tool."""
    return create_agent(CountingModel(), [look_up], **options)
