"""A session put together of what a reader found, with all that a store would refuse left out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from sessionstore.arguments import checked_id, checked_messages, optional_id
from sessionstore.errors import InvalidMessageError, InvalidSessionError
from sessionstore.forms.faults import FormError
from sessionstore.models import SessionData, SessionMessage, encode_message
from sessionstore.transfer.readers.unreadable import Unreadable

__all__ = ["AGENT", "Found", "Part", "Reading", "Source", "decoded", "part_of", "sessions", "today"]

AGENT = "default"

Reading: TypeAlias = Iterator[SessionData | Unreadable]
"""What every reader gives: one session at a time, and before it what of it can't be read."""


class Part(NamedTuple):
    """A message, or why there is none.

    Attributes:
        where: The place, as `Unreadable` says it.
        id: The id of a message that has none: the same each time it is read.
        found: The message, or the reason.
    """

    where: str
    id: str
    found: SessionMessage | str


class Found(NamedTuple):
    """A session as it was found.

    Attributes:
        id: Its id; whatever the source has in its place.
        where: The place, as `Unreadable` says it.
        parts: Its messages, oldest first.
        metadata: Its metadata; ``None`` for none.
        created_at: When it was made; ``None`` for the time of its first message.
        updated_at: When it was written to; ``None`` for the time of its last message.
    """

    id: Any
    where: str
    parts: Iterable[Part]
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


Source: TypeAlias = Generator[Found | Unreadable, None, None]
"""What a reader has found: closed when its sessions are."""


def today() -> datetime:
    """Give the time of what has none: the beginning of this day.

    An import that goes on where it was stopped, or is done again, has to meet the same times.
    """
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def decoded(raw: Any) -> Any:
    """Read JSON.

    Args:
        raw: The JSON, as text or bytes.

    Returns:
        The data.

    Raises:
        FormError: It is none, or is nested too deep.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        pass  # it may quote the data, so that it must be no part of the error's chain
    raise FormError("it is not valid JSON, or is nested too deep")


def part_of(
    where: str, place: object, read: Callable[[], SessionMessage], when: datetime | None = None
) -> Part:
    """Read a message, or say why it can't be read.

    Args:
        where: The place, as `Unreadable` says it.
        place: What tells this message from the others of its session, each time it is read.
        read: What reads it; a `FormError` says why it can't.
        when: Its time, where the source tells one that the message does not have.

    Returns:
        The message, or the reason.
    """
    try:
        message = read()
    except FormError as error:
        return Part(where, str(place), str(error))
    except RecursionError:
        return Part(where, str(place), "it is nested too deep")
    return Part(where, str(place), replace(message, created_at=when) if when else message)


def sessions(source: Source, *, user_id: str | None, agent_id: str) -> Reading:
    """Give each session of a source, ready for a store, and what can't be read.

    Args:
        source: What was found.
        user_id: The owner of every session.
        agent_id: The agent of every session.

    Returns:
        Sessions, and before each what of it was left out.

    Raises:
        InvalidSessionError: One of the ids is not valid.
    """
    owner, agent = optional_id(user_id, "user_id"), checked_id(agent_id, "agent_id")
    return _ready_sessions(source, owner, agent)


def _ready_sessions(source: Source, user_id: str | None, agent_id: str) -> Reading:
    with closing(source):
        for found in source:
            if isinstance(found, Unreadable):
                yield found
                continue
            messages: list[SessionMessage] = []
            failed = yield from _read_into(messages, found.parts)
            if not failed or messages:
                yield _session(found, messages, user_id, agent_id)


def _read_into(
    messages: list[SessionMessage], parts: Iterable[Part]
) -> Generator[Unreadable, None, bool]:
    failed, taken = False, set[str]()
    for part in parts:
        message = _ready(part, taken)
        if isinstance(message, str):
            failed = True
            yield Unreadable(part.where, message)
        else:
            taken.add(str(message.id))
            messages.append(message)
    return failed


def _ready(part: Part, taken: set[str]) -> SessionMessage | str:
    """Give a message as a store keeps it, or why none would."""
    if isinstance(part.found, str):
        return part.found
    message = part.found
    if message.id is None or message.id in taken:  # some libraries keep the same id twice
        message = replace(message, id=_free(part.id, taken))
    try:
        [message] = checked_messages([message])
        encode_message(message)
    except (InvalidMessageError, RecursionError) as error:
        return _reason(error)
    return message


def _free(message_id: str, taken: set[str]) -> str:
    """Give an id that no message before has, though one may be named as another's place is."""
    while message_id in taken:
        message_id += "+"
    return message_id


def _reason(error: Exception) -> str:
    # Our own words, but for the id that the source gave it.
    text = str(error) if isinstance(error, InvalidMessageError) else "it is nested too deep"
    return f"no store would take it: {text}"


def _session(
    found: Found, messages: list[SessionMessage], user_id: str | None, agent_id: str
) -> SessionData | Unreadable:
    try:
        session_id = checked_id(found.id, "its id")
    except InvalidSessionError as error:
        return Unreadable(found.where, str(error))
    times = [message.created_at for message in messages]
    made = found.created_at or min(times, default=None) or found.updated_at or today()
    return SessionData(
        id=session_id,
        agent_id=agent_id,
        user_id=user_id,
        metadata=found.metadata or {},
        created_at=made,
        updated_at=max(found.updated_at or max(times, default=made), made),
        version=1,
        message_count=len(messages),
        messages=messages,
    )
