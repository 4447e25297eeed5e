"""Writes that are broken off in their midst, and what may be there afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import cycle
from typing import Any, NamedTuple

from msgspec.structs import replace

from sessionstore.models import SessionData, SessionMessage
from sessionstore.operations import Append, Reseal, Rewind, Update
from sessionstore.testing.samples import said

__all__ = ["Change", "Content", "changes", "content"]

Content = tuple[list[SessionMessage], dict[str, Any]]
"""The messages and the metadata of a session."""

BATCH = 5


class Change(NamedTuple):
    """A write to a session, and what it makes of it.

    Attributes:
        method: The store's method.
        args: What it is given.
        kwargs: What it is given by name.
        outcome: Gives what the session holds after the write, from what it held before.
        versions: By how much it raises the version.
    """

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: Callable[[Content | None], Content | None]
    versions: int = 1


def content(session: SessionData | None) -> Content | None:
    """Give what a session holds; ``None`` where there is none."""
    return None if session is None else (session.messages, session.metadata)


def changes() -> Iterator[Change]:
    """Give writes of every kind, one after the other, without end."""
    kinds = (
        _append,
        _replace,
        _append,
        _delete_messages,
        _update,
        _append,
        _several,
        _append,
        _rewind,
        _append,
        _rewind_and_append,
        _delete,
        _create,
        _reseal,
    )
    for number, kind in enumerate(cycle(kinds)):
        yield kind(number)


def _batch(number: int) -> list[SessionMessage]:
    at = datetime.fromtimestamp(number, timezone.utc)  # the same whenever it is asked for
    names = [f"{number}-{place}" for place in range(BATCH)]
    return [said(f"of {name}", name, created_at=at) for name in names]


def _append(number: int) -> Change:
    batch = _batch(number)

    def outcome(before: Content | None) -> Content:
        messages, metadata = before or ([], {})
        return messages + batch, metadata

    return Change("append_messages", ("s", batch), {}, outcome)


def _replace(number: int) -> Change:
    # The last of the batch that was appended just before.
    message = said(f"{number} instead", f"{number - 1}-{BATCH - 1}")

    def outcome(before: Content | None) -> Content | None:
        if before is None:
            return None
        messages, metadata = before
        return [message if held.id == message.id else held for held in messages], metadata

    return Change("replace_message", ("s", message), {}, outcome)


def _delete_messages(number: int) -> Change:
    gone = {f"{number - 1}-{place}" for place in (0, 2, 3)} | {f"{number - 3}-1"}

    def outcome(before: Content | None) -> Content | None:
        if before is None:
            return None
        messages, metadata = before
        return [message for message in messages if message.id not in gone], metadata

    return Change("delete_messages", ("s", sorted(gone)), {}, outcome)


def _update(number: int) -> Change:
    batch, metadata = _batch(number), {"by": number}

    def outcome(before: Content | None) -> Content | None:
        return None if before is None else (batch, {**before[1], **metadata})

    return Change("update", ("s",), {"messages": batch, "metadata": metadata}, outcome)


def _several(number: int) -> Change:
    batch, metadata = _batch(number), {"by": number}

    def outcome(before: Content | None) -> Content:
        messages, earlier = before or ([], {})
        return messages + batch, {**earlier, **metadata}

    parts = [Append("s", batch), Update("s", metadata=metadata)]
    return Change("run", (parts,), {}, outcome, versions=2)


def _rewind(number: int) -> Change:
    # To the middle of the batch that was appended just before.
    to = f"{number - 1}-1"

    def outcome(before: Content | None) -> Content | None:
        return before and (_up_to(before[0], to), before[1])

    return Change("rewind", ("s",), {"to": to}, outcome)


def _rewind_and_append(number: int) -> Change:
    batch, to = _batch(number), f"{number - 1}-1"

    def outcome(before: Content | None) -> Content | None:
        return before and (_up_to(before[0], to) + batch, before[1])

    parts = [Rewind("s", to), Append("s", batch)]
    return Change("run", (parts,), {}, outcome, versions=2)


def _up_to(messages: list[SessionMessage], to: str) -> list[SessionMessage]:
    names = [message.id for message in messages]
    return messages[: names.index(to) + 1] if to in names else messages


def _delete(_: int) -> Change:
    return Change("delete", ("s",), {}, lambda _: None)


def _create(number: int) -> Change:
    batch, metadata = _batch(number), {"by": number}
    return Change(
        "create",
        ("s",),
        {"messages": batch, "metadata": metadata},
        lambda before: (batch, metadata) if before is None else before,
    )


def _reseal(number: int) -> Change:
    # What was created just before, if it was.
    old, values = _batch(number - 1), {"by": number - 1}
    new = [replace(message, content=f"{number} sealed") for message in old]
    sealed = {"by": f"{number} sealed"}

    def outcome(before: Content | None) -> Content | None:
        if before is None:
            return None
        messages = [new[old.index(held)] if held in old else held for held in before[0]]
        return messages, sealed if before[1] == values else before[1]

    asked = Reseal("s", old, new, values, sealed)
    return Change("run", (asked,), {}, outcome, versions=0)
