"""The keys of other libraries in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

try:
    from redis import Redis
    from redis.exceptions import RedisError
except ImportError as _error:
    raise ImportError(
        "to read another library's keys needs the redis extra: pip install 'sessionstore[redis]'"
    ) from _error

from sessionstore.redis.errors import translated
from sessionstore.transfer.readers.building import Found, Part, Source
from sessionstore.transfer.readers.unreadable import SourceError

__all__ = ["Place", "keys_of", "list_source", "literally", "opened", "text_of"]

Place: TypeAlias = str | Redis
"""A URL, or a client of redis-py, which stays open."""

_AT_ONCE = 1_000


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """Open Redis to read it.

    Args:
        place: A URL, or a client.

    Yields:
        The client. What it raises meanwhile is translated.

    Raises:
        SourceError: It is no URL of Redis.
        SessionStoreError: Redis can't be reached, or refuses.
    """
    client: Any = place
    if isinstance(place, str):
        try:
            client = Redis.from_url(place)
        except ValueError:
            raise SourceError("not a URL of Redis: redis://…, rediss://… or unix://…") from None
    try:
        yield client
    except (RedisError, OSError) as error:
        raise translated(error) from error
    finally:
        if client is not place:
            client.close()


def keys_of(client: Any, match: str, kind: str) -> Iterator[bytes]:
    """Give the keys of one type that match a pattern, each once: their names are held in memory."""
    seen: set[bytes] = set()
    for key in client.scan_iter(match=match, count=_AT_ONCE, _type=kind):
        raw = key.encode() if isinstance(key, str) else key
        if raw not in seen:
            seen.add(raw)
            yield raw


def list_source(
    place: Place,
    prefix: str,
    match: str,
    parts: Callable[[str, list[Any]], Iterable[Part]],
) -> Source:
    """Give the sessions that are lists.

    Args:
        place: Redis.
        prefix: What the keys start with; the session's id is behind it.
        match: A pattern for what is behind the prefix.
        parts: What gives the messages of a key and its elements.

    Yields:
        Each session.

    Raises:
        SessionStoreError: Redis can't be reached, or refuses.
    """
    with opened(place) as client:
        for key in keys_of(client, literally(prefix) + match, "LIST"):
            name = text_of(key)
            where = f"key {name!r:.80}"
            yield Found(name[len(prefix) :], where, parts(where, client.lrange(key, 0, -1)))


def text_of(raw: bytes) -> str:
    """Give a key as text. What is no UTF-8 in it is no session's id: a store refuses it."""
    return raw.decode(errors="surrogateescape")


def literally(text: str) -> str:
    """Give a pattern that matches this text alone."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
