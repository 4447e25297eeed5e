"""Turns of chains that tests hold up: each waits for a word, in every way to call a chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeAlias

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableGenerator

CONFIG: Any = {"configurable": {"session_id": "s"}}
PATIENCE = 60.0

Heard: TypeAlias = list[list[str]]


def talker(heard: Heard, meanwhile: Callable[[str], object] = lambda _: None) -> Runnable[Any, Any]:
    """Make a runnable that says two words; between them it does what it is told to."""

    def said(messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        texts = [str(message.content) for message in messages]
        heard.append(texts)
        yield AIMessageChunk("Well, ", id=f"run-{len(heard)}")
        meanwhile(texts[-1])
        yield AIMessageChunk(f"{texts[-1]}!")

    def saying(values: Iterator[Any]) -> Iterator[AIMessageChunk]:
        for messages in values:
            yield from said(messages)

    async def asaying(values: AsyncIterator[Any]) -> AsyncIterator[AIMessageChunk]:
        async for messages in values:
            for chunk in said(messages):  # what it does in between blocks the event loop
                yield chunk

    return RunnableGenerator(saying, asaying)


def _invoke(chain: Any, text: Any, config: Any) -> str:
    return str(chain.invoke(text, config).content)


def _ainvoke(chain: Any, text: Any, config: Any) -> str:
    return str(asyncio.run(chain.ainvoke(text, config)).content)


def _stream(chain: Any, text: Any, config: Any) -> str:
    return "".join(chunk.content for chunk in chain.stream(text, config))


def _astream(chain: Any, text: Any, config: Any) -> str:
    async def whole() -> str:
        async with aclosing(chain.astream(text, config)) as chunks:
            return "".join([chunk.content async for chunk in chunks])

    return asyncio.run(whole())


WAYS: dict[str, Callable[[Any, Any, Any], str]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
}
