"""Several operations on one session: each in turn, in the one transaction of all."""

from __future__ import annotations

from typing import Any

from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Restore,
    Rewind,
    Several,
    Update,
)
from sessionstore.sqlite import leases, reading, writing
from sessionstore.sqlite.jobs import Work
from sessionstore.sqlite.transactions import Transaction

__all__ = ["OF_ONE_SESSION", "several"]

OF_ONE_SESSION: dict[type[Operation[Any]], Work[Any]] = {
    Create: writing.create,
    Fence: leases.fence,
    Get: reading.get,
    GetMessages: reading.get_messages,
    Append: writing.append,
    ReplaceMessage: writing.replace_message,
    DeleteMessages: writing.delete_messages,
    Restore: writing.restore,
    Rewind: writing.rewind,
    Update: writing.update,
    Delete: writing.delete,
}
"""What each operation on a session does in its transaction."""


def several(transaction: Transaction, operation: Several) -> list[Any]:
    """Carry out several operations."""
    return [OF_ONE_SESSION[type(part)](transaction, part) for part in operation.operations]
