"""What a Redis tells of itself: version, role, clock, memory, disk, TTL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from sessionstore.cli.checks.finding import Finding, clock, failed, latency, ok, reached, warning
from sessionstore.errors import SessionStoreError
from sessionstore.redis.errors import TRANSLATED, translated
from sessionstore.redis.keys import encoded, encoded_prefix, session_keys
from sessionstore.redis.making import close_client, sync_client
from sessionstore.redis.settings import settings_of_url
from sessionstore.store import SessionStore

__all__ = ["check_redis"]

_PREFIX = encoded_prefix("sessionstore:")
_OLDEST = (6, 2)
_LOOKED_AT = 20
_TIMEOUT = 2.0


def check_redis(url: str, store: SessionStore) -> Iterator[Finding]:
    """Look at a Redis or a Valkey.

    Args:
        url: Where it is.
        store: The store at it.

    Yields:
        What was found.

    Raises:
        SessionStoreError: It does not answer.
    """
    yield reached(store, store.ping)
    try:
        client = sync_client(settings_of_url(url, store.timeout or _TIMEOUT))
        try:
            yield from _checked(client, store)
        finally:
            close_client(client)
    except TRANSLATED as error:
        raise translated(error) from error


def _checked(client: Any, store: SessionStore) -> Iterator[Finding]:
    yield latency(client.ping)
    info = _info(client)
    yield _version(info)
    yield _role(info)
    yield _permissions(store)
    yield clock(lambda: _time(client))
    yield _memory(info)
    yield _disk(info)
    yield _expiry(client, store)


def _info(client: Any) -> dict[str, Any]:
    info: dict[str, Any] = client.info()
    nodes = [value for value in info.values() if isinstance(value, dict) and "role" in value]
    return nodes[0] if nodes else info  # a Cluster's client asks its nodes


def _time(client: Any) -> datetime:
    found = client.time()
    seconds, micros = next(iter(found.values())) if isinstance(found, dict) else found
    return datetime.fromtimestamp(seconds + micros / 1_000_000, timezone.utc)


def _version(info: dict[str, Any]) -> Finding:
    version = str(info.get("redis_version", ""))
    name = str(info.get("server_name") or "redis")
    shown = f"{name.capitalize()} {info.get(f'{name}_version', version)}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST:
        return failed("version", f"{shown}: Redis 6.2 or Valkey 7.2, or later, is needed")
    return ok("version", shown)


def _role(info: dict[str, Any]) -> Finding:
    if info.get("role") != "master":
        return failed("role", "a replica, which takes no writes: name the master")
    return ok("role", "takes writes")


def _permissions(store: SessionStore) -> Finding:
    try:
        store.setup()
    except SessionStoreError as error:
        return failed("permissions", str(error))
    return ok("permissions", "the user may run all that the store needs")


def _memory(info: dict[str, Any]) -> Finding:
    policy, most = str(info.get("maxmemory_policy", "")), int(info.get("maxmemory", 0))
    if most and policy != "noeviction":
        text = f"full memory takes sessions away ({policy}): set maxmemory-policy noeviction"
        return warning("memory", text)
    used = f"{int(info.get('used_memory', 0)) / 2**20:,.0f} MiB"
    return ok("memory", f"{used} used, of {most / 2**20:,.0f} MiB" if most else f"{used} used")


def _disk(info: dict[str, Any]) -> Finding:
    if int(info.get("aof_enabled", 0)):
        return ok("persistence", "an append-only file")
    text = "no append-only file: a crash loses what came since the last snapshot"
    return warning("persistence", f"{text}; set appendonly yes to keep it")


def _expiry(client: Any, store: SessionStore) -> Finding:
    sessions = store.list_sessions(limit=_LOOKED_AT).sessions
    if not sessions:
        return ok("expiry", "there are no sessions yet")
    heads = [session_keys(_PREFIX, encoded(session.id)).head for session in sessions]
    left = [ttl for ttl in (client.pttl(head) for head in heads) if ttl >= 0]
    of = f"{len(left)} of the {len(sessions)} newest sessions"
    if not left:
        return ok("expiry", "sessions are kept for good: none of the newest has a TTL")
    return ok("expiry", f"{of} have a TTL; the next to go has {min(left) / 3_600_000:,.1f} hours")
