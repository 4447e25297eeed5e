"""LangGraph's savers, sync and async, for tests of agents: each way to call an agent, by name."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from postgres_savers import async_postgres_saver, postgres_saver

ALL_MODES = ("invoke", "ainvoke", "stream", "astream")


async def _heard(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


class Caller:
    """Calls agents in one way; async savers and calls share one event loop.

    Attributes:
        mode: The agent's method.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._loop = asyncio.new_event_loop()
        self._open = ExitStack()

    @property
    def is_async(self) -> bool:
        return self.mode.startswith("a")

    def __call__(self, agent: Any, given: Any, config: Any, **options: Any) -> Any:
        """Call an agent; give its state, where its method gives that."""
        method = getattr(agent, self.mode)
        if self.mode == "stream":
            return list(method(given, config, **options))
        if self.mode == "astream":
            return self._loop.run_until_complete(_heard(method(given, config, **options)))
        result = method(given, config, **options)
        return self._loop.run_until_complete(result) if self.is_async else result

    def saver(self, kind: str, where: str = "") -> Any:
        """Open a saver: in memory, or in a file or a database that is named."""
        if kind == "memory":
            return InMemorySaver()
        if not self.is_async:
            saver = (
                SqliteSaver.from_conn_string(where) if kind == "sqlite" else postgres_saver(where)
            )
            return self._open.enter_context(saver)
        opened = AsyncSqliteSaver.from_conn_string if kind == "sqlite" else async_postgres_saver
        return self._loop.run_until_complete(self._entered(opened(where)))

    async def _entered(self, saver: Any) -> Any:
        self._open.callback(self._leave, saver)
        return await saver.__aenter__()

    def _leave(self, saver: Any) -> None:
        self._loop.run_until_complete(saver.__aexit__(None, None, None))

    def close(self) -> None:
        self._open.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
