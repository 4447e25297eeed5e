"""Sessions in two places, compared."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sessionstore.models import SessionData, SessionMessage, encode_message
from sessionstore.operations import GetMessages
from sessionstore.store import SessionStore
from sessionstore.transfer.requests import TransferFlow, ask

__all__ = ["difference", "holds"]


def difference(one: SessionData, other: SessionData) -> str:
    """Say in what two sessions differ, their messages aside; empty where they don't.

    The number of their messages, and when they were last written to, tell most changes of these.
    """
    same = {
        "owner": one.user_id == other.user_id,
        "agent": one.agent_id == other.agent_id,
        "metadata": _in_order(one.metadata) == _in_order(other.metadata),
        "created_at": one.created_at == other.created_at,
        "updated_at": one.updated_at == other.updated_at,
        "number of messages": one.message_count == other.message_count,
    }
    return ", ".join(name for name, is_same in same.items() if not is_same)


def holds(
    store: SessionStore, session_id: str, after: str, page: Sequence[SessionMessage]
) -> TransferFlow[bool]:
    """Tell whether a session has just these messages behind one of its own.

    Args:
        store: The store.
        session_id: The session.
        after: The message before them; empty for the session's beginning.
        page: The messages.
    """
    if not page:
        return True
    there = yield from ask(store, GetMessages(session_id, len(page), after=after))
    return list(map(encode_message, there)) == list(map(encode_message, page))


def _in_order(metadata: object) -> bytes:
    return msgspec.json.encode(metadata, order="sorted")
