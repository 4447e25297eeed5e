"""Messages and metadata that are still what they were are swapped, within a transaction."""

from __future__ import annotations

from sessionstore.operations import Reseal
from sessionstore.sqlite import messages, sessions
from sessionstore.sqlite.transactions import Transaction

__all__ = ["reseal"]

_METADATA = "UPDATE sessionstore_sessions SET metadata = CAST(? AS TEXT) WHERE session_key = ?"


def reseal(transaction: Transaction, operation: Reseal) -> int:
    """Swap what is still what it was."""
    swaps = operation.swaps()
    row = sessions.find(transaction, operation.session_id, operation.user_id)
    if row is None:
        return 0
    records = swaps.of_messages(messages.named(transaction, row, list(swaps.messages)))
    messages.swap(transaction, row, records)
    metadata, count = swaps.of_metadata(row.metadata)
    if metadata is not None:
        transaction.execute(_METADATA, (metadata.decode(), row.session_key))
    return len(records) + count
