"""Checkpointers that tests wrap: real ones, some of which can be cut off."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

OPTIONAL = {
    "adelete_for_runs": "delete_for_runs",
    "acopy_thread": "copy_thread",
    "aprune": "prune",
}


def lacks(saver: BaseCheckpointSaver[Any]) -> set[str]:
    """Name the optional capabilities that a saver does not have."""
    return {
        name
        for method, name in OPTIONAL.items()
        if getattr(type(saver), method) is getattr(BaseCheckpointSaver, method)
    }


class Threaded(BaseCheckpointSaver[Any]):
    """A saver that is only sync, with async methods that call it in threads."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        super().__init__(serde=saver.serde)
        self.saver = saver

    def __getattribute__(self, name: str) -> Any:
        if name in ("get_tuple", "list", "put", "put_writes", "delete_thread", "get_next_version"):
            return getattr(self.saver, name)
        return super().__getattribute__(name)

    async def aget_tuple(self, *args: Any, **named: Any) -> Any:
        return await asyncio.to_thread(self.saver.get_tuple, *args, **named)

    async def alist(self, *args: Any, **named: Any) -> AsyncIterator[Any]:
        for each in await asyncio.to_thread(lambda: list(self.saver.list(*args, **named))):
            yield each

    async def aput(self, *args: Any, **named: Any) -> Any:
        return await asyncio.to_thread(self.saver.put, *args, **named)

    async def aput_writes(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(self.saver.put_writes, *args, **named)

    async def adelete_thread(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(self.saver.delete_thread, *args, **named)

    async def adelete_for_runs(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(self.saver.delete_for_runs, *args, **named)

    async def acopy_thread(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(self.saver.copy_thread, *args, **named)

    async def aprune(self, *args: Any, **named: Any) -> None:
        await asyncio.to_thread(self.saver.prune, *args, **named)


class Wire(BaseCheckpointSaver[Any]):
    """The way to a saver: it can be cut at will, and lose answers.

    Attributes:
        is_away: Nothing is done, and each call raises.
        loses_answers: Each write is done, and raises.
        asked: How many calls there were.
    """

    is_away = False
    loses_answers = False
    asked = 0

    def _reach(self) -> None:
        self.asked += 1
        if self.is_away:
            raise ConnectionError("the wire is cut")

    def _answer(self) -> None:
        if self.loses_answers:
            raise ConnectionError("the answer is lost")

    def get_tuple(self, config: Any) -> Any:
        self._reach()
        return super().get_tuple(config)

    def list(self, config: Any, **named: Any) -> Iterator[Any]:
        self._reach()
        yield from super().list(config, **named)

    def put(self, *args: Any) -> Any:
        self._reach()
        config = super().put(*args)
        self._answer()
        return config

    def put_writes(self, *args: Any) -> None:
        self._reach()
        super().put_writes(*args)
        self._answer()

    def delete_thread(self, thread_id: str) -> None:
        self._reach()
        super().delete_thread(thread_id)
        self._answer()


class Cut(Wire, InMemorySaver):
    """A saver in memory."""


class CutFile(Wire, SqliteSaver):
    """A saver in a file."""

    def __init__(self, path: object) -> None:
        super().__init__(sqlite3.connect(str(path), check_same_thread=False))

    def close(self) -> None:
        self.conn.close()
