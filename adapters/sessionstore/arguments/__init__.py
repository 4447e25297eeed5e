"""What callers hand to a store: checked, and made ready, before anything is done with it."""

from sessionstore.arguments.checks import (
    NO_LIMIT,
    checked_flag,
    checked_last,
    checked_lease_seconds,
    checked_limit,
    checked_metadata,
    checked_moment,
    checked_seconds,
    checked_token,
    checked_version,
    checked_wait,
    require_version,
)
from sessionstore.arguments.ids import (
    MAX_ID_LENGTH,
    checked_id,
    checked_message_id,
    checked_message_ids,
    optional_id,
)
from sessionstore.arguments.messages import (
    MAX_DEPTH,
    checked_messages,
    checked_replacement,
    named_messages,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_ID_LENGTH",
    "NO_LIMIT",
    "checked_flag",
    "checked_id",
    "checked_last",
    "checked_lease_seconds",
    "checked_limit",
    "checked_message_id",
    "checked_message_ids",
    "checked_messages",
    "checked_metadata",
    "checked_moment",
    "checked_replacement",
    "checked_seconds",
    "checked_token",
    "checked_version",
    "checked_wait",
    "named_messages",
    "optional_id",
    "require_version",
]
