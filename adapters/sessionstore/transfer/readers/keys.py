"""The keys of other libraries in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

try:
    from redis import Redis
    from redis.client import NEVER_DECODE
    from redis.exceptions import RedisError, ResponseError
except ImportError as _error:
    raise ImportError(
        "to read another library's keys needs the redis extra: pip install 'sessionstore[redis]'"
    ) from _error

from sessionstore.redis.errors import translated
from sessionstore.transfer.readers.building import Found, Part, Source
from sessionstore.transfer.readers.unreadable import SourceError, Unreadable

__all__ = [
    "OTHER_KIND",
    "RAW",
    "Place",
    "is_of_other_kind",
    "keys_of",
    "list_source",
    "literally",
    "opened",
    "text_of",
]

Place: TypeAlias = str | Redis
"""A URL, or a client of redis-py, which stays open."""

RAW = {NEVER_DECODE: True}
"""Has a command answered in bytes, also by a client that decodes: what it can't, would end all."""

OTHER_KIND = "it became a key of another type while it was read"

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
    for key in client.scan_iter(match=match, count=_AT_ONCE, _type=kind, **RAW):
        if key not in seen:
            seen.add(key)
            yield key


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
            elements = _elements(client, key)
            if elements is None:
                yield Unreadable(where, OTHER_KIND)
            elif elements:  # else it has expired, or was deleted
                yield Found(name[len(prefix) :], where, parts(where, elements))


def _elements(client: Any, key: bytes) -> list[bytes] | None:
    """Give what is in a list; ``None`` where it is none any more."""
    try:
        found: list[bytes] = client.execute_command("LRANGE", key, 0, -1, **RAW)
    except ResponseError as error:
        if is_of_other_kind(error):
            return None
        raise
    return found


def is_of_other_kind(reply: object) -> bool:
    """Tell whether a key is of another type than the command is for; RedisJSON says it its way."""
    told = str(reply) if isinstance(reply, ResponseError) else ""
    return any(said in told for said in ("WRONGTYPE", "wrong kind of", "wrong Redis type"))


def text_of(raw: bytes) -> str:
    """Give a key as text. What is no UTF-8 in it is no session's id: a store refuses it."""
    return raw.decode(errors="surrogateescape")


def literally(text: str) -> str:
    """Give a pattern that matches this text alone."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
