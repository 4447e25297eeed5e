"""The commands of one event loop for a Cluster: those for one node that wait go together."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

import redis
from redis.client import NEVER_DECODE
from redis.exceptions import AskError, SlotNotCoveredError, TryAgainError

from sessionstore.deadline import until
from sessionstore.redis.asked import CLOSED, LargeReplies
from sessionstore.redis.async_batches import Asked, AsyncBatches
from sessionstore.redis.direct import LOST
from sessionstore.redis.making import AsyncClient
from sessionstore.redis.requests import Command, Words
from sessionstore.redis.sending import within
from sessionstore.redis.timed import left

__all__ = ["AsyncNodes"]

_ELSEWHERE = (AskError, TryAgainError)  # MOVED is a kind of ASK


class AsyncNodes:
    """As `AsyncBatches`, with one of those for each node.

    Args:
        client: A Cluster's.
        permits: One for each connection that may be in use.
        timeout: How long a command may take, in seconds; ``None`` is for as long as the call.

    Attributes:
        large: Which replies may be large: what asks for one is not for `send`.
    """

    def __init__(
        self, client: AsyncClient, permits: asyncio.Semaphore, timeout: float | None
    ) -> None:
        """Know of no node yet."""
        self.large: LargeReplies = LargeReplies()
        self._client = client
        self._permits = permits
        self._timeout = timeout
        self._nodes: dict[str, AsyncBatches] = {}

    def is_idle(self) -> bool:
        """Tell whether nothing is on its way to any node."""
        return all(batches.is_idle() for batches in self._nodes.values())

    async def send(self, command: Command, size: int) -> Any:
        """Send a command, by itself or with others for its node, and give its reply."""
        name = await self._node_of(command)
        if (batches := self._nodes.get(name)) is None:
            way = _Node(self._client, name, self._timeout)
            batches = self._nodes[name] = AsyncBatches(way, self._permits, self._timeout)
        try:
            return await batches.send(command, size)
        except _ELSEWHERE:  # its slot has moved, or moves: no other command waits for that
            return await _alone(self._client, command.words, self._timeout)

    async def _node_of(self, command: Command) -> str:
        find: Any = self._client.get_node_from_key
        try:
            return str(find(command.key).name)
        except SlotNotCoveredError:  # as before the first use
            await within(left(self._timeout), self._client.initialize())
            return str(find(command.key).name)


class _Node:
    """How commands get to a node, by redis-py's pipeline."""

    def __init__(self, client: AsyncClient, name: str, timeout: float | None) -> None:
        self._client = client
        self._name = name
        self._timeout = timeout

    async def send(self, words: Words) -> Any:
        return await _alone(self._client, words, self._timeout)

    async def together(self, batch: list[Asked], *, is_fresh: bool) -> None:  # noqa: ARG002
        last = max(asked.ends for asked in batch)
        with until(last if last < math.inf else None):
            replies = await within(left(self._timeout), self._sent(batch))
        for asked, reply in zip(batch, replies, strict=True):
            asked.answer(reply)

    async def _sent(self, batch: list[Asked]) -> list[Any]:
        await self._client.initialize()
        try:
            replies = await self._replies(batch)
            lost = any(isinstance(reply, LOST) for reply in replies)
        except LOST:
            await self._look_again()
            raise
        if lost:
            await self._look_again()
        return replies

    async def _replies(self, batch: list[Asked]) -> list[Any]:
        node = self._client.get_node(node_name=self._name)
        if node is None:
            raise redis.ConnectionError(CLOSED)  # each finds the one that has its slot now
        async with self._client.pipeline(transaction=False) as pipeline:
            options = {"target_nodes": node, NEVER_DECODE: True}
            for asked in batch:
                pipeline.execute_command(*asked.command.words, **options)
            return list(await pipeline.execute(raise_on_error=False, allow_redirections=False))

    async def _look_again(self) -> None:
        """Have the client find out that the node is gone, which its pipelines do not tell it."""
        with suppress(redis.RedisError, redis.RedisClusterException):
            node = self._client.get_node(node_name=self._name)
            await self._client.execute_command("PING", target_nodes=node)


async def _alone(client: AsyncClient, words: Words, timeout: float | None) -> Any:
    async def sent() -> Any:
        await client.initialize()  # until then redis-py 8 sends to any node
        return await client.execute_command(*words, **{NEVER_DECODE: True})

    return await within(left(timeout), sent())
