"""Whether an encrypted store has sealed something, for those who have none of its keys."""

from __future__ import annotations

__all__ = ["is_sealed"]


def is_sealed(value: object) -> bool:
    """Tell whether it has a record: a message's ``extra``, or a value of a session's metadata."""
    record = value.get("encryption") if isinstance(value, dict) else None
    return isinstance(record, dict) and "sealed" in record
