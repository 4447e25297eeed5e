"""`RedisChatMessageHistory` of langchain-redis: a document of RedisJSON for each message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sessionstore.forms.faults import FormError
from sessionstore.forms.langchain import message_of
from sessionstore.models import SessionMessage, from_microseconds
from sessionstore.transfer.readers.building import (
    AGENT,
    Found,
    Part,
    Reading,
    Source,
    decoded,
    part_of,
    sessions,
    today,
)
from sessionstore.transfer.readers.keys import (
    OTHER_KIND,
    RAW,
    Place,
    is_of_other_kind,
    keys_of,
    literally,
    opened,
    text_of,
)

__all__ = ["read"]

_AT_ONCE = 500


def read(
    url: Place,
    *,
    key_prefix: str = "chat:",
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of langchain-redis' `RedisChatMessageHistory`.

    It needs RedisJSON in the server, by ``JSON.GET``, and no RediSearch. The names of all keys
    are held in memory: there is no other way from a session to its messages.

    Args:
        url: Redis: its URL, or a client of redis-py.
        key_prefix: What the keys start with.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SessionStoreError: Redis can't be reached, or refuses.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    return sessions(_sessions(url, key_prefix), user_id=user_id, agent_id=agent_id)


def _sessions(url: Place, prefix: str) -> Source:
    with opened(url) as client:
        known: dict[bytes, list[bytes]] = defaultdict(list)
        for key in keys_of(client, f"{literally(prefix)}*", "ReJSON-RL"):
            session, colon, message = key.rpartition(b":")
            known[session].append(colon + message)
        for session, ends in known.items():
            name = text_of(session)
            found = _documents(client, session, ends)
            if found:  # else all have expired, or were deleted
                yield Found(name[len(prefix) :], f"key {name!r:.80}", _parts(name, found))


def _documents(client: Any, session: bytes, ends: list[bytes]) -> list[tuple[float, str, Any]]:
    """Give each document of a session with its time and the end of its key, oldest first."""
    found: list[tuple[bytes, Any]] = []
    for start in range(0, len(ends), _AT_ONCE):
        some = ends[start : start + _AT_ONCE]
        found += zip(some, _replies(client, [session + end for end in some]), strict=True)
    timed = [(_when(raw), text_of(end), raw) for end, raw in found if raw is not None]
    return sorted(timed, key=lambda it: it[:2])


def _replies(client: Any, keys: list[bytes]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.execute_command("JSON.GET", key, **RAW)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception) and not is_of_other_kind(reply):
            raise reply
    return replies


def _when(raw: Any) -> float:
    try:
        told = decoded(raw)["timestamp"]
    except (FormError, TypeError, KeyError, IndexError):
        return 0.0
    return told if isinstance(told, (int, float)) else 0.0


def _parts(name: str, found: Iterable[tuple[float, str, Any]]) -> Iterator[Part]:
    for told, end, raw in found:
        when = from_microseconds(int(told * 1_000_000)) if 0 < told < _LATEST else today()
        place = f"langchain-redis-{end.removeprefix(':')}"
        yield part_of(f"key {name + end!r:.120}", place, partial(_message_of, raw), when)


_LATEST = 253_402_300_799  # the last second of the year 9999


def _message_of(raw: Any) -> SessionMessage:
    if isinstance(raw, Exception):
        raise FormError(OTHER_KIND)
    document = decoded(raw)
    if not isinstance(document, dict):
        raise FormError("a document is not a JSON object")
    return message_of(document.get("type"), document.get("data"))
