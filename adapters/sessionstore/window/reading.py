"""What a window reads first: a session's newest messages, and its summary in the same step."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from sessionstore.errors import InvalidMessageError, StoreUnavailableError
from sessionstore.flow import Flow
from sessionstore.models import SessionData, SessionMessage, Summary, summary_of
from sessionstore.operations import Get, GetMessages, Operation, Several

__all__ = ["Reading", "newest"]

T = TypeVar("T")

Reading: TypeAlias = Flow[Operation[Any], Any, T]
"""A flow of operations that read."""


def newest(
    session_id: str, user_id: str | None, before: str | None, size: int | None
) -> Reading[tuple[list[SessionMessage], Summary | None]]:
    """Read a session's last messages, or the last ones before one, and its summary.

    Args:
        session_id: The session.
        user_id: The caller.
        before: Only messages before the one with this id.
        size: How many, beside the system message that the session begins with; ``None`` for all.

    Returns:
        The messages, and the summary, if its last message is in front of them or among them.
    """
    if before is None:
        data: SessionData | None = yield Get(session_id, size, user_id, size is not None)
        log = data.messages if data else []
        is_all = data is None or len(log) >= data.message_count
    else:
        keep = size is not None
        page = GetMessages(session_id, size, before=before, user_id=user_id, keep_system=keep)
        data, log = yield Several([Get(session_id, 0, user_id), page])
        is_all = size is None or len(log) < size
    summary = summary_of(data.metadata) if data else None
    if summary is None or summary.until in [message.id for message in log]:
        return log, summary
    is_known = not is_all and (yield from _is_in_front(session_id, user_id, before, summary))
    return log, summary if is_known else None


def _is_in_front(
    session_id: str, user_id: str | None, before: str | None, summary: Summary
) -> Reading[bool]:
    """Tell whether what a summary covers is in the log: a rewind takes it away, a fork may."""
    try:
        if before is None:
            yield GetMessages(session_id, 0, after=summary.until, user_id=user_id)
            return True
        behind = yield GetMessages(session_id, after=summary.until, user_id=user_id)
    except InvalidMessageError:
        return False
    except StoreUnavailableError:  # an outage: only the end of the session is known
        return True
    return before in [message.id for message in behind]
