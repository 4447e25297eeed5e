"""What callers hand to a store for messages: checked, and made ready to be stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec.structs import replace

from sessionstore.arguments.ids import TEXTS, checked_message_id, iterated
from sessionstore.errors import InvalidMessageError
from sessionstore.models import ROLE_NAMES, MessageLike, SessionMessage, new_id

__all__ = [
    "MAX_DEPTH",
    "TOO_DEEP",
    "checked_messages",
    "checked_replacement",
    "is_deep",
    "named_messages",
]

MAX_DEPTH = 64
"""How many lists and objects of JSON may be within one another, the outermost one included.

What is deeper may be stored, but not be read where the stack is deep already.
"""


def checked_messages(messages: Iterable[MessageLike]) -> list[SessionMessage]:
    """Make messages ready to be stored; the caller's are not touched.

    Args:
        messages: What the caller gave: messages, or mappings of their fields.

    Returns:
        The messages, each with an id, of each id the first, with one of the contract's names for
        its role, and with its time in UTC.

    Raises:
        InvalidMessageError: It is not a list, or one of it is not a message, or has an id or a time
            that can't be stored.
    """
    if type(messages) not in (list, tuple):
        messages = _listed(messages)
    elif len(messages) == 1:  # type: ignore[arg-type]
        return [_ready_message(messages[0])]  # type: ignore[index]
    return _without_repeats([_ready_message(message) for message in messages])


def _listed(messages: Any) -> list[MessageLike]:
    if isinstance(messages, (SessionMessage, Mapping, *TEXTS)):
        raise InvalidMessageError(_NO_LIST.format(type(messages).__name__))
    listed: list[MessageLike] = []
    for message in iterated(messages, "messages must be a list of messages"):
        is_one = not isinstance(messages, (Collection, Iterator))
        if is_one and not isinstance(message, (SessionMessage, Mapping)):
            # A model of pydantic, as LangChain's messages are, goes through its fields.
            raise InvalidMessageError(_NO_LIST.format(type(messages).__name__))
        listed.append(message)
    return listed


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


def named_messages(messages: Iterable[MessageLike]) -> list[SessionMessage]:
    """Take mappings for messages, and other names of roles for the contract's; change nothing else.

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

TOO_DEEP = f"at most {MAX_DEPTH} lists and objects may be within one another"

_NO_CONTENT = (
    "content must be a string or a list of content blocks, not None: "
    'give "" where a message has tool calls alone'
)

_CONTAINERS = (dict, list, tuple)

_WIDE = 10_000


def is_deep(*values: object) -> bool:
    """Tell whether any of some values nests lists and objects deeper than `MAX_DEPTH`."""
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


def _require_shallow(message: SessionMessage) -> None:
    calls = message.tool_calls if isinstance(message.tool_calls, (list, tuple)) else ()
    args: list[object] = []
    for call in calls:
        if isinstance(call, dict):
            args += dict.values(call)  # type: ignore[arg-type]
    if is_deep(message.content, message.metadata, message.extra, *args):
        fields = ("content", "metadata", "extra")
        deep = next((name for name in fields if is_deep(getattr(message, name))), "tool call")
        msg = f"message {message.id!r} can't be stored: its {deep} is nested too deep: {TOO_DEEP}"
        raise InvalidMessageError(msg)


def _ready_message(message: MessageLike) -> SessionMessage:
    if not isinstance(message, SessionMessage):
        message = _of_mapping(message)
    # The common message is all text: it has nothing to walk through.
    calls, metadata, extra = message.tool_calls, message.metadata, message.extra
    if (
        calls
        or metadata
        or extra
        or type(message.content) is not str
        or type(calls) is not list
        or type(metadata) is not dict
        or type(extra) is not dict
    ):
        if message.content is None:
            raise InvalidMessageError(_NO_CONTENT)
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
    if "role" not in fields:
        raise InvalidMessageError(f"a mapping for a message needs a role: {_INSTEAD}")
    if not fields.keys() <= _FIELDS:  # not named: who knows what they are
        raise InvalidMessageError(
            "a mapping for a message has a field that a SessionMessage does not have; it has "
            + ", ".join(SessionMessage.__struct_fields__)
            + ": put what else there is into metadata"
        )
    return SessionMessage(**fields)


_FIELDS = frozenset(SessionMessage.__struct_fields__)

_CODECS = {"langchain": "langchain_sessionstore", "llama": "llama_index_sessionstore"}

_INSTEAD = 'give one such as {"role": "user", "content": "Hello!"}'


def _no_message(kind: type) -> str:
    words = f"a message must be a SessionMessage or a mapping of its fields, not {kind.__name__}"
    package, _, _ = str(kind.__module__).partition("_")
    if codec := _CODECS.get(package):
        return f"{words}: {codec}.to_session(message) makes one of it"
    if issubclass(kind, (list, tuple)):
        words = f"{words}; append_messages takes a list of them, append(*messages) one or more"
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


def _without_repeats(messages: list[SessionMessage]) -> list[SessionMessage]:
    if len({message.id for message in messages}) == len(messages):
        return messages
    firsts: dict[str | None, SessionMessage] = {}
    for message in messages:
        firsts.setdefault(message.id, message)
    return list(firsts.values())
