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
from sessionstore.transfer.readers.keys import Place, keys_of, literally, opened, text_of

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
            session, _, message = key.rpartition(b":")
            known[session].append(message)
        for session, messages in known.items():
            name = text_of(session)
            found = list(_documents(client, session, messages))
            yield Found(name[len(prefix) :], f"key {name!r:.80}", _parts(name, found))


def _documents(
    client: Any, session: bytes, messages: list[bytes]
) -> Iterator[tuple[float, str, Any]]:
    """Give each document of a session with its time and its id, oldest first."""
    found: list[tuple[bytes, Any]] = []
    for start in range(0, len(messages), _AT_ONCE):
        with client.pipeline(transaction=False) as pipeline:
            some = messages[start : start + _AT_ONCE]
            for message in some:
                pipeline.execute_command("JSON.GET", session + b":" + message)
            found += zip(some, pipeline.execute(), strict=True)
    timed = [(_when(raw), text_of(message), raw) for message, raw in found if raw is not None]
    yield from sorted(timed, key=lambda it: it[:2])


def _when(raw: Any) -> float:
    try:
        told = decoded(raw)["timestamp"]
    except (FormError, TypeError, KeyError, IndexError):
        return 0.0
    return told if isinstance(told, (int, float)) else 0.0


def _parts(name: str, found: Iterable[tuple[float, str, Any]]) -> Iterator[Part]:
    for told, message, raw in found:
        when = from_microseconds(int(told * 1_000_000)) if 0 < told < _LATEST else today()
        where = f"key {name + ':' + message!r:.120}"
        yield part_of(where, f"langchain-redis-{message}", partial(_message_of, raw), when)


_LATEST = 253_402_300_799  # the last second of the year 9999


def _message_of(raw: Any) -> SessionMessage:
    document = decoded(raw)
    if not isinstance(document, dict):
        raise FormError("a document is not a JSON object")
    return message_of(document.get("type"), document.get("data"))
