"""Reading several checkpoints, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.arguments import ListArguments
from langgraph_sessionstore.configs import thread_of
from langgraph_sessionstore.core import Core, SaverFlow
from langgraph_sessionstore.in_time import acalled_in_time, called_in_time
from langgraph_sessionstore.primary import NOBODY
from sessionstore import OutageError

__all__ = ["Listing"]


class Listing:
    """One call of ``list``.

    Args:
        core: What the checkpointer's clones share.
        serde: The serializer.
        asked: What is asked for.

    Attributes:
        error: How the primary has failed.
    """

    def __init__(self, core: Core, serde: SerializerProtocol, asked: ListArguments) -> None:
        self._core = core
        self._serde = serde
        self._asked = asked
        self._begun = False
        self.error: Exception | None = None

    def begin(self) -> SaverFlow[bool]:
        """Tell whether the primary may be asked."""
        config, core = self._asked.config, self._core
        if config is not None:
            return (yield from core.settle(thread_of(config)))
        return (yield from core.settle_all())

    def found(
        self, saver: BaseCheckpointSaver[Any], timeout: float | None
    ) -> Iterator[CheckpointTuple]:
        """Give what a saver gives; as a whole where it is to be there in time."""
        config, named = self._asked.config, self._named
        if timeout is None:
            yield from saver.list(config, **named)
        else:
            yield from called_in_time(timeout, lambda: list(saver.list(config, **named)))

    async def afound(
        self, saver: BaseCheckpointSaver[Any], timeout: float | None
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of `found`."""
        given = saver.alist(self._asked.config, **self._named)
        if timeout is not None:
            given = _one_by_one(await acalled_in_time(timeout, _all(given)))
        async with _closing(given):
            async for each in given:
                yield each

    @property
    def _named(self) -> dict[str, Any]:
        asked = self._asked
        return {"filter": asked.filter, "before": asked.before, "limit": asked.limit}

    def guarded(self, found: Iterator[CheckpointTuple]) -> Iterator[CheckpointTuple]:
        """Give what the primary gives, and note how it fails."""
        try:
            for each in found:
                self._begun = True
                yield each
        except Exception as error:  # noqa: BLE001 - raised again, or kept
            self._note(error)

    async def aguarded(
        self, found: AsyncIterator[CheckpointTuple]
    ) -> AsyncGenerator[CheckpointTuple, None]:
        """Async twin of `guarded`."""
        try:
            async with _closing(found):
                async for each in found:
                    self._begun = True
                    yield each
        except Exception as error:  # noqa: BLE001 - raised again, or kept
            self._note(error)

    def _note(self, error: Exception) -> None:
        if not self._core.gate.is_away(error):
            raise error
        self.error = error

    def fail(self) -> SaverFlow[None]:
        """Take note that the primary is away.

        Raises:
            OutageError: It went away in the middle: what it gave can't be gone on with.
        """
        assert self.error is not None  # noqa: S101 - asked where it failed only
        config = self._asked.config
        thread_id = NOBODY if config is None else thread_of(config)
        yield from self._core.note(thread_id, self.error)
        if self._begun:
            why = "the checkpointer's primary went away in the middle of this list"
            raise OutageError(why) from self.error

    def known(self) -> Iterator[CheckpointTuple]:
        """Give what is known."""
        config = self._asked.config
        copy = self._core.copy if config is None else self._core.known(thread_of(config))
        return copy.known(self._serde, self._asked)


async def _all(given: AsyncIterator[CheckpointTuple]) -> list[CheckpointTuple]:
    return [each async for each in given]


async def _one_by_one(given: list[CheckpointTuple]) -> AsyncIterator[CheckpointTuple]:
    for each in given:
        yield each


@asynccontextmanager
async def _closing(found: AsyncIterator[CheckpointTuple]) -> AsyncIterator[None]:
    """Leave no connection held where the caller has seen enough."""
    try:
        yield
    finally:
        close = getattr(found, "aclose", None)
        if close is not None:
            await close()
