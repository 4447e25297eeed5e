"""`RedisChatStore` of LlamaIndex: a list of Redis for each session, under the session's id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions, today
from sessionstore.transfer.readers.keys import Place, list_source
from sessionstore.transfer.readers.llama_index_json import message_of_json

__all__ = ["read"]


def read(
    url: Place,
    *,
    match: str = "*",
    when: datetime | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of LlamaIndex's `RedisChatStore`.

    Its keys are the sessions' ids as they are: lists of other programs in the same database are
    given as what can't be read, message by message. The lists tell no times: messages have that of
    the reading.

    Args:
        url: Redis: its URL, or a client of redis-py.
        match: A pattern of Redis for the keys.
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
    source = list_source(url, "", match, partial(_parts, when or today()))
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(when: datetime, where: str, elements: list[Any]) -> Iterator[Part]:
    for place, raw in enumerate(elements):
        read_it = partial(message_of_json, raw)
        yield part_of(f"{where}, message {place}", f"llama-index-{place}", read_it, when)
