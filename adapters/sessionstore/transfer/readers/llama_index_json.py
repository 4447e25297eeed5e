"""`SimpleChatStore` of LlamaIndex, as its ``persist`` writes it to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from sessionstore.forms.llama_index import message_of
from sessionstore.models import SessionMessage
from sessionstore.transfer.readers.building import (
    AGENT,
    Found,
    Part,
    Reading,
    Source,
    decoded,
    part_of,
    sessions,
)
from sessionstore.transfer.readers.files import decoded_file, file_time
from sessionstore.transfer.readers.unreadable import SourceError, Unreadable

__all__ = ["message_of_json", "read"]


class _Persisted(msgspec.Struct):
    store: dict[str, msgspec.Raw]


def read(
    path: str | os.PathLike[str],
    *,
    when: datetime | None = None,
    user_id: str | None = None,
    agent_id: str = AGENT,
) -> Reading:
    """Read the sessions of a LlamaIndex `SimpleChatStore` that was persisted.

    There are no times in it: see ``when``.

    Args:
        path: The file, ``chat_store.json`` unless the application has named it.
        when: The time of all messages; ``None`` for that of the file's last change.
        user_id: The owner of every session; ``None`` for none.
        agent_id: The agent of every session.

    Yields:
        Each session, and what can't be read.

    Raises:
        SourceError: It is no such file.
        OSError: The file can't be read.
        InvalidSessionError: ``user_id`` or ``agent_id`` is not valid.
    """
    return sessions(_sessions(path, when), user_id=user_id, agent_id=agent_id)


def message_of_json(raw: Any) -> SessionMessage:
    """Read the JSON of a LlamaIndex message.

    Args:
        raw: The JSON.

    Returns:
        The message.

    Raises:
        FormError: It is none.
    """
    return message_of(decoded(raw))


def _sessions(path: str | os.PathLike[str], when: datetime | None) -> Source:
    told = when or file_time(path)
    persisted = decoded_file(path, _Persisted | str, _NO_STORE)
    if isinstance(persisted, str):  # as older versions have written it
        persisted = _of_text(persisted)
    for key, raw in persisted.store.items():
        where = f"key {key!r:.80}"
        try:
            messages = msgspec.json.decode(raw, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError):
            yield Unreadable(where, "it is not a list of messages")
            continue
        yield Found(key, where, _parts(where, messages, told), created_at=told)


def _of_text(text: str) -> _Persisted:
    try:
        return msgspec.json.decode(text, type=_Persisted)
    except (msgspec.MsgspecError, RecursionError):
        pass  # it may quote the data, so that it must be no part of the error's chain
    raise SourceError(_NO_STORE)


_NO_STORE = "the file is not what SimpleChatStore.persist writes: a JSON object with a store"


def _parts(where: str, messages: list[msgspec.Raw], when: datetime) -> Iterator[Part]:
    for place, raw in enumerate(messages):
        read_it = partial(message_of_json, raw)
        yield part_of(f"{where}, message {place}", f"llama-index-{place}", read_it, when)
