"""The redis-py clients of `RedisSessionStore`, and how a request goes through them.

One client serves all threads; each event loop has one of its own, closed when its loop ends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from threading import BoundedSemaphore, Lock
from typing import Any, TypeAlias, TypeVar

import redis
import redis.asyncio
from redis.asyncio import cluster as async_cluster
from redis.asyncio import retry as async_retry
from redis.asyncio import sentinel as async_sentinel
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.cluster import ClusterNode
from redis.exceptions import AskError, ClusterDownError
from redis.retry import Retry
from redis.sentinel import Sentinel

from sessionstore.errors import SessionStoreError
from sessionstore.redis import multi
from sessionstore.redis.errors import NobodyAnsweredError, is_of_full_pool, translated
from sessionstore.redis.lines import MAJOR, AsyncLines, Lines
from sessionstore.redis.requests import WAIT, Command, Probe, Reply, Request, Transaction
from sessionstore.redis.settings import Settings
from sessionstore.redis.timed import SLOW, TimedPool, left, let_time

__all__ = ["Clients"]

_ELSEWHERE = (AskError, redis.ConnectionError)  # MOVED is a kind of ASK
_AT_ONCE = 50  # requests of one event loop; the next ones wait for a connection of these
_MANY = 10_000
_NONE_FREE = "No connection available: each waits for an answer"
_LOST = (redis.ConnectionError, redis.TimeoutError)
_FOR_GOOD = 10.0**8  # seconds: three years
_LATELY = 8  # the part of a wait within which somebody is answered where Redis is only busy
_PATIENCE = 5.0  # seconds to wait for a turn, where a caller's client sets no timeout

T = TypeVar("T")

# redis-py is typed in part only, and otherwise in each version.
SyncClient: TypeAlias = Any
AsyncClient: TypeAlias = Any


# -- Making clients. None tries again by itself: how often to try is the store's to say. -----------


def _sync_client(settings: Settings) -> SyncClient:
    if settings.topology == "cluster":
        try:
            return redis.RedisCluster(**_of_cluster(settings))
        except IndexError as error:  # redis-py 5, of a Cluster without slots
            raise ClusterDownError("no slot is served") from error
    options = settings.options
    options = {"max_connections": _MANY, **options, "retry": Retry(NoBackoff(), 0)}
    if settings.topology == "single":
        client = redis.Redis(**options)
        let_time(client.connection_pool)
        return client
    ours = {**settings.sentinel_options, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(settings.nodes, sentinel_kwargs=ours, **options)
    client = sentinel.master_for(settings.service)
    for one in (client, *sentinel.sentinels):
        let_time(one.connection_pool)
    return client


def _async_client(settings: Settings) -> AsyncClient:
    options = settings.options
    if settings.topology == "cluster":
        nodes = [async_cluster.ClusterNode(host, port) for host, port in settings.nodes]
        kwargs = _cluster_options(options, async_retry.Retry)
        return redis.asyncio.RedisCluster(startup_nodes=nodes, **kwargs)
    # The call's own timeout is enough: redis-py's makes tasks, and may lose that of the call.
    ours = {"socket_timeout": None, "retry": async_retry.Retry(NoBackoff(), 0)}
    options = {"max_connections": _MANY, **options, **ours}
    if settings.topology == "single":
        return redis.asyncio.Redis(**options)
    ours = {**settings.sentinel_options, "retry": async_retry.Retry(NoBackoff(), 0)}
    sentinel = async_sentinel.Sentinel(settings.nodes, sentinel_kwargs=ours, **options)
    return sentinel.master_for(settings.service)


def _of_cluster(settings: Settings) -> dict[str, Any]:
    """Give the arguments of a client that connects as it is made."""
    nodes = [ClusterNode(host, port) for host, port in settings.nodes]
    options = _cluster_options(settings.options, Retry)
    pools = {"connection_pool_class": TimedPool, "url": _url(settings)}
    return {"startup_nodes": nodes, **pools, **options}


def _url(settings: Settings) -> str:
    """Name a Cluster by a URL too: only so redis-py asks for a kind of pool."""
    host, port = settings.nodes[0]
    scheme = "rediss" if settings.options.get("ssl") else "redis"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _cluster_options(options: dict[str, Any], retry: Callable[..., Any]) -> dict[str, Any]:
    options = {"max_connections": _MANY, **options}
    options.pop("db", None)
    options.pop("port", None)
    if MAJOR < 6:  # noqa: PLR2004 - its option changed its name
        # At least one of these is an asyncio pipeline's first try.
        options["cluster_error_retry_attempts"] = 1
        return options
    return {**options, "retry": retry(NoBackoff(), 0)}


# -- One process's clients -------------------------------------------------------------------------


class _OfLoop:
    """What one event loop has.

    The loop holds this, and no store does: so it goes with the loop, also one that was dropped
    without being closed, and takes its connections with it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: AsyncClient,
        turns: asyncio.Semaphore,
        *,
        lines: AsyncLines | None = None,
    ) -> None:
        self.loop, self.client, self.turns, self.lines = loop, client, turns, lines
        self.life: AsyncGenerator[None, None] | None = None
        self.is_open = [True]
        self.pid = os.getpid()
        self.stay()

    def stay(self) -> None:
        """Be held by the loop alone."""
        self.loop.call_later(_FOR_GOOD, self.stay, context=Context())

    def __del__(self) -> None:
        if self.life is not None and os.getpid() == self.pid:
            _drop(self)


class Clients:
    """The clients of one process.

    Args:
        settings: What to connect to.
        given: The caller's client, which is used for its colour and never closed.
    """

    def __init__(self, settings: Settings, given: SyncClient | AsyncClient = None) -> None:
        """Connect to nothing yet."""
        self.pid = os.getpid()
        self.settings = settings
        self._lock = Lock()
        self.closed = False
        self._sync: SyncClient = None
        self._lines: Lines | None = None
        most = settings.options.get("max_connections")
        self._patience = settings.options.get("socket_timeout") or _PATIENCE
        self._at_once = min(_AT_ONCE, most or _AT_ONCE)
        self._turns = BoundedSemaphore(most) if most else None
        self._answered = 0.0
        self._last_error: str | None = None  # in words: an error holds its frames, and those a loop
        self._given = given
        # Asked once: a client of redis-py takes long to say what it is.
        self._given_is_sync = (
            isinstance(given, (redis.Redis, redis.RedisCluster)) or multi.mode_of(given) == "sync"
        )
        self._given_loop: asyncio.AbstractEventLoop | None = None
        self._loops: dict[int, weakref.ref[_OfLoop]] = {}

    def after_fork(self) -> Clients:
        """Give the clients of a process that was forked off this one's.

        redis-py makes a sync client's connections anew after a fork. An async one's are still
        the parent's sockets, so that the child needs a client of its own.
        """
        clients = Clients(self.settings, self._given if self._given_is_sync else None)
        clients.closed = self.closed
        return clients

    # -- The two colours --------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Carry out commands, in one round trip to each node, and give the replies or errors.

        None at all lets go of idle connections: they lead to a server that is no longer a master.
        The reply to a transaction is nothing where there are none: then nothing was done.
        """
        lines = self._lines
        if lines is None or self.closed or type(request) is not list or len(request) != 1:
            return self._send(request)
        return [lines.send(request[0].words)]

    def _send(self, request: Request) -> Reply:
        client, lines = self._sync_one(), self._lines
        if isinstance(request, Transaction):
            return lines.transact(request.commands) if lines else []
        if self.settings.databases:  # to which a probe is a command as all
            return multi.sent(client, request)
        if isinstance(request, Probe):
            return _probed(client, request.command)
        if lines and len(request) == 1:
            return [lines.send(request[0].words)]
        if lines and not request:
            lines.let_go()
        return self._send_by_client(client, request)

    def _send_by_client(self, client: SyncClient, commands: Sequence[Command]) -> Reply:
        # redis-py's own pools, full, would refuse at once.
        turns = None if client is self._given else self._turns
        began = time.monotonic()
        if turns is not None and not turns.acquire(timeout=left(self._patience) or 0):
            raise self._none_free(began)
        try:
            replies = _sent(client, commands)
        except _LOST as error:
            if client is self._given and is_of_full_pool(error):
                raise self._none_free(began - self._patience) from error
            self._last_error = str(translated(error))
            _let_go(client)
            raise
        except Exception:
            raise
        except BaseException:  # one of them may have a reply that nobody has read
            _let_go(client)
            raise
        finally:
            if turns is not None:
                turns.release()
        self._answered = time.monotonic()
        return replies

    async def asend(self, request: Request) -> Reply:
        """Async twin of `send`."""
        kept = await self._async_one()
        client, turns, lines = kept.client, kept.turns, kept.lines
        if isinstance(request, Transaction) and not lines:
            return []
        if isinstance(request, Probe):
            several = self.settings.databases
            probed = multi.asent(client, request) if several else _aprobed(client, *request)
            return await _within(left(), probed)
        if not request:
            return await _alet_go(client, lines)
        await self._turn(turns)
        try:
            if isinstance(request, Transaction):
                replies: Reply = await lines.transact(request.commands)  # type: ignore[union-attr]
            elif lines and len(request) == 1:
                replies = [await lines.send(request[0].words)]
            else:
                replies = await self._asend_by_client(client, request)
        except (AttributeError, TypeError, RuntimeError) as error:
            # What asyncio and uvloop give for writing to a connection that was just closed.
            raise redis.ConnectionError("the connection was closed") from error
        except _LOST as error:
            self._last_error = str(translated(error))
            raise
        else:
            if turns.locked() or client is self._given:  # somebody may wait, and ask about it
                self._answered = time.monotonic()
            return replies
        finally:
            turns.release()

    async def _asend_by_client(self, client: AsyncClient, commands: Sequence[Command]) -> Reply:
        if self.settings.databases:
            return await multi.asent(client, commands)
        try:
            most = None if client is self._given else self._patience
            return await _within(left(most), _asent(client, commands))
        except _LOST as error:
            if client is self._given and is_of_full_pool(error):
                raise self._none_free(time.monotonic() - self._patience) from error
            await _alet_go(client)
            raise

    async def _turn(self, turns: asyncio.Semaphore) -> None:
        """Wait for a turn, but for no longer than for an answer."""
        if not turns.locked():
            await turns.acquire()
            return
        began = time.monotonic()
        waiting = asyncio.ensure_future(turns.acquire())
        try:
            await asyncio.wait({waiting}, timeout=left(self._patience))
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                turns.release()
            waiting.cancel()
            raise
        if not waiting.done():
            waiting.cancel()
            raise self._none_free(began)

    def _none_free(self, began: float) -> Exception:
        """Tell whether the server is busy, or gone: then those that have a connection hang."""
        if self._answered < began:
            return NobodyAnsweredError(self._last_error)
        now = time.monotonic()
        if now - self._answered < (now - began) / _LATELY:
            return redis.ConnectionError(_NONE_FREE)
        # Whoever waits when Redis falls silent saw others answered before.
        return redis.TimeoutError(SLOW)

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the client of a loop, which closes it."""
        self._loops.pop(id(loop), None)

    def close(self) -> None:
        """Close our own clients; those of other event loops are closed there, when they run."""
        if self.pid != os.getpid():
            return
        for kept in self._shut():
            _close_elsewhere(kept)

    async def aclose(self) -> None:
        """Async twin of `close`, which also waits for the client of the running loop."""
        loop = asyncio.get_running_loop()
        own = self._of(loop)
        for kept in self._shut():
            if kept is not own:
                _close_elsewhere(kept)
        if own and own.life:
            await own.life.aclose()

    # -- Making and keeping them ------------------------------------------------------------------

    def _sync_one(self) -> SyncClient:
        self.refuse_closed()
        if self._given_is_sync:
            return self._given
        if self.settings.databases:
            multi.refuse_other_mode(self._given)
        if self._sync is None:
            # Outside the lock: a Cluster's client connects when it is made.
            made = _sync_client(self.settings)
            with self._lock:
                one = self._sync if self.closed else self._sync or made
                if one is not self._sync and self._may_have_lines() and Lines.are_possible():
                    self._lines = Lines(made)
                self._sync = one
            if one is not made:
                _close_client(made)
        self.refuse_closed()
        return self._sync

    async def _async_one(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        kept = self._of(loop) or await self._join(loop)
        self.refuse_closed()
        return kept

    def _of(self, loop: asyncio.AbstractEventLoop) -> _OfLoop | None:
        kept = self._loops.get(id(loop))
        found = None if kept is None else kept()
        return found if found is not None and found.loop is loop else None

    def _may_have_lines(self) -> bool:
        # Of a pool with few connections, none is held back from what needs several commands.
        few = "max_connections" in self.settings.options
        own = self.settings.options.get("credential_provider") is None and not few
        return self.settings.topology == "single" and own

    async def _join(self, loop: asyncio.AbstractEventLoop) -> _OfLoop:
        with self._lock:
            self._loops = {key: ref for key, ref in self._loops.items() if ref() is not None}
            if self._given is not None and not self._given_is_sync:
                self._given_loop = self._given_loop or loop
                if self._given_loop is loop:
                    return self._kept(_OfLoop(loop, self._given, asyncio.Semaphore(_AT_ONCE)))
            if self.settings.databases:
                multi.refuse_elsewhere(self._given)
            client = _async_client(self.settings)
            wait = self.settings.options.get("socket_timeout", _PATIENCE)
            possible = self._may_have_lines() and AsyncLines.are_possible()
            lines = AsyncLines(client, wait) if possible else None
            turns = asyncio.Semaphore(self._at_once)
            kept = self._kept(_OfLoop(loop, client, turns, lines=lines))
            kept.life = _lifetime(loop, client, weakref.ref(self), kept.is_open)
        await kept.life.__anext__()
        return kept

    def _kept(self, kept: _OfLoop) -> _OfLoop:
        self._loops[id(kept.loop)] = weakref.ref(kept)
        _all.add(kept)
        return kept

    def _shut(self) -> list[_OfLoop]:
        with self._lock:
            self.closed = True
            refs, self._loops = list(self._loops.values()), {}
            client, self._sync = self._sync, None
        if self._lines is not None:
            self._lines.close()
        if client is not None:
            _close_client(client)
        return [kept for ref in refs if (kept := ref()) is not None]

    def refuse_closed(self) -> None:
        """Raise an error where the store was closed."""
        if self.closed:
            raise SessionStoreError("this store is closed")


def _close_client(client: SyncClient) -> None:
    client.close()
    for sentinel in _sentinels(client):
        sentinel.close()
    if isinstance(client, redis.RedisCluster):
        client.disconnect_connection_pools()  # which its `close` leaves open


def _sent(client: SyncClient, commands: Sequence[Command]) -> list[Any]:
    if not commands:
        _let_go(client)
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


async def _asent(client: AsyncClient, commands: Sequence[Command]) -> list[Any]:
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


def _let_go(client: SyncClient) -> None:
    """Close the connections that wait: one that waited, too, was dead."""
    if isinstance(client, redis.RedisCluster):
        clients = [node.redis_connection for node in client.get_nodes()]
    else:
        clients = [client]
    for one in clients:
        if one is not None:
            one.connection_pool.disconnect(inuse_connections=False)


async def _alet_go(client: AsyncClient, lines: AsyncLines | None = None) -> list[Any]:
    if lines:
        await lines.let_go()
    # A Cluster's client has no way to close what waits and nothing else.
    if isinstance(client, redis.asyncio.Redis):
        await client.connection_pool.disconnect(inuse_connections=False)
    return []


def _probed(client: SyncClient, command: Command) -> list[Any]:
    if isinstance(client, redis.RedisCluster):
        return _sent(client, [command])
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        connection.connect()
        connection.send_command(*command.words)
        return [connection.read_response(disable_decoding=True)]
    finally:
        connection.disconnect()


async def _aprobed(client: AsyncClient, command: Command) -> list[Any]:
    if isinstance(client, redis.asyncio.RedisCluster):
        return await _asent(client, [command])
    pool: Any = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        await connection.connect()
        await connection.send_command(*command.words)
        return [await connection.read_response(disable_decoding=True)]
    finally:
        await connection.disconnect(nowait=True)


async def _within(seconds: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, for so long."""
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise redis.TimeoutError(SLOW) from None


async def _lifetime(
    loop: asyncio.AbstractEventLoop,
    client: AsyncClient,
    clients: weakref.ref[Clients],
    is_open: list[bool],
) -> AsyncGenerator[None, None]:
    """Close a client when its loop ends: before that, a loop closes its generators.

    A store that is dropped unclosed drops this, too, and then its loop closes it. So this must
    not hold the store: both would be collected as one heap, the connections among it.
    """
    try:
        yield
    finally:
        if (owner := clients()) is not None:
            owner.forget(loop)
        if is_open:
            await _aclose(client)


def _sentinels(client: Any) -> list[Any]:
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return list(manager.sentinels) if manager else []


async def _aclose(client: AsyncClient) -> None:
    await client.aclose()
    for sentinel in _sentinels(client):
        await sentinel.aclose()


def _close_elsewhere(kept: _OfLoop) -> None:
    life, loop = kept.life, kept.loop
    if life is None:
        return
    if loop.is_closed():
        _drop(kept)
        return

    async def end() -> None:
        await life.aclose()

    ending: list[asyncio.Task[None]] = []  # a loop holds its tasks weakly
    with suppress(RuntimeError):  # closed in this very moment
        loop.call_soon_threadsafe(lambda: ending.append(loop.create_task(end())))


def _drop(kept: _OfLoop) -> None:
    """Close the sockets of a loop that was closed, or dropped, before its generators were ended.

    No public way leads there, and left alone each would warn when it is collected.
    """
    if kept.life is None:
        return
    kept.is_open.clear()  # so that its end waits for nothing
    with suppress(StopIteration, StopAsyncIteration, RuntimeError):
        kept.life.aclose().send(None)
    for connection in _connections(kept.client):
        writer = getattr(connection, "_writer", None)
        if writer is None:
            continue
        connection._writer = connection._reader = None  # noqa: SLF001
        transport = writer.transport
        if sock := getattr(transport, "_sock", None):
            sock.close()
            transport._sock, transport._closing = None, True  # noqa: SLF001


def _drop_all() -> None:
    """Close what loops have that were never closed: as a process ends, each would complain."""
    for kept in list(_all):
        if kept.pid == os.getpid() and not kept.loop.is_running():
            _drop(kept)


_all: weakref.WeakSet[_OfLoop] = weakref.WeakSet()
atexit.register(_drop_all)


def _connections(client: Any) -> list[Any]:
    if isinstance(client, redis.asyncio.RedisCluster):
        client._initialize = True  # noqa: SLF001 - it warns of what it thinks is open
        nodes = client.nodes_manager.nodes_cache.values()
        return [connection for node in nodes for connection in node._connections]  # noqa: SLF001
    pools = [one.connection_pool for one in (client, *_sentinels(client))]
    return [
        connection
        for pool in pools
        for connection in (*pool._available_connections, *pool._in_use_connections)  # noqa: SLF001
    ]
