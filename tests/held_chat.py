"""docs/examples/fastapi_chat.py with a model that stops within an answer, as the tests want it to.

Asked to wait, it says a word, and the rest when there is a file of the name in the question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastapi_chat
from fastapi_chat import app
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from langchain_sessionstore.testing import ScriptedChatModel

__all__ = ["app"]


class HeldModel(ScriptedChatModel):
    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        what, _, name = messages[-1].text.partition(" for ")
        async for chunk in super()._astream(messages, *args, **kwargs):
            yield chunk
            if what == "Break":
                raise ConnectionError("the model is gone")
            if what == "Wait":
                await asyncio.to_thread(wait_for, Path(name))


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def reply(messages: list[BaseMessage]) -> str:
    return f"Number {sum(message.type == 'human' for message in messages)}: {messages[-1].text}"


fastapi_chat.model = HeldModel(reply, cycle=True)
