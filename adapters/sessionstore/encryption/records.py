"""The form in which a message, and a value of a session's metadata, is sealed and opened.

A sealed message keeps its id, role and time, and has all else in a record in its ``extra``; what
is sealed is the whole message as stores keep it. A sealed value is a dict with a record. A record
belongs to the session and the message, or the key of the metadata, that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from sessionstore._runtime.sealed import ENCRYPTION
from sessionstore.encryption.keys import LONGEST_ID, Keyring, raws_of
from sessionstore.errors import CorruptMessageError, DecryptionError, SessionStoreError
from sessionstore.models import (
    SessionMessage,
    decode_message,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    summary_of,
)

__all__ = [
    "is_plain",
    "is_sealed",
    "key_of",
    "opened_message",
    "opened_messages",
    "opened_metadata",
    "opened_value",
    "sealed_message",
    "sealed_messages",
    "sealed_metadata",
]

_VERSION = 1
_MESSAGE, _METADATA = "sessionstore message", "sessionstore metadata"
_FIELDS = {"v", "key", "sealed"}
_SUMMARY = "summary"
_TOGETHER = 32  # messages: of a long session more at once would be slower, and held twice
_About: TypeAlias = tuple[str, int, str, str | None]
_encode = msgspec.json.Encoder().encode


# -- Messages -------------------------------------------------------------------------------------


def sealed_message(message: SessionMessage, session_id: str, ring: Keyring) -> SessionMessage:
    """Seal a message.

    Args:
        message: The message, with its id.
        session_id: The session that it is in.
        ring: The keys.

    Returns:
        A message with the same id, role and time.

    Raises:
        InvalidMessageError: It can't be stored.
    """
    about = (_MESSAGE, _VERSION, session_id, message.id)
    record = _sealed(encode_message(message), about, ring)
    return SessionMessage(
        message.role, id=message.id, created_at=message.created_at, extra={ENCRYPTION: record}
    )


def sealed_messages(
    messages: Iterable[SessionMessage], session_id: str, ring: Keyring
) -> list[SessionMessage]:
    """Seal messages of a session: see `sealed_message`."""
    return [sealed_message(message, session_id, ring) for message in messages]


def opened_message(
    message: SessionMessage, session_id: str, ring: Keyring, *, allow_plain: bool = False
) -> SessionMessage:
    """Open a message.

    Args:
        message: What the store holds.
        session_id: The session that it is in.
        ring: The keys.
        allow_plain: One that is not sealed is given as it is.

    Returns:
        The message as it was sealed.

    Raises:
        DecryptionError: It can't be opened, or is not sealed.
        CorruptMessageError: A newer version of this package has sealed it.
    """
    record: Any = message.extra.get(ENCRYPTION)
    if record is None and allow_plain:
        return message
    about = (_MESSAGE, _VERSION, session_id, message.id)
    plain, said, newer = _opened(record, about, ring), None, ""
    try:
        said = None if plain is None else decode_message(plain)
    except CorruptMessageError as error:
        newer = str(error)
    if said is not None and _is_of(said, message):
        return said
    plain = said = None  # an error's frames are shown to who collects errors
    what = f"message {message.id!r} of session {session_id!r}"
    if newer:
        raise CorruptMessageError(f"{what}: {newer}")
    raise _refusal(record, ring, what)


def opened_messages(
    messages: Iterable[SessionMessage],
    session_id: str,
    ring: Keyring,
    *,
    allow_plain: bool = False,
) -> list[SessionMessage]:
    """Open messages of a session: see `opened_message`."""
    held = list(messages)
    parts = (
        _opened_part(held[start : start + _TOGETHER], session_id, ring, allow_plain=allow_plain)
        for start in range(0, len(held), _TOGETHER)
    )
    return list(chain.from_iterable(parts))  # what is opened is in no frame of an error


def _opened_part(
    messages: list[SessionMessage], session_id: str, ring: Keyring, *, allow_plain: bool
) -> list[SessionMessage]:
    opened = _opened_at_once(messages, session_id, ring)
    if opened is not None:
        return opened
    return [opened_message(one, session_id, ring, allow_plain=allow_plain) for one in messages]


def _opened_at_once(
    messages: list[SessionMessage], session_id: str, ring: Keyring
) -> list[SessionMessage] | None:
    """Open all of them, or none: to tell why one can't be opened takes longer."""
    keys = ring.by_id
    plain: list[Any] = []
    with suppress(KeyError, TypeError, ValueError, msgspec.ValidationError, CorruptMessageError):
        records = [held.extra[ENCRYPTION] for held in messages]
        raws = raws_of([record["sealed"] for record in records])
        for held, record, raw in zip(messages, records, raws, strict=True):
            if record["v"] != _VERSION:
                return None
            about = _encode((_MESSAGE, _VERSION, session_id, held.id))
            plain.append(keys[record["key"]].opened_raw(raw, about))
        said = decode_messages(session_id, plain)
        if all(map(_is_of, said, messages)):
            return said
    return None


def _is_of(said: SessionMessage, held: SessionMessage) -> bool:
    return said.id == held.id and said.role == held.role and said.created_at == held.created_at


# -- Metadata -------------------------------------------------------------------------------------


def sealed_metadata(
    metadata: dict[str, Any], session_id: str, ring: Keyring, *, merged: bool = False
) -> dict[str, Any]:
    """Seal a session's metadata, value by value; its keys stay as they are.

    The id of the last message that a summary covers stays readable, as that message's own id is: so
    a fallback, in an outage, leaves out the summary of a message that was deleted.

    Args:
        metadata: The metadata.
        session_id: The session.
        ring: The keys.
        merged: It is merged into what is there: ``None`` takes a key away, and stays.

    Raises:
        InvalidSessionError: It is no JSON object.
    """
    encode_metadata(metadata)
    return {
        name: value if merged and value is None else _sealed_value(name, value, session_id, ring)
        for name, value in metadata.items()
    }


def _sealed_value(name: str, value: Any, session_id: str, ring: Keyring) -> dict[str, Any]:
    about = (_METADATA, _VERSION, session_id, name)
    record = {ENCRYPTION: _sealed(encode_metadata({name: value}), about, ring)}
    summary = summary_of({name: value})
    return record if summary is None else {**record, "text": ENCRYPTION, "until": summary.until}


def opened_metadata(
    metadata: dict[str, Any], session_id: str, ring: Keyring, *, allow_plain: bool = False
) -> dict[str, Any]:
    """Open a session's metadata.

    Args:
        metadata: What the store holds.
        session_id: The session.
        ring: The keys.
        allow_plain: A value that is not sealed is given as it is.

    Raises:
        DecryptionError: A value can't be opened, or is not sealed.
    """
    return {
        name: opened_value(name, value, session_id, ring, allow_plain=allow_plain)
        for name, value in metadata.items()
    }


def opened_value(
    name: str, value: Any, session_id: str, ring: Keyring, *, allow_plain: bool = False
) -> Any:
    """Open one value of a session's metadata: see `opened_metadata`."""
    where = f"the metadata {name!r} of session {session_id!r}"
    record = value[ENCRYPTION] if is_sealed(value) else None
    if record is None and allow_plain:
        return value
    plain = _opened(record, (_METADATA, _VERSION, session_id, name), ring)
    if plain is not None:
        opened: dict[str, Any] = {}
        with suppress(CorruptMessageError):
            opened = decode_metadata(plain)
        summary = summary_of(opened)
        if name in opened and value.get("until") == (None if summary is None else summary.until):
            return opened[name]
        del opened
    del plain
    raise _refusal(record, ring, where)


# -- Records --------------------------------------------------------------------------------------


def is_sealed(value: object) -> bool:
    """Tell whether what a store holds, a message's ``extra`` or a value, has a record."""
    record = value.get(ENCRYPTION) if isinstance(value, dict) else None
    return isinstance(record, dict) and record.keys() >= _FIELDS  # a newer version may add some


def is_plain(messages: Iterable[SessionMessage], metadata: Mapping[str, Any]) -> bool:
    """Tell whether nothing in a session has a record, so that no key is needed to read it."""
    return not (
        any(ENCRYPTION in message.extra for message in messages)
        or any(map(is_sealed, metadata.values()))
    )


def key_of(value: Any) -> str | None:
    """Give the id of the key that seals it: a message's ``extra``, or a value; ``None`` if none."""
    return _key_id(value[ENCRYPTION]) if is_sealed(value) else None


def _key_id(record: dict[str, Any]) -> str | None:
    key_id = record["key"]
    return key_id if isinstance(key_id, str) and len(key_id) <= LONGEST_ID else None


def _sealed(plain: bytes, about: _About, ring: Keyring) -> dict[str, Any]:
    key = ring.first
    return {"v": _VERSION, "key": key.id, "sealed": key.sealed(plain, _encode(about))}


def _opened(record: Any, about: _About, ring: Keyring) -> bytes | None:
    with suppress(KeyError, TypeError, ValueError):  # of an id that is no Unicode, too
        if record["v"] == _VERSION:
            return ring.by_id[record["key"]].opened(record["sealed"], _encode(about))
    return None


_PLAIN = (
    "is not encrypted: give allow_plain=True while a store is moved over, and seal it by rotate()"
    " (on the command line: rotate --allow-plain)"
)


def _refusal(record: Any, ring: Keyring, what: str) -> SessionStoreError:
    """Say why something can't be opened, and what to do."""
    if record is None:
        return DecryptionError(f"{what} {_PLAIN}")
    if is_sealed({ENCRYPTION: record}) and record["v"] != _VERSION:
        return CorruptMessageError(f"{what} was sealed by a newer version: upgrade sessionstore")
    key_id = key_of({ENCRYPTION: record})
    if key_id is None:
        return DecryptionError(f"{what} has a damaged record: restore it from a backup")
    if key_id in ring.by_id:
        error = DecryptionError(
            f"{what} can't be opened with the key {key_id!r}: either that is another key than it "
            "was sealed with, or the record was changed, or moved here from elsewhere"
        )
    else:
        error = DecryptionError(
            f"{what} is sealed with the key {key_id!r}, which is not among the keys: add it"
        )
    error.key_id = key_id
    return error
