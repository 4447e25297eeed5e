"""The keys of a store in Redis: where a session is, and the indexes that it is listed in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from sessionstore.errors import InvalidSessionError

__all__ = ["Layout", "SessionKeys", "decoded_id", "encoded", "encoded_prefix", "session_keys"]

_PLAIN = "!\"#$&'()*+,/:;<=>?@[\\]^`| "  # what quote would encode, but no brace and no percent sign
_HEAD = b"session"


class SessionKeys(NamedTuple):
    """The keys of a session: they share a hash tag, and each script on the session declares them.

    Attributes:
        head: A hash: what is known about the session.
        messages: A list: the messages.
        positions: A hash: the position of each message, by its id.
        gaps: A sorted set: positions of messages that were deleted between others.
        writes: The record of the newest writes, by their names.
        deleted: A list: what the newest deletes of messages have answered.
    """

    head: bytes
    messages: bytes
    positions: bytes
    gaps: bytes
    writes: bytes
    deleted: bytes

    @property
    def with_lease(self) -> tuple[bytes, ...]:
        """These, and a hash: who has the session's lease. What asks about that declares it."""
        return (*self, self.head.removesuffix(_HEAD) + b"lease")


@lru_cache(1024)
def encoded(value: str | None) -> bytes:
    """Give an id as it is in keys and entries; ``b""`` for none."""
    return b"" if value is None else quote(value, safe="").encode()


def encoded_prefix(key_prefix: str) -> bytes:
    """Keep a prefix from looking like a hash tag, so that the first brace ends it.

    Args:
        key_prefix: The caller's.

    Raises:
        InvalidSessionError: It is not valid Unicode text.
    """
    try:
        return quote(str.__str__(key_prefix), safe=_PLAIN).encode()
    except (TypeError, UnicodeEncodeError):
        raise InvalidSessionError("key_prefix must be valid Unicode text") from None


@lru_cache(1024)
def session_keys(prefix: bytes, encoded_id: bytes) -> SessionKeys:
    """Give the keys of a session.

    Args:
        prefix: The store's, encoded.
        encoded_id: The session's id, encoded.
    """
    tagged = prefix + b"{" + encoded_id + b"}:"
    return SessionKeys(
        tagged + _HEAD,
        tagged + b"messages",
        tagged + b"positions",
        tagged + b"gaps",
        tagged + b"writes",
        tagged + b"deleted",
    )


class Layout(msgspec.Struct, frozen=True):
    """Where a store's keys are, and how long they live.

    Attributes:
        where: The Redis.
        prefix: What all keys start with, encoded.
        ttl: How long a session is kept, in milliseconds; empty for good.
        clustered: Whether keys lie in different slots: then an index is not where its sessions are.
    """

    where: str
    prefix: bytes
    ttl: bytes
    clustered: bool

    def index(self, kind: bytes, value: bytes | None = None) -> bytes:
        """Give the key of an index.

        Args:
            kind: ``b"all"``, ``b"agent"`` or ``b"user"``.
            value: The encoded id of the agent or user.
        """
        scope = kind if value is None else kind + b":" + value
        return self.prefix + b"{:" + scope + b"}"

    def indexes(self, member: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give the indexes that an entry is in, each with the one of when its entries end.

        Args:
            member: The entry: session, agent and user.
        """
        _, agent, user = member.split(b"/")
        found = [self.index(b"all"), self.index(b"agent", agent)]
        if user:
            found.append(self.index(b"user", user))
        for index in found:
            yield index, index + b":ends"


def decoded_id(member: bytes) -> str:
    """Give the id of the session that an entry of an index is of."""
    return unquote(member.split(b"/")[0].decode())
