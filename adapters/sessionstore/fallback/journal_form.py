"""What a journal looks like in the fallback store.

A journal is a session of the fallback store. Its owner (as the session's user) is the object that
writes into it, and its messages are these: what was known of the session before, a write, writes
that the primary has or refused, and a write that was not journaled after all.
"""

from __future__ import annotations

import msgspec

from sessionstore.fallback.known import KnownSession
from sessionstore.models import SessionData, SessionInfo, SessionMessage, new_id

__all__ = [
    "ADOPTED_BY",
    "ADOPTING",
    "BASE",
    "DONE",
    "JOURNALS",
    "REJECTED",
    "RENEWAL",
    "VOID",
    "WRITE",
    "base_entry",
    "decode_base",
    "ids_entry",
    "owner_of",
    "renewal_entry",
    "write_entry",
]

JOURNALS = "sessionstore:journal"
REJECTED = "sessionstore:rejected"
ADOPTING = "sessionstore:adopting"  # whose owner alone takes over what others have left
BASE, WRITE, DONE, VOID = "base", "write", "done", "void"

ADOPTED_BY = "adopted_by"
RENEWAL = "renewed"
"""The id of the one entry by which its owner says that it is still there."""


def write_entry(body: bytes, entry_id: str) -> SessionMessage:
    """Make the message that holds a write."""
    return SessionMessage(WRITE, body.decode(), id=entry_id)


def ids_entry(kind: str, ids: list[str]) -> SessionMessage:
    """Make the message that says of writes that they are `DONE`, or `VOID`."""
    return SessionMessage(kind, msgspec.json.encode(ids).decode(), id=new_id())


def base_entry(base: KnownSession) -> SessionMessage:
    """Make the message that holds what was known of the session before its first write."""
    return SessionMessage(BASE, msgspec.json.encode(base).decode(), id=BASE)


def renewal_entry() -> SessionMessage:
    """Make the message by which an owner says that it is still there.

    It says of no write that it is over, in words that older releases read, too: they would set
    aside what they don't know.
    """
    return SessionMessage(DONE, "[]", id=RENEWAL)


def decode_base(text: str) -> KnownSession:
    """Read what was known of the session before its first write.

    Raises:
        msgspec.MsgspecError: It is damaged.
        ValueError: It is damaged.
    """
    return _base_decoder.decode(text)


def owner_of(journal: SessionInfo | SessionData) -> str:
    """Tell who owns a journal."""
    return str(journal.metadata.get(ADOPTED_BY) or journal.user_id or "")


_base_decoder = msgspec.json.Decoder(KnownSession)
