"""Where a Redis is and how to connect to it: read from a URL, or from the caller's client."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio import sentinel as async_sentinel
from redis.connection import parse_url
from redis.sentinel import SentinelConnectionPool

from sessionstore.arguments.urls import (
    BAD_HOST,
    BAD_TEXT,
    REDIS_SCHEMES,
    are_texts,
    is_host,
    shown_option,
)
from sessionstore.redis.multi import mode_of
from sessionstore.redis.options import UrlError, checked_query

__all__ = ["Settings", "settings_of_client", "settings_of_url"]

_SENTINEL_PORT, _REDIS_PORT = 26379, 6379

# What is between forgets connections on which nothing is said; some systems have no such options.
_KEEPALIVE: dict[str, Any] = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    },
}


class Settings(NamedTuple):
    """Where a Redis is, and how to connect to it, for a sync or async client."""

    topology: str
    """``"single"``, ``"sentinel"`` or ``"cluster"``."""
    nodes: tuple[tuple[str, int], ...]
    """Sentinels, or nodes of a Cluster."""
    service: str
    """The name that the Sentinels know the master by."""
    options: dict[str, Any]
    """Arguments of ``redis.Redis``, without those that only sync or only async clients have."""
    sentinel_options: dict[str, Any]
    """The same for the Sentinels themselves."""
    databases: tuple[str, ...] = ()
    """Where those of a `MultiDBClient` are, which is used as it is: nothing else is known of it."""

    def __repr__(self) -> str:
        """Tell where it is: never a password."""
        if self.databases:
            return ", ".join(self.databases)
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
        url: One of `REDIS_SCHEMES`, then what redis-py's ``from_url`` takes; for
            Sentinel ``redis+sentinel://host1:port,host2/service/db``, for Cluster
            ``redis+cluster://host1:port,host2``.
        timeout: How long to wait for a connection and for an answer, in seconds, where the URL
            says nothing else.

    Raises:
        ValueError: It is no such URL. The error does not quote it: it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in REDIS_SCHEMES or not rest:
        raise ValueError(f"a URL of Redis starts with one of {', '.join(REDIS_SCHEMES)}, then ://")
    base, _, topology = scheme.partition("+")
    _require_encoded(f"{base}://{rest}")
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
        options = _options(f"{base}://{rest}", topology)
        nodes = _nodes(hosts, _SENTINEL_PORT if topology == "sentinel" else _REDIS_PORT)
    except ValueError as error:
        raise ValueError(f"this URL of Redis is not valid: {_reason(error)}") from None
    if topology and not nodes:
        raise ValueError("this URL of Redis is not valid: it names no host")
    if topology == "cluster" and options.get("db"):
        raise ValueError("this URL of Redis is not valid: a Cluster has no database but 0")
    if topology:
        options.pop("host")
    waits: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if "unix_socket_path" not in options:
        waits |= _KEEPALIVE
    ours = _sentinel_options(options, timeout / max(1, len(nodes)))
    return Settings(topology or "single", nodes, service, waits | options, ours)


def settings_of_client(client: Any) -> Settings:
    """Read a sync or async client: to make another one that connects to the same.

    Args:
        client: The caller's client.

    Raises:
        TypeError: It is no client of redis-py that this package knows.
    """
    if mode_of(client):
        databases = [settings_of_client(database.client) for database, _ in client.get_databases()]
        places = tuple(map(str, databases))
        return Settings(databases[0].topology, (), "", {}, {}, places)
    if isinstance(client, redis.RedisCluster):
        manager = client.nodes_manager
        nodes = tuple((node.host, int(node.port)) for node in manager.startup_nodes.values())
        return Settings("cluster", nodes, "", _shared_options(manager.connection_kwargs), {})
    if isinstance(client, redis.asyncio.RedisCluster):
        starts = client.nodes_manager.startup_nodes
        nodes = tuple((node.host, int(node.port)) for node in starts.values())
        return Settings("cluster", nodes, "", _shared_options(client.connection_kwargs), {})
    if not isinstance(client, (redis.Redis, redis.asyncio.Redis)):
        kind = type(client).__name__
        raise TypeError(f"redis must be a URL or a client of redis-py, not {kind}")
    pool: Any = client.connection_pool
    options = _shared_options({**pool.connection_kwargs, "connection_class": pool.connection_class})
    if not isinstance(pool, (SentinelConnectionPool, async_sentinel.SentinelConnectionPool)):
        return Settings("single", (), "", options, {})
    manager = pool.sentinel_manager
    reached = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    nodes = tuple((kwargs["host"], kwargs["port"]) for kwargs in reached)
    ours = _shared_options(manager.sentinel_kwargs)
    return Settings("sentinel", nodes, pool.service_name, options, ours)


# What a sync client can hand to an async one, and the other way round.
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


# They say how a client shows replies: the store reads the bytes.
_WITHOUT_EFFECT = frozenset({"decode_responses", "encoding", "encoding_errors", "legacy_responses"})
_AGAIN = "the store itself tries again, once, when a connection breaks: leave {} out"
_NOT_TAKEN = {
    "retry_on_timeout": _AGAIN.format("retry_on_timeout"),
    "retry_on_error": _AGAIN.format("retry_on_error"),
    "timeout": "timeout is an argument of the store, not an option of its URL",
}


class _Secret(str):
    """A password that is sent as it is, and shown to nobody: redis-py 6 has it in each repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__


def _shared_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in kwargs.items() if name in _SHARED}
    for name in ("password", "sentinel_password"):
        if isinstance(options.get(name), str):
            options[name] = _Secret(options[name])
    if "path" in kwargs:
        options["unix_socket_path"] = kwargs["path"]
    if "SSL" in getattr(kwargs.get("connection_class"), "__name__", ""):
        options["ssl"] = True
    return options


def _options(url: str, topology: str) -> dict[str, Any]:
    parts = urlsplit(url)
    numbers = checked_query(parts.query, parts.scheme, topology)
    parsed = parse_url(url)
    # What stands before the path counts for more, and is a number already.
    parsed |= {name: n for name, n in numbers.items() if isinstance(parsed[name], str)}
    _require_host(None if parts.scheme == "unix" else parts.hostname)
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise UrlError("a socket is unix:///path/of/the.sock")
    if parts.scheme != "unix" and not parts.path.strip("/").isdigit() and parts.path.strip("/"):
        raise UrlError("a database is a number")
    for name in sorted(parsed.keys() - _SHARED - _WITHOUT_EFFECT - {"path", "connection_class"}):
        shown = shown_option(name, dict(parse_qsl(parts.query)))
        raise UrlError(_NOT_TAKEN.get(name, f"there is no option {shown}"))
    return _shared_options(parsed)


def _require_encoded(url: str) -> None:
    """Refuse a URL whose password may be taken for a host, a database or an option."""
    text = unquote(url)  # Redis takes a NUL in a password
    if not are_texts([text.replace("\0", ""), text.rpartition("@")[2].partition("?")[0]]):
        raise ValueError(f"this URL of Redis is not valid: {BAD_TEXT}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_ENCODE) from None
    beyond = f"{parts.query}{parts.fragment}"
    if parts.scheme != "unix" or (parts.netloc and "@" not in parts.netloc):
        beyond += parts.path  # which is a socket's else, of any name
    if "@" in beyond:
        raise ValueError(_ENCODE)
    if parts.fragment or any(char <= " " for char in parts.netloc):
        raise ValueError(_ODD)


_ENCODE = (
    "a password or another value in this URL of Redis is not percent-encoded: write it as "
    "urllib.parse.quote(password, safe='') does, in which @ is %40, / is %2F and ? is %3F"
)

_ODD = "this URL of Redis is not valid: # is %23 in a URL, and no host has a blank in its name"


_LOOK = "look at its ports and options, and percent-encode its user and password"


def _reason(error: ValueError) -> str:
    return str(error) if isinstance(error, UrlError) else _LOOK


def _sentinel_options(options: dict[str, Any], timeout: float) -> dict[str, Any]:
    ours = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    for name in ("username", "password"):
        if value := options.pop(f"sentinel_{name}", None):
            ours[name] = value
    return ours | {name: value for name, value in options.items() if name.startswith("ssl")}


def _require_host(host: str | None) -> None:
    if not is_host(host or ""):  # which would come as if what is stored there could not be read
        raise UrlError(BAD_HOST)


def _nodes(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    parts = [urlsplit(f"//{host}") for host in hosts.split(",") if host]
    if any(part.port == 0 for part in parts):
        raise UrlError("a port must be a whole number from 1 to 65535")
    for part in parts:
        _require_host(part.hostname)
    return tuple((part.hostname or "localhost", part.port or port) for part in parts)
