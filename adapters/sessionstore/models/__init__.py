"""Messages and sessions, and the JSON form in which stores keep them."""

from sessionstore._runtime.clock import (
    from_microseconds,
    retention_microseconds,
    to_microseconds,
)
from sessionstore.models.classes import (
    ROLE_NAMES,
    SYSTEM_ROLES,
    MessageLike,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    ToolCall,
    new_id,
)
from sessionstore.models.sameness import is_same_message, is_same_value
from sessionstore.models.sealed import require_opened
from sessionstore.models.stored_form import (
    decode_message,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    merge_metadata,
    why_not_json,
)
from sessionstore.models.summaries import (
    SUMMARY_INTRODUCTION,
    WITHOUT_SUMMARY,
    Summary,
    summary_of,
    summary_until,
    without_summary,
)

__all__ = [
    "ROLE_NAMES",
    "SUMMARY_INTRODUCTION",
    "SYSTEM_ROLES",
    "WITHOUT_SUMMARY",
    "MessageLike",
    "SessionData",
    "SessionInfo",
    "SessionMessage",
    "SessionPage",
    "Summary",
    "ToolCall",
    "decode_message",
    "decode_messages",
    "decode_metadata",
    "encode_message",
    "encode_metadata",
    "from_microseconds",
    "is_same_message",
    "is_same_value",
    "merge_metadata",
    "new_id",
    "require_opened",
    "retention_microseconds",
    "summary_of",
    "summary_until",
    "to_microseconds",
    "why_not_json",
    "without_summary",
]
