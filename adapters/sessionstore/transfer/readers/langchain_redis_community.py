"""`RedisChatMessageHistory` of langchain-community: a list of Redis for each session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions, today
from sessionstore.transfer.readers.keys import Place, list_source
from sessionstore.transfer.readers.langchain_json import message_of_json

__all__ = ["read"]


def read(
    url: Place,
    *,
    key_prefix: str = "message_store:",
    when: datetime | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of langchain-community's `RedisChatMessageHistory`.

    There are no times in it: see ``when``.

    Args:
        url: Redis: its URL, or a client of redis-py.
        key_prefix: What the keys start with.
        when: The time of all messages; ``None`` for the beginning of this day. An import that is to
            go on where another was stopped needs the same.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SessionStoreError: Redis can't be reached, or refuses.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    source = list_source(url, key_prefix, "*", partial(_parts, when or today()))
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(when: datetime, where: str, elements: list[Any]) -> Iterator[Part]:
    for place, raw in enumerate(reversed(elements)):  # the newest is the first in the list
        read_it = partial(message_of_json, raw)
        yield part_of(f"{where}, message {place}", f"langchain-redis-{place}", read_it, when)
