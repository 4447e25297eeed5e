"""A session's head, the hash of what is known about it, read and written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec

from sessionstore.errors import CorruptMessageError
from sessionstore.models import (
    SessionInfo,
    decode_messages,
    decode_metadata,
    encode_metadata,
    from_microseconds,
)

__all__ = ["decode_head", "decode_info", "metadata_fields", "pairs"]

_INEXACT = 2**53  # from here on, a number of Lua stands for several
_CODED = re.compile(rb"[A-Za-z0-9%._~-]*")


def metadata_fields(metadata: dict[str, Any] | None) -> list[bytes]:
    """Give each key of metadata as a field of the head, and its value as JSON."""
    if metadata is None:
        return []
    parts = msgspec.json.decode(encode_metadata(metadata), type=dict[str, msgspec.Raw])
    return [word for key, raw in parts.items() for word in (b":" + key.encode(), bytes(raw))]


def pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    """Give a hash as a script gives it: names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def decode_head(session_id: str, flat: list[bytes]) -> dict[str, Any]:
    """Give what a session's head says: the fields that `SessionData` and `SessionInfo` share.

    Args:
        session_id: The session.
        flat: The hash, as a script gives it.

    Raises:
        CorruptMessageError: It can't be read.
    """
    fields = pairs(flat)
    try:
        _whole(fields.get(b"first", b"0"))
        raws = {k[1:].decode(): msgspec.Raw(v) for k, v in fields.items() if k[:1] == b":"}
        return {
            "id": session_id,
            "agent_id": _decoded(fields[b"agent"]),
            "user_id": _decoded(fields[b"user"]) or None,
            "metadata": decode_metadata(msgspec.json.encode(raws)) if raws else {},
            "created_at": from_microseconds(_whole(fields[b"created"])),
            "updated_at": from_microseconds(_whole(fields[b"updated"])),
            "version": _whole(fields[b"version"]),
            "message_count": _whole(fields[b"count"]),
        }
    except (KeyError, ValueError, OverflowError, CorruptMessageError) as error:
        msg = f"session {session_id!r}: what is stored about it can't be read"
        raise CorruptMessageError(msg) from error


def decode_info(session_id: str, flat: list[bytes], last: Sequence[bytes] = ()) -> SessionInfo:
    """Give what a list shows of a session, from its head: as `decode_head`.

    Args:
        session_id: The session.
        flat: The hash, as a script gives it.
        last: Its last messages, as they are stored.

    Raises:
        CorruptMessageError: It, or one of them, can't be read.
    """
    messages = decode_messages(session_id, last) if last else []
    return SessionInfo(**decode_head(session_id, flat), messages=messages)


def _whole(raw: bytes) -> int:
    """Read a number as the scripts do, so that both refuse the same."""
    number = int(raw) if raw.isdigit() else _INEXACT
    if number >= _INEXACT:
        raise ValueError("not a whole number below 2**53")
    return number


@lru_cache(1024)
def _decoded(value: bytes) -> str:
    if not _CODED.fullmatch(value):
        raise ValueError("not percent-encoded, as the store writes it")
    return unquote(value.decode())
