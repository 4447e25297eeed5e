"""`SQLAlchemyChatStore` of LlamaIndex, which its `Memory` has: a row for each message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from sessionstore.models import SessionData, SessionMessage, from_microseconds
from sessionstore.transfer.readers.building import AGENT, Part, Reading, part_of, sessions, today
from sessionstore.transfer.readers.llama_index_json import message_of_json
from sessionstore.transfer.readers.tables import Url, row_of, table_source, text_column

__all__ = ["read"]

_ARCHIVED = "archived"
_IS_ARCHIVED = {"llama_index_status": _ARCHIVED}
# As LlamaIndex's integration says it: how many of a session's first messages are archived, and
# which are the last of them.
_METADATA, _COUNT, _LAST, _TRAIL = "llama_index", "archived", "last_archived", 8


def read(
    url: Url,
    *,
    table: str = "llama_index_memory",
    schema: str | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of LlamaIndex's `SQLAlchemyChatStore`.

    What its `Memory` has archived is read, too: the oldest messages, up to the first active one,
    are archived in the session; others say so in their metadata.

    Args:
        url: The database: SQLAlchemy's URL, or a SQLite file.
        table: The table; `Memory` names it ``llama_index_memory``.
        schema: The schema that it is in; ``None`` for the connection's own.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    source = table_source(
        url,
        [table],
        _parts,
        schema=schema,
        session="key",
        columns=["id", "timestamp", "status", text_column("data")],
        order=["timestamp", "id"],
    )
    found = sessions(source, user_id=user_id, agent_id=agent_id)
    return (_marked(it) if isinstance(it, SessionData) else it for it in found)


def _parts(name: str, rows: Iterable[Any]) -> Iterator[Part]:
    for row_id, told, status, raw, _ in rows:
        # Nanoseconds; versions before wrote seconds.
        is_time = isinstance(told, int) and 0 < told // 1_000 < _LATEST
        when = from_microseconds(told // 1_000) if is_time else today()
        read_it = partial(_message_of, raw, status)
        yield part_of(row_of(name, row_id), f"llama-index-sql-{row_id}", read_it, when)


_LATEST = 253_402_300_799_000_000  # microseconds: the last second of the year 9999


def _message_of(raw: Any, status: Any) -> SessionMessage:
    message = message_of_json(raw)
    return replace(message, metadata=_IS_ARCHIVED) if status == _ARCHIVED else message


def _marked(session: SessionData) -> SessionData:
    """Say in a session's metadata how far it is archived, in place of saying it in its messages."""
    first = list(takewhile(lambda it: it.metadata == _IS_ARCHIVED, session.messages))
    if not first:
        return session
    mark = {_COUNT: len(first), _LAST: [str(message.id) for message in first[-_TRAIL:]]}
    active = session.messages[len(first) :]
    messages = [replace(message, metadata={}) for message in first] + active
    return replace(session, metadata={_METADATA: mark}, messages=messages)
