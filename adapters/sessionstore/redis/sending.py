"""How commands go through a client of redis-py, in one round trip to each node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import AskError

from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.making import AsyncClient, SyncClient
from sessionstore.redis.requests import WAIT, Command
from sessionstore.redis.timed import SLOW

__all__ = ["alet_go", "aprobed", "asent", "let_go", "probed", "sent", "within"]

T = TypeVar("T")

_ELSEWHERE = (AskError, redis.ConnectionError)  # MOVED is a kind of ASK


def sent(client: SyncClient, commands: Sequence[Command]) -> list[Any]:
    """Send commands, and give their replies or errors; that of a single one is raised."""
    if not commands:
        let_go(client)
        return []
    if len(commands) == 1:
        return [client.execute_command(*commands[0].words, **{NEVER_DECODE: True})]
    if commands[-1].words[0] == WAIT and isinstance(client, redis.RedisCluster):
        return _sent_to_one_node(client, commands)
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            options = _target(client, command.key)
            pipeline.execute_command(*command.words, **options, **{NEVER_DECODE: True})
        return list(pipeline.execute(raise_on_error=False))


async def asent(client: AsyncClient, commands: Sequence[Command]) -> list[Any]:
    """Async twin of `sent`."""
    clustered = isinstance(client, redis.asyncio.RedisCluster)
    if clustered:
        await client.initialize()  # until then redis-py 8 sends to any node
    if len(commands) == 1:
        return [await client.execute_command(*commands[0].words, **{NEVER_DECODE: True})]
    waits = clustered and commands[-1].words[0] == WAIT
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            options = _target(client, command.key)
            pipeline.execute_command(*command.words, **options, **{NEVER_DECODE: True})
        if not waits:
            return list(await pipeline.execute(raise_on_error=False))
        # Redirected, a WAIT would ask about another node, or another connection's writes.
        replies = await pipeline.execute(raise_on_error=False, allow_redirections=False)
    if lost := next((reply for reply in replies if isinstance(reply, _ELSEWHERE)), None):
        await client.nodes_manager.initialize()
        raise redis.ConnectionError("the slot may be on another node") from lost
    return list(replies)


def _sent_to_one_node(client: SyncClient, commands: Sequence[Command]) -> list[Any]:
    node = client.get_redis_connection(_target(client, commands[0].key)["target_nodes"])
    try:
        with node.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command.words, **{NEVER_DECODE: True})
            replies = pipeline.execute(raise_on_error=False)
    except (redis.ConnectionError, redis.TimeoutError):
        client.nodes_manager.initialize()
        raise
    if lost := next((reply for reply in replies if isinstance(reply, _ELSEWHERE)), None):
        client.nodes_manager.initialize()
        raise redis.ConnectionError("the slot may be on another node") from lost
    return list(replies)


def _target(client: Any, key: bytes) -> dict[str, Any]:
    """Name the node for a key: redis-py's pipelines ask a server for it otherwise."""
    if not isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster)):
        return {}
    find: Any = client.get_node_from_key
    return {"target_nodes": find(key)}


def let_go(client: SyncClient) -> None:
    """Close the connections that wait: one that waited, too, was dead."""
    if isinstance(client, redis.RedisCluster):
        clients = [node.redis_connection for node in client.get_nodes()]
    else:
        clients = [client]
    for one in clients:
        if one is not None:
            one.connection_pool.disconnect(inuse_connections=False)


async def alet_go(client: AsyncClient, direct: AsyncDirect | None = None) -> list[Any]:
    """Async twin of `let_go`."""
    if direct:
        await direct.let_go()
    # A Cluster's client has no way to close what waits and nothing else.
    if isinstance(client, redis.asyncio.Redis):
        await client.connection_pool.disconnect(inuse_connections=False)
    return []


def probed(client: SyncClient, command: Command) -> list[Any]:
    """Send a command by a connection of its own, and give its reply."""
    if isinstance(client, redis.RedisCluster):
        return sent(client, [command])
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        connection.connect()
        connection.send_command(*command.words)
        return [connection.read_response(disable_decoding=True)]
    finally:
        connection.disconnect()


async def aprobed(client: AsyncClient, command: Command) -> list[Any]:
    """Async twin of `probed`."""
    if isinstance(client, redis.asyncio.RedisCluster):
        return await asent(client, [command])
    pool: Any = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        await connection.connect()
        await connection.send_command(*command.words)
        return [await connection.read_response(disable_decoding=True)]
    finally:
        await connection.disconnect(nowait=True)


async def within(seconds: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, for so long."""
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise redis.TimeoutError(SLOW) from None
