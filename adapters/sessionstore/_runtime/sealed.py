"""Whether an encrypted store has sealed something, for those who have none of its keys."""

from __future__ import annotations

__all__ = ["ENCRYPTION", "is_sealed"]

ENCRYPTION = "encryption"
"""Where the record stands: in a message's ``extra``, or in the dict that a value is."""


def is_sealed(value: object) -> bool:
    """Tell whether it has a record: a message's ``extra``, or a value of a session's metadata."""
    record = value.get(ENCRYPTION) if isinstance(value, dict) else None
    return isinstance(record, dict) and "sealed" in record
