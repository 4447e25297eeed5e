"""`SQLiteSession` and `SQLAlchemySession` of the OpenAI Agents SDK: a row for each item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sessionstore.binary import tag_bytes
from sessionstore.forms.faults import FormError
from sessionstore.forms.openai_agents.grouping import begins, message_of
from sessionstore.models import SessionMessage
from sessionstore.transfer.readers.building import (
    AGENT,
    Part,
    Reading,
    decoded,
    part_of,
    sessions,
    today,
)
from sessionstore.transfer.readers.tables import Url, moment, row_of, table_source, text_column

__all__ = ["read"]


def read(
    url: Url,
    *,
    table: str = "agent_messages",
    schema: str | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of the Agents SDK's `SQLiteSession` or `SQLAlchemySession`.

    What a model said in one response is several rows, and one message here. What `EncryptedSession`
    wrote can't be read.

    Args:
        url: The database: SQLAlchemy's URL, or a SQLite file.
        table: The table of the messages. The other one, ``agent_sessions``, has nothing more.
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
        session="session_id",
        columns=["id", text_column("created_at"), text_column("message_data")],
        order=["id"],
    )
    return sessions(source, user_id=user_id, agent_id=agent_id)


def _parts(name: str, rows: Iterable[Any]) -> Iterator[Part]:
    """Give the messages that rows are: a row that can't be read ends none."""
    group: list[dict[str, Any]] = []
    first: tuple[Any, Any] = (None, None)
    for row_id, made, raw, _ in rows:
        try:
            item = _item_of(raw)
        except FormError as error:
            yield Part(row_of(name, row_id), "", str(error))
            continue
        if group and begins(item, group):
            yield _part(name, first, group)
            group = []
        if not group:
            first = (row_id, made)
        group.append(item)
    if group:
        yield _part(name, first, group)


def _part(name: str, first: tuple[Any, Any], group: list[dict[str, Any]]) -> Part:
    row_id, made = first
    where, place = row_of(name, row_id), f"openai-agents-{row_id}"
    return part_of(where, place, partial(_message_of, group), moment(made) or today())


def _item_of(raw: Any) -> dict[str, Any]:
    item = decoded(raw)
    if not isinstance(item, dict):
        raise FormError("an item is not a JSON object")
    if "__enc__" in item:
        raise FormError("the item is encrypted: read it with the SDK's EncryptedSession")
    if not isinstance(item.get("role", item.get("type")), str):
        raise FormError("an item has neither a role nor a type")
    return item


def _message_of(group: list[dict[str, Any]]) -> SessionMessage:
    try:
        return tag_bytes(message_of(group))
    except (TypeError, ValueError, KeyError, AttributeError):
        pass  # it may quote the item, so that it must be no part of the error's chain
    raise FormError("an item is not one of the Responses API")
