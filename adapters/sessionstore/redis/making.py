"""redis-py's clients, made and closed. None tries again by itself: the store says how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import redis
import redis.asyncio
from redis.asyncio import cluster as async_cluster
from redis.asyncio import retry as async_retry
from redis.asyncio import sentinel as async_sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ClusterDownError
from redis.retry import Retry
from redis.sentinel import Sentinel

from sessionstore.redis.settings import Settings
from sessionstore.redis.timed import TimedPool, let_time

__all__ = [
    "MAJOR",
    "AsyncClient",
    "QuietCluster",
    "SyncClient",
    "aclose_client",
    "async_client",
    "close_client",
    "sentinels_of",
    "sync_client",
]

MAJOR = int(redis.__version__.split(".")[0])
"""The first number of redis-py's version."""

# redis-py is typed in part only, and otherwise in each version.
SyncClient: TypeAlias = Any
AsyncClient: TypeAlias = Any

_MANY = 10_000  # connections, where the caller sets no bound


class QuietCluster(redis.asyncio.RedisCluster):
    """A Cluster's client that does not warn when it is collected with its loop.

    Attributes:
        is_abandoned: Whether its connections were closed without it.
    """

    is_abandoned = False

    def __del__(self, *args: Any, **options: Any) -> None:
        """Warn of what is open, as redis-py does."""
        if not self.is_abandoned:
            super().__del__(*args, **options)


def sync_client(settings: Settings) -> SyncClient:
    """Make a sync client; a Cluster's connects as it is made."""
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


def async_client(settings: Settings) -> AsyncClient:
    """Make an async client."""
    options = settings.options
    if settings.topology == "cluster":
        nodes = [async_cluster.ClusterNode(host, port) for host, port in settings.nodes]
        kwargs = _cluster_options(options, async_retry.Retry)
        return QuietCluster(startup_nodes=nodes, **kwargs)
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


def close_client(client: SyncClient) -> None:
    """Close a sync client of ours, and all that it opened."""
    client.close()
    for sentinel in sentinels_of(client):
        sentinel.close()
    if isinstance(client, redis.RedisCluster):
        client.disconnect_connection_pools()  # which its `close` leaves open


async def aclose_client(client: AsyncClient) -> None:
    """Close an async client of ours, and all that it opened, on its loop."""
    await client.aclose()
    for sentinel in sentinels_of(client):
        await sentinel.aclose()


def sentinels_of(client: Any) -> list[Any]:
    """Give the clients of the Sentinels that a client asks; none where it asks none."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return list(manager.sentinels) if manager else []
