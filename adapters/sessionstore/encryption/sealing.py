"""What is sealed of each operation that says anything."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

from msgspec.structs import replace

from sessionstore.encryption.keys import Keyring
from sessionstore.encryption.records import sealed_message, sealed_messages, sealed_metadata
from sessionstore.operations import Append, Create, Operation, ReplaceMessage, Restore, Update
from sessionstore.operations.base import put

__all__ = ["NAME_THE_OWNER", "SEALED", "says_anything"]

T = TypeVar("T", bound=Operation[Any])


def _changed(operation: T, **fields: Any) -> T:
    """Give a copy with other words in it; all else was checked when the operation was made."""
    changed = copy(operation)
    for name, value in fields.items():
        put(changed, name, value)
    return changed


def _of_messages(operation: Append, ring: Keyring) -> Append:
    sealed = sealed_messages(operation.messages, operation.session_id, ring)
    return _changed(operation, messages=sealed)


def _of_message(operation: ReplaceMessage, ring: Keyring) -> ReplaceMessage:
    sealed = sealed_message(operation.message, operation.session_id, ring)
    return _changed(operation, message=sealed)


def _of_create(operation: Create, ring: Keyring) -> Create:
    session_id = str(operation.session_id)
    return _changed(
        operation,
        messages=sealed_messages(operation.messages, session_id, ring),
        metadata=sealed_metadata(operation.metadata, session_id, ring),
    )


def _of_update(operation: Update, ring: Keyring) -> Update:
    session_id, messages, metadata = operation.session_id, operation.messages, operation.metadata
    if messages is not None:
        messages = sealed_messages(messages, session_id, ring)
    if metadata is not None:
        metadata = sealed_metadata(metadata, session_id, ring, merged=True)
    return _changed(operation, messages=messages, metadata=metadata)


def _of_restore(operation: Restore, ring: Keyring) -> Restore:
    given = operation.session
    session = replace(
        given,
        messages=sealed_messages(given.messages, given.id, ring),
        metadata=sealed_metadata(given.metadata, given.id, ring),
    )
    return _changed(operation, session=session)


SEALED: dict[type[Operation[Any]], Callable[[Any, Keyring], Operation[Any]]] = {
    Append: _of_messages,
    Create: _of_create,
    ReplaceMessage: _of_message,
    Restore: _of_restore,
    Update: _of_update,
}


def says_anything(operation: Any) -> bool:
    """Tell whether there is anything to seal in one of these."""
    kind = type(operation)
    if kind is Update:
        taken = operation.metadata or {}
        return bool(operation.messages or any(value is not None for value in taken.values()))
    return kind is not Append or bool(operation.messages)


# Their ``user_id`` is the owner: nobody, where it is ``None``.
NAME_THE_OWNER = frozenset({Create, Restore})
