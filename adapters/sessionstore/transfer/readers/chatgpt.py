"""The ``conversations.json`` of ChatGPT's export of one's data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from sessionstore.forms.chatgpt import Calls, message_of
from sessionstore.forms.faults import FormError
from sessionstore.models import from_microseconds
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
from sessionstore.transfer.readers.files import decoded_file
from sessionstore.transfer.readers.unreadable import Unreadable

__all__ = ["read"]

_NO_EXPORT = "the file is not the conversations.json of an export: a JSON list of conversations"
_OTHERS = (
    "{} of its messages stand on other branches, of edits or of answers made again, than the one "
    "that is shown: they are not in the session"
)


def read(
    path: str | os.PathLike[str],
    *,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the conversations that ChatGPT exports.

    A conversation is a tree: the session has the branch that ChatGPT shows, and how many messages
    stand on others is told beside it, and in its metadata. Images and files are not in this file:
    their names are kept.

    Args:
        path: The file, ``conversations.json`` of the archive.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: It is no such file.
        OSError: The file can't be read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    return sessions(_conversations(path), user_id=user_id, agent_id=agent_id)


def _conversations(path: str | os.PathLike[str]) -> Source:
    raws: list[msgspec.Raw] = decoded_file(path, list[msgspec.Raw], _NO_EXPORT)
    for place, raw in enumerate(raws):
        where = f"conversation {place}"
        try:
            yield from _conversation(where, decoded(raw))
        except FormError as error:
            yield Unreadable(where, str(error))


def _conversation(where: str, given: Any) -> Source:
    nodes = given.get("mapping") if isinstance(given, dict) else None
    if not isinstance(nodes, dict):
        raise FormError("a conversation is not a JSON object with a mapping")
    branch = _branch(nodes, given.get("current_node"))
    others = _said(nodes, nodes.keys()) - _said(nodes, branch)
    if others:
        yield Unreadable(where, _OTHERS.format(others))
    yield Found(
        given.get("conversation_id") or given.get("id"),
        where,
        _parts(where, nodes, branch),
        metadata=_metadata(given, others),
        created_at=_moment(given.get("create_time")),
        updated_at=_moment(given.get("update_time")),
    )


def _branch(nodes: dict[str, Any], current: Any) -> list[str]:
    """Give the ids of the nodes from the root to the one that is shown."""
    branch: dict[str, None] = {}
    if not isinstance(current, str) or current not in nodes:
        raise FormError("its current_node is not in its mapping")
    while isinstance(current, str) and current in nodes:
        if current in branch:
            raise FormError("its mapping goes round in a circle")
        branch[current] = None
        node = nodes[current]
        current = node.get("parent") if isinstance(node, dict) else None
    return list(branch)[::-1]


def _said(nodes: dict[str, Any], ids: Any) -> int:
    return sum(bool(isinstance(nodes[one], dict) and nodes[one].get("message")) for one in ids)


def _parts(where: str, nodes: dict[str, Any], branch: list[str]) -> Iterator[Part]:
    calls: Calls = {}
    for place, node in enumerate(nodes[one] for one in branch):
        if not isinstance(node, dict):
            yield Part(f"{where}, message {place}", "", "a node is not a JSON object")
        elif message := node.get("message"):
            told = message.get("create_time") if isinstance(message, dict) else None
            read_it = partial(message_of, message, calls)
            when = _moment(told) or today()
            yield part_of(f"{where}, message {place}", f"chatgpt-{place}", read_it, when)


def _metadata(given: dict[str, Any], others: int) -> dict[str, Any]:
    title = given.get("title")
    told = {"title": title} if isinstance(title, str) and title else {}
    return {**told, "chatgpt": {"messages_on_other_branches": others}} if others else told


def _moment(seconds: Any) -> datetime | None:
    if isinstance(seconds, (int, float)) and 0 < seconds < _LATEST:
        return from_microseconds(round(seconds * 1_000_000))
    return None


_LATEST = 253_402_300_799  # the last second of the year 9999
