"""What LangChain's chat histories share, whatever they keep their messages in.

None reads a window: each reads the whole session. A history is bound to a session, so web services
make one for each request; here that costs nothing, see `peers.bound`. What it costs them: the SQL
history asks the catalogue for its table, the Redis ones connect and ask ``INFO`` or ``FT.INFO``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import peers
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from subject import AsyncSubject, Subject


class Histories(Subject):
    """Histories of LangChain's, each for one session."""

    family = "langchain"
    has_window = False

    def _history(self, session: str) -> contextlib.AbstractContextManager[BaseChatMessageHistory]:
        raise NotImplementedError

    def load(self, session: str, limit: int | None) -> Sequence[BaseMessage]:
        with self._history(session) as history:
            return history.messages

    def append(self, session: str, texts: Sequence[str]) -> None:
        with self._history(session) as history:
            history.add_messages(_messages(texts))


class AsyncHistories(AsyncSubject):
    """The same in asyncio."""

    family = "langchain"
    has_window = False

    def _history(
        self, session: str
    ) -> contextlib.AbstractAsyncContextManager[BaseChatMessageHistory]:
        raise NotImplementedError

    async def load(self, session: str, limit: int | None) -> Sequence[BaseMessage]:
        async with self._history(session) as history:
            return await history.aget_messages()

    async def append(self, session: str, texts: Sequence[str]) -> None:
        async with self._history(session) as history:
            await history.aadd_messages(_messages(texts))


def _messages(texts: Sequence[str]) -> list[BaseMessage]:
    return peers.alternately(texts, HumanMessage, AIMessage)


class Shared:
    """Histories that share their connections, and all but their IDs."""

    _first: Any

    def _history(self, session: str) -> contextlib.nullcontext[Any]:
        return contextlib.nullcontext(peers.bound(self._first, session))
