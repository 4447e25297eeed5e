"""What callers hand to a store: checked, and made ready, before anything is done with it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec.structs import replace

from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionAccessError,
    SessionConflictError,
)
from sessionstore.models import ROLE_NAMES, MessageLike, SessionMessage, new_id

__all__ = [
    "MAX_DEPTH",
    "MAX_ID_LENGTH",
    "NO_LIMIT",
    "checked_flag",
    "checked_id",
    "checked_limit",
    "checked_message_id",
    "checked_message_ids",
    "checked_messages",
    "checked_metadata",
    "checked_replacement",
    "checked_seconds",
    "checked_version",
    "named_messages",
    "optional_id",
    "require_owner",
    "require_version",
    "without_repeats",
]

MAX_ID_LENGTH = 512
"""The longest id, in characters, of a session, message, agent or user."""

MAX_DEPTH = 64
"""How many lists and objects of JSON may be within one another, the outermost one included.

What is deeper may be stored, but not be read where the stack is deep already.
"""

NO_LIMIT = 2**31 - 1
"""As good as no limit: drivers refuse a number that is larger than theirs."""


def require_owner(owner: str | None, user_id: str | None) -> None:
    """Refuse a caller who is not the owner.

    Args:
        owner: The session's owner; ``None`` where it is open to every caller.
        user_id: The caller; ``None`` where nothing is to be checked.

    Raises:
        SessionAccessError: The session belongs to another user.
    """
    if user_id is not None and owner is not None and owner != user_id:
        raise SessionAccessError("this session belongs to another user")


def require_version(version: int, expected_version: int | None) -> None:
    """Refuse a writer who has not seen the session's last version.

    Args:
        version: What the session is at; 0 where it is not there.
        expected_version: What the caller last saw; ``None`` where nothing is to be checked.

    Raises:
        SessionConflictError: They differ.
    """
    if expected_version is not None and version != expected_version:
        msg = (
            f"the session is at version {version}, not {expected_version}: "
            "read it again, then decide"
        )
        raise SessionConflictError(msg)


def checked_id(value: object, name: str) -> str:
    """Check what names a session, an agent or a user.

    Args:
        value: The id.
        name: What to call it in an error.

    Returns:
        The id, as a plain string.

    Raises:
        InvalidSessionError: It is no text of 1 to `MAX_ID_LENGTH` characters.
    """
    if isinstance(value, str):
        value = str.__str__(value)
        if 0 < len(value) <= MAX_ID_LENGTH and (value.isascii() or _is_unicode(value)):
            return value
    raise InvalidSessionError(f"{name} {_fault(value)}")


def optional_id(value: object, name: str) -> str | None:
    """Check what may name an agent or a user, or nobody.

    Args:
        value: The id, or ``None``.
        name: What to call it in an error.

    Returns:
        The id, as a plain string; or ``None``.

    Raises:
        InvalidSessionError: It is neither ``None`` nor text of 1 to `MAX_ID_LENGTH` characters.
    """
    return None if value is None else checked_id(value, name)


def checked_message_id(value: object) -> str:
    """Check what names a message.

    Args:
        value: The id.

    Returns:
        The id, as a plain string.

    Raises:
        InvalidMessageError: It is no text of 1 to `MAX_ID_LENGTH` characters.
    """
    if isinstance(value, str):
        value = str.__str__(value)
        if 0 < len(value) <= MAX_ID_LENGTH and (value.isascii() or _is_unicode(value)):
            return value
    raise InvalidMessageError(f"a message id {_fault(value)}")


def checked_message_ids(message_ids: Iterable[str]) -> list[str]:
    """Check what names some messages.

    Args:
        message_ids: What the caller gave.

    Returns:
        The ids, as plain strings, each of them once.

    Raises:
        InvalidMessageError: It is not a list of ids, or one of them is not valid.
    """
    if isinstance(message_ids, _TEXTS):
        raise InvalidMessageError("message_ids must be a list of ids, not a single one: give [id]")
    ids = _iterated(message_ids, "message_ids must be a list of ids")
    return list(dict.fromkeys(map(checked_message_id, ids)))


_TEXTS = (str, bytes, bytearray, memoryview)


def _iterated(given: Iterable[Any], words: str) -> Iterator[Any]:
    try:
        return iter(given)
    except TypeError:
        raise InvalidMessageError(f"{words}, not {type(given).__name__}") from None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {type(value).__name__}"
    if not value:
        return "is empty"
    if len(value) > MAX_ID_LENGTH:
        return f"is {len(value)} characters long; at most {MAX_ID_LENGTH} are allowed"
    return "must be valid Unicode text"


def checked_limit(value: object) -> int | None:
    """Check how many messages a caller wants.

    Args:
        value: The number, or ``None`` for all.

    Returns:
        The number, at most `NO_LIMIT`; or ``None``.

    Raises:
        InvalidSessionError: It is neither ``None`` nor a whole number of 0 or more.
    """
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return min(value, NO_LIMIT)
    raise _refusal(
        value, "limit must be a whole number of 0 or more: how many messages; or None for all"
    )


def checked_version(value: object) -> int | None:
    """Check the version that a caller expects.

    Args:
        value: The version, or ``None`` for any.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is neither ``None`` nor a whole number of 0 or more.
    """
    if value is None or (type(value) is int and value >= 0):
        return value
    raise _refusal(value, "expected_version must be a whole number of 0 or more, or None")


def _refusal(value: object, words: str) -> InvalidSessionError:
    return InvalidSessionError(words) if type(value) is int else InvalidTypeError(words)


def checked_flag(value: object, name: str) -> bool:
    """Check what is yes or no.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The same.

    Raises:
        InvalidTypeError: It is neither ``True`` nor ``False``.
    """
    if type(value) is bool:
        return value
    raise InvalidTypeError(f"{name} must be True or False, not {type(value).__name__}")


def checked_seconds(value: object, name: str = "timeout") -> float:
    """Check how long something may take.

    Args:
        value: What the caller gave.
        name: What to call it in an error.

    Returns:
        The same.

    Raises:
        TypeError: It is not a number.
        ValueError: It is not above 0, or longer than a system's clocks can say.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of seconds above 0")
    if value > _LONGEST:
        raise ValueError(f"{name} must be a number of seconds of at most {_LONGEST:,}")
    return value


_LONGEST = 10**9  # thirty years; from ten times as many on, sockets overflow


def checked_messages(messages: Iterable[MessageLike]) -> list[SessionMessage]:
    """Make messages ready to be stored; the caller's are not touched.

    Args:
        messages: What the caller gave: messages, or mappings of their fields.

    Returns:
        The messages, each with an id, with one of the contract's names for its role, and with its
        time in UTC.

    Raises:
        InvalidMessageError: It is not a list, or one of it is not a message, or has an id or a time
            that can't be stored.
    """
    if type(messages) in (list, tuple):
        return [_ready_message(message) for message in messages]
    if isinstance(messages, (SessionMessage, Mapping, *_TEXTS)):
        raise InvalidMessageError(_NO_LIST.format(type(messages).__name__))
    ready = []
    for message in _iterated(messages, "messages must be a list of messages"):
        is_one = not isinstance(messages, (Collection, Iterator))
        if is_one and not isinstance(message, (SessionMessage, Mapping)):
            # A model of pydantic, as LangChain's messages are, goes through its fields.
            raise InvalidMessageError(_NO_LIST.format(type(messages).__name__))
        ready.append(_ready_message(message))
    return ready


def named_messages(messages: Iterable[MessageLike]) -> list[SessionMessage]:
    """Take mappings for messages, and other names of roles for the contract's, and change no more.

    Args:
        messages: What the caller gave.

    Returns:
        The messages.

    Raises:
        InvalidMessageError: One of them is not a message.
    """
    taken = []
    for given in messages:
        message = given if isinstance(given, SessionMessage) else _of_mapping(given)
        role = _plain_role(message.role)
        taken.append(message if role is message.role else replace(message, role=role))
    return taken


_NO_LIST = "messages must be a list of messages, not a single {}: give [message]"


def checked_replacement(message: MessageLike) -> SessionMessage:
    """Make the message that takes another one's place ready to be stored.

    Args:
        message: What the caller gave.

    Returns:
        The message.

    Raises:
        InvalidMessageError: It is not a message, can't be stored, or has no id.
    """
    given = message if isinstance(message, SessionMessage) else _of_mapping(message)
    if given.id is None:
        raise InvalidMessageError("replace_message needs a message with an id: set its id")
    return _ready_message(given)


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Check how deep a session's metadata is; whether it is JSON is seen when it is encoded.

    Args:
        metadata: What the caller gave.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is nested deeper than `MAX_DEPTH`.
    """
    if isinstance(metadata, dict) and _is_deep(metadata):
        raise InvalidSessionError(f"the metadata is nested too deep: {_TOO_DEEP}")
    return metadata


_TOO_DEEP = f"at most {MAX_DEPTH} lists and objects may be within one another"
_CONTAINERS = (dict, list, tuple)
_WIDE = 10_000


def _is_deep(*values: object) -> bool:
    level = [value for value in values if isinstance(value, _CONTAINERS)]
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (dict.values(outer) if isinstance(outer, dict) else outer)
            if isinstance(inner, _CONTAINERS)
        ]
        if len(level) > _WIDE:  # a list that holds itself twice has no end, and gets ever wider
            level = list({id(inner): inner for inner in level}.values())
    return bool(level)


def _is_flat(message: SessionMessage) -> bool:
    # The common message is all text: it has nothing to walk through.
    calls, metadata, extra = message.tool_calls, message.metadata, message.extra
    return (
        type(message.content) is str
        and (type(calls) is list and not calls)
        and (type(metadata) is dict and not metadata)
        and (type(extra) is dict and not extra)
    )


def _require_shallow(message: SessionMessage) -> None:
    calls = message.tool_calls if isinstance(message.tool_calls, (list, tuple)) else ()
    args: list[object] = []
    for call in calls:
        if isinstance(call, dict):
            args += dict.values(call)  # type: ignore[arg-type]
    if _is_deep(message.content, message.metadata, message.extra, *args):
        fields = ("content", "metadata", "extra")
        deep = next((name for name in fields if _is_deep(getattr(message, name))), "tool call")
        msg = f"message {message.id!r} can't be stored: its {deep} is nested too deep: {_TOO_DEEP}"
        raise InvalidMessageError(msg)


def _ready_message(message: MessageLike) -> SessionMessage:
    if not isinstance(message, SessionMessage):
        message = _of_mapping(message)
    if not _is_flat(message):
        _require_shallow(message)
    given = message.created_at
    if not (type(given) is datetime and given.tzinfo is timezone.utc):
        created_at = _in_utc(given)
        if created_at is not given:
            message = replace(message, created_at=created_at)
    role = message.role
    if type(role) is not str or role in ROLE_NAMES:
        message = replace(message, role=_plain_role(role))
    if message.id is None:
        return replace(message, id=new_id())
    message_id = checked_message_id(message.id)
    # `str` of a member of an enum is its name: one id would be there twice.
    return message if message_id is message.id else replace(message, id=message_id)


def _plain_role(role: Any) -> Any:
    if not isinstance(role, str):
        return role  # refused with the other fields of the wrong type
    role = str.__str__(role)
    return ROLE_NAMES.get(role, role)


def _of_mapping(given: object) -> SessionMessage:
    if not isinstance(given, Mapping):
        raise InvalidMessageError(_no_message(type(given)))
    fields = dict(given)
    if "role" not in fields or not fields.keys() <= _FIELDS:  # not named: who knows what they are
        raise InvalidMessageError(
            "a mapping for a message has a role, and no other fields than a SessionMessage: "
            + ", ".join(SessionMessage.__struct_fields__)
        )
    return SessionMessage(**fields)


_FIELDS = frozenset(SessionMessage.__struct_fields__)
_CODECS = {"langchain": "langchain_sessionstore", "llama": "llama_index_sessionstore"}
_INSTEAD = (
    'give a SessionMessage, or a mapping of its fields: {"role": "user", "content": "Hello!"}'
)


def _no_message(kind: type) -> str:
    words = f"a message must be a SessionMessage or a mapping of its fields, not {kind.__name__}"
    package, _, _ = str(kind.__module__).partition("_")
    if codec := _CODECS.get(package):
        return f"{words}: {codec}.to_session(message) makes one of it"
    return f"{words}: {_INSTEAD}"


def _in_utc(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        kind = type(moment).__name__
        raise InvalidMessageError(f"created_at must be a datetime, not {kind}")
    if moment.tzinfo is timezone.utc:
        return moment
    if moment.utcoffset() is None:
        raise InvalidMessageError("created_at must be aware: give it a timezone, such as UTC")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise InvalidMessageError("created_at must be within the years 1 to 9999, UTC") from error


def without_repeats(messages: list[SessionMessage]) -> list[SessionMessage]:
    """Keep the first of each id.

    Args:
        messages: Messages with ids.

    Returns:
        The messages, in their order.
    """
    if len({message.id for message in messages}) == len(messages):
        return messages
    firsts: dict[str | None, SessionMessage] = {}
    for message in messages:
        firsts.setdefault(message.id, message)
    return list(firsts.values())
