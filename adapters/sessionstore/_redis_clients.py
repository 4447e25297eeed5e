"""The redis-py clients of `RedisSessionStore`: made from a URL, or from the caller's client.

One client serves all threads; each event loop has one of its own, closed when its loop ends.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio import cluster as async_cluster
from redis.asyncio import retry as async_retry
from redis.asyncio import sentinel as async_sentinel
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import AskError, ClusterDownError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from sessionstore.errors import SessionStoreError

__all__ = [
    "SCHEMES",
    "WAIT",
    "Clients",
    "Command",
    "Settings",
    "settings_of_client",
    "settings_of_url",
]

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
"""The schemes of the URLs that name a Redis."""

WAIT = "WAIT"
"""The command that, last of several, asks how many replicas have them."""

_ELSEWHERE = (AskError, redis.ConnectionError)  # MOVED is a kind of ASK
_AT_ONCE = 50  # requests of one event loop; the next ones wait for a connection of these
_MANY = 10_000
_SENTINEL_PORT, _REDIS_PORT = 26379, 6379

# redis-py is typed in part only, and otherwise in each version.
SyncClient: TypeAlias = Any
AsyncClient: TypeAlias = Any


class Command(NamedTuple):
    """One command, and the key by which a Cluster finds the node for it."""

    key: bytes
    words: tuple[Any, ...]


class Settings(NamedTuple):
    """Where a Redis is, and how to connect to it, for a client of either colour."""

    topology: str
    """``"single"``, ``"sentinel"`` or ``"cluster"``."""
    nodes: tuple[tuple[str, int], ...]
    """Sentinels, or nodes of a Cluster."""
    service: str
    """The name that the Sentinels know the master by."""
    options: dict[str, Any]
    """Arguments of ``redis.Redis``, without those that are of one colour only."""
    sentinel_options: dict[str, Any]
    """The same for the Sentinels themselves."""

    def __repr__(self) -> str:
        """Tell where it is: never a password."""
        if self.nodes:
            hosts = ",".join(f"{host}:{port}" for host, port in self.nodes)
            return f"redis+{self.topology}://{hosts}" + (f"/{self.service}" if self.service else "")
        options = self.options
        if "unix_socket_path" in options:
            return f"unix://{options['unix_socket_path']}?db={options.get('db', 0)}"
        scheme = "rediss" if options.get("ssl") else "redis"
        host, port = options.get("host", "localhost"), options.get("port", _REDIS_PORT)
        return f"{scheme}://{host}:{port}/{options.get('db', 0)}"


def settings_of_url(url: str, timeout: float) -> Settings:
    """Read a URL.

    Args:
        url: One of `SCHEMES`, then what redis-py's ``from_url`` takes; for Sentinel
            ``redis+sentinel://host1:port,host2/service/db``, for Cluster
            ``redis+cluster://host1:port,host2``.
        timeout: How long to wait for a connection and for an answer, in seconds, where the URL
            says nothing else.

    Raises:
        ValueError: It is no such URL. The error does not quote it: it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ValueError(f"a URL of Redis starts with one of {', '.join(SCHEMES)}, then ://")
    base, _, topology = scheme.partition("+")
    hosts, service = "", ""
    if topology:
        parts = urlsplit(f"{base}://{rest}")
        user, at, hosts = parts.netloc.rpartition("@")
        path = parts.path.strip("/")
        if topology == "sentinel":
            service, _, path = path.partition("/")
            if not service:
                raise ValueError(
                    "a URL of Redis's Sentinels is redis+sentinel://host1,host2/service/db"
                )
        rest = f"{user}{at}host/{path}?{parts.query}"
    try:
        options = _options(f"{base}://{rest}")
        nodes = _nodes(hosts, _SENTINEL_PORT if topology == "sentinel" else _REDIS_PORT)
    except ValueError as error:
        raise ValueError(f"this URL of Redis is not valid: {_reason(error)}") from None
    if topology:
        options.pop("host")
    waits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    ours = _sentinel_options(options, timeout / max(1, len(nodes)))
    return Settings(topology or "single", nodes, service, waits | options, ours)


def settings_of_client(client: Any) -> Settings:
    """Read a client of either colour: to make another one that connects to the same.

    Args:
        client: The caller's client.

    Raises:
        TypeError: It is no client of redis-py that this package knows.
    """
    if isinstance(client, redis.RedisCluster):
        manager = client.nodes_manager
        nodes = tuple((node.host, int(node.port)) for node in manager.startup_nodes.values())
        return Settings("cluster", nodes, "", _of_both_colours(manager.connection_kwargs), {})
    if isinstance(client, redis.asyncio.RedisCluster):
        starts = client.nodes_manager.startup_nodes
        nodes = tuple((node.host, int(node.port)) for node in starts.values())
        return Settings("cluster", nodes, "", _of_both_colours(client.connection_kwargs), {})
    if not isinstance(client, (redis.Redis, redis.asyncio.Redis)):
        kind = type(client).__name__
        raise TypeError(f"redis must be a URL or a client of redis-py, not {kind}")
    pool: Any = client.connection_pool
    options = _of_both_colours(
        {**pool.connection_kwargs, "connection_class": pool.connection_class}
    )
    if not isinstance(pool, (SentinelConnectionPool, async_sentinel.SentinelConnectionPool)):
        return Settings("single", (), "", options, {})
    manager = pool.sentinel_manager
    reached = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    nodes = tuple((kwargs["host"], kwargs["port"]) for kwargs in reached)
    ours = _of_both_colours(manager.sentinel_kwargs)
    return Settings("sentinel", nodes, pool.service_name, options, ours)


# What a client of one colour can hand to one of the other.
_SHARED = frozenset(
    {
        "host",
        "port",
        "db",
        "username",
        "password",
        "credential_provider",
        "client_name",
        "protocol",
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "health_check_interval",
        "ssl",
        "ssl_keyfile",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_check_hostname",
        "ssl_password",
        "ssl_min_version",
        "ssl_ciphers",
        "unix_socket_path",
        "sentinel_username",
        "sentinel_password",
        "max_connections",
    }
)


def _of_both_colours(kwargs: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in kwargs.items() if name in _SHARED}
    if "path" in kwargs:
        options["unix_socket_path"] = kwargs["path"]
    if "SSL" in getattr(kwargs.get("connection_class"), "__name__", ""):
        options["ssl"] = True
    return options


def _options(url: str) -> dict[str, Any]:
    parsed = parse_url(url)
    parts = urlsplit(url)
    if parts.scheme != "unix" and not parts.path.strip("/").isdigit() and parts.path.strip("/"):
        raise _UrlError("a database is a number")
    unknown = parsed.keys() - _SHARED - {"path", "connection_class"}
    if unknown:
        raise _UrlError(f"there is no option {min(unknown)!r}")
    return _of_both_colours(parsed)


class _UrlError(ValueError):
    """Says what is wrong in words of ours: the parsers' own may quote a password."""


def _reason(error: ValueError) -> str:
    return str(error) if isinstance(error, _UrlError) else "look at its ports and options"


def _sentinel_options(options: dict[str, Any], timeout: float) -> dict[str, Any]:
    ours = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    for name in ("username", "password"):
        if value := options.pop(f"sentinel_{name}", None):
            ours[name] = value
    return ours | {name: value for name, value in options.items() if name.startswith("ssl")}


def _nodes(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    parts = [urlsplit(f"//{host}") for host in hosts.split(",") if host]
    return tuple((part.hostname or "localhost", part.port or port) for part in parts)


# -- Making clients. None tries again by itself: how often to try is the store's to say. -----------


def _sync_client(settings: Settings) -> SyncClient:
    options = settings.options
    if settings.topology == "cluster":
        nodes = [ClusterNode(host, port) for host, port in settings.nodes]
        try:
            return redis.RedisCluster(startup_nodes=nodes, **_cluster_options(options, Retry))
        except IndexError as error:  # redis-py 5, of a Cluster without slots
            raise ClusterDownError("no slot is served") from error
    options = {"max_connections": _MANY, **options, "retry": Retry(NoBackoff(), 0)}
    if settings.topology == "single":
        return redis.Redis(**options)
    ours = {**settings.sentinel_options, "retry": Retry(NoBackoff(), 0)}
    return Sentinel(settings.nodes, sentinel_kwargs=ours, **options).master_for(settings.service)


def _async_client(settings: Settings) -> AsyncClient:
    options = settings.options
    if settings.topology == "cluster":
        nodes = [async_cluster.ClusterNode(host, port) for host, port in settings.nodes]
        kwargs = _cluster_options(options, async_retry.Retry)
        return redis.asyncio.RedisCluster(startup_nodes=nodes, **kwargs)
    options = {"max_connections": _MANY, **options, "retry": async_retry.Retry(NoBackoff(), 0)}
    if settings.topology == "single":
        return redis.asyncio.Redis(**options)
    ours = {**settings.sentinel_options, "retry": async_retry.Retry(NoBackoff(), 0)}
    sentinel = async_sentinel.Sentinel(settings.nodes, sentinel_kwargs=ours, **options)
    return sentinel.master_for(settings.service)


def _cluster_options(options: dict[str, Any], retry: Callable[..., Any]) -> dict[str, Any]:
    options = {"max_connections": _MANY, **options}
    options.pop("db", None)
    options.pop("port", None)
    if int(redis.__version__.split(".")[0]) < 6:  # noqa: PLR2004 - its option changed its name
        # At least one of these is an asyncio pipeline's first try.
        options["cluster_error_retry_attempts"] = 1
        return options
    return {**options, "retry": retry(NoBackoff(), 0)}


# -- One process's clients -------------------------------------------------------------------------


class _OfLoop(NamedTuple):
    loop: asyncio.AbstractEventLoop
    client: AsyncClient
    turns: asyncio.Semaphore
    life: AsyncGenerator[None, None] | None


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
        self._closed = False
        self._sync: SyncClient = None
        self._given = given
        self._given_loop: asyncio.AbstractEventLoop | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _OfLoop] = {}

    # -- The two colours --------------------------------------------------------------------------

    def send(self, commands: list[Command]) -> list[Any]:
        """Carry out commands, in one round trip to each node, and give the replies or errors.

        None at all lets go of idle connections: they lead to a server that is no longer a master.
        """
        client = self._sync_one()
        if not commands:
            if isinstance(client, redis.Redis):
                client.connection_pool.disconnect(inuse_connections=False)
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

    async def asend(self, commands: list[Command]) -> list[Any]:
        """Async twin of `send`."""
        _, client, turns, _ = await self._async_one()
        if not commands:
            if isinstance(client, redis.asyncio.Redis):
                await client.connection_pool.disconnect(inuse_connections=False)
            return []
        async with turns:
            try:
                return await _asent(client, commands)
            except (AttributeError, TypeError, RuntimeError) as error:
                # What asyncio and uvloop give for writing to a connection that was just closed.
                raise redis.ConnectionError("the connection was closed") from error

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of the client of a loop, which closes it."""
        self._loops.pop(loop, None)

    def close(self) -> None:
        """Close our own clients; those of other event loops are closed there, when they run."""
        if self.pid != os.getpid():
            return
        for kept in self._shut():
            _close_elsewhere(kept)

    async def aclose(self) -> None:
        """Async twin of `close`, which also waits for the client of the running loop."""
        loop = asyncio.get_running_loop()
        own = self._loops.get(loop)
        for kept in self._shut():
            if kept is not own:
                _close_elsewhere(kept)
        if own and own.life:
            await own.life.aclose()

    # -- Making and keeping them ------------------------------------------------------------------

    def _sync_one(self) -> SyncClient:
        if isinstance(self._given, (redis.Redis, redis.RedisCluster)):
            self._refuse_closed()
            return self._given
        if self._sync is None:
            # Outside the lock: a Cluster's client connects when it is made.
            made = _sync_client(self.settings)
            with self._lock:
                one = self._sync = self._sync or made
            if one is not made:
                made.close()
        self._refuse_closed()
        return self._sync

    async def _async_one(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        kept = self._loops.get(loop)
        if kept is None:
            kept = await self._join(loop)
        self._refuse_closed()
        return kept

    async def _join(self, loop: asyncio.AbstractEventLoop) -> _OfLoop:
        turns = asyncio.Semaphore(_AT_ONCE)
        with self._lock:
            for other in [other for other in self._loops if other.is_closed()]:
                _let_go(self._loops.pop(other))
            if isinstance(self._given, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
                self._given_loop = self._given_loop or loop
                if self._given_loop is loop:
                    self._loops[loop] = _OfLoop(loop, self._given, turns, None)
                    return self._loops[loop]
            client = _async_client(self.settings)
            kept = self._loops[loop] = _OfLoop(
                loop, client, turns, _lifetime(loop, client, weakref.ref(self))
            )
        if kept.life:
            await kept.life.__anext__()
        return kept

    def _shut(self) -> list[_OfLoop]:
        with self._lock:
            self._closed = True
            kept, self._loops = list(self._loops.values()), {}
            client, self._sync = self._sync, None
        if client is not None:
            client.close()
            for sentinel in _sentinels(client):
                sentinel.close()
        return kept

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionStoreError("this store is closed")


async def _asent(client: AsyncClient, commands: list[Command]) -> list[Any]:
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


def _sent_to_one_node(client: SyncClient, commands: list[Command]) -> list[Any]:
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


async def _lifetime(
    loop: asyncio.AbstractEventLoop, client: AsyncClient, clients: weakref.ref[Clients]
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
        _let_go(kept)
        return

    async def end() -> None:
        await life.aclose()

    ending: list[asyncio.Task[None]] = []  # a loop holds its tasks weakly
    with suppress(RuntimeError):  # closed in this very moment
        loop.call_soon_threadsafe(lambda: ending.append(loop.create_task(end())))


def _let_go(kept: _OfLoop) -> None:
    """Close the sockets of a loop that was closed without shutting its generators down.

    No public way leads there, and left alone each would warn when it is collected.
    """
    if kept.life is None:
        return
    for connection in _connections(kept.client):
        writer = getattr(connection, "_writer", None)
        if writer is None:
            continue
        connection._writer = connection._reader = None  # noqa: SLF001
        transport = writer.transport
        if sock := getattr(transport, "_sock", None):
            sock.close()
            transport._sock, transport._closing = None, True  # noqa: SLF001


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
