"""The threads in a database of LangGraph's `PostgresSaver` or `AsyncPostgresSaver`."""

from __future__ import annotations

from typing import Any

from sessionstore.forms.faults import FormError
from sessionstore.transfer.readers.building import (
    AGENT,
    Found,
    Reading,
    Source,
    decoded,
    sessions,
)
from sessionstore.transfer.readers.checkpoints import CHANNEL, made_at, parts_of, unpacked
from sessionstore.transfer.readers.tables import Url, opened, require_table, text
from sessionstore.transfer.readers.unreadable import Unreadable

__all__ = ["read"]

# In its checkpoint a channel has a version, which names the row with what it held then; a value
# that is JSON by itself is in the checkpoint.
_NEWEST = """
    WITH threads AS (
        SELECT thread_id, MIN(checkpoint_id) AS oldest, MAX(checkpoint_id) AS newest
        FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id
    )
    SELECT t.thread_id, t.oldest, t.newest, b.type, b.blob,
        CAST(c.checkpoint -> 'channel_values' -> CAST(:channel AS text) AS text)
    FROM threads t JOIN checkpoints c
        ON c.thread_id = t.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id = t.newest
    LEFT JOIN checkpoint_blobs b
        ON b.thread_id = c.thread_id AND b.checkpoint_ns = '' AND b.channel = :channel
        AND b.version = c.checkpoint -> 'channel_versions' ->> CAST(:channel AS text)
"""


def read(
    url: Url,
    *,
    channel: str = CHANNEL,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the messages of each thread: those of its newest checkpoint.

    Earlier checkpoints, other channels, subgraphs and writes of an unfinished step are not read.
    LangGraph is not needed, and nothing that the checkpoints name is imported.

    Args:
        url: The database: SQLAlchemy's URL. Where its tables are in a schema of their own, let the
            URL say so: ``?options=-csearch_path%3Dname``.
        channel: The channel of the state that holds the messages.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: There is no such file or table.
        SessionStoreError: The database can't be reached, or read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    return sessions(_threads(url, channel), user_id=user_id, agent_id=agent_id)


def _threads(url: Url, channel: str) -> Source:
    with opened(url) as connection:
        require_table(connection, "checkpoints")
        with connection.execute(text(_NEWEST), {"channel": channel}) as rows:
            for row in rows:
                yield _thread(row)


def _thread(row: Any) -> Found | Unreadable:
    thread, oldest, newest, kind, blob, inline = row
    where = f"checkpoints, thread {thread!r:.80}"
    try:
        messages = decoded(inline) if kind is None and inline else unpacked(kind, blob)
    except FormError as error:
        return Unreadable(where, f"its newest checkpoint: {error}")
    when = made_at(newest)
    parts = parts_of(where, messages, when)
    return Found(thread, where, parts, created_at=made_at(oldest), updated_at=when)
