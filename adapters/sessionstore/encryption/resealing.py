"""`Reseal` of a sealed session: what is swapped is compared with what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sessionstore.encryption.keys import Keyring
from sessionstore.encryption.records import (
    opened_message,
    opened_value,
    sealed_message,
    sealed_metadata,
)
from sessionstore.errors import CorruptMessageError, DecryptionError
from sessionstore.models import (
    SessionData,
    SessionMessage,
    encode_message,
    is_same_message,
    is_same_value,
)
from sessionstore.operations import Reseal

__all__ = ["resealed"]


def resealed(
    operation: Reseal, session: SessionData, ring: Keyring, *, allow_plain: bool
) -> Reseal:
    """Give what swaps the same in the store that holds it sealed.

    Args:
        operation: What was asked for.
        session: The session with all its messages, as that store holds it.
        ring: The keys.
        allow_plain: What is not sealed is compared as it is.

    Returns:
        The operation for that store: of what can't be opened, it swaps nothing.
    """
    pairs = list(_messages(operation, session, ring, allow_plain=allow_plain))
    values = list(_values(operation, session, ring, allow_plain=allow_plain))
    return Reseal(
        session.id,
        [old for old, _ in pairs],
        [new for _, new in pairs],
        {name: old for name, old, _ in values},
        {name: new for name, _, new in values},
        operation.user_id,
    )


def _messages(
    operation: Reseal, session: SessionData, ring: Keyring, *, allow_plain: bool
) -> Iterator[tuple[SessionMessage, SessionMessage]]:
    swaps = operation.swaps().messages
    new = {str(message.id): message for message in operation.new}
    for held in session.messages:
        name = str(held.id)
        if name not in new:
            continue
        try:
            opened = opened_message(held, session.id, ring, allow_plain=allow_plain)
        except (DecryptionError, CorruptMessageError):
            continue
        if is_same_message(encode_message(opened), swaps[name][0]):
            yield held, sealed_message(new[name], session.id, ring)


def _values(
    operation: Reseal, session: SessionData, ring: Keyring, *, allow_plain: bool
) -> Iterator[tuple[str, Any, Any]]:
    for name, (old, new) in operation.swaps().metadata.items():
        if name not in session.metadata:
            continue
        held = session.metadata[name]
        try:
            opened = opened_value(name, held, session.id, ring, allow_plain=allow_plain)
        except (DecryptionError, CorruptMessageError):
            continue
        if is_same_value(opened, old):
            yield name, held, sealed_metadata({name: new}, session.id, ring)[name]
