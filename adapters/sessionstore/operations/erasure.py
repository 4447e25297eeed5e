"""`Scrub`: erasing what is left of a user beside their sessions, and `Trace`, what it tells."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from sessionstore.arguments import checked_flag, checked_id
from sessionstore.errors import InvalidTypeError
from sessionstore.operations.base import Operation, put

__all__ = ["Scrub", "Trace"]


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was found of a user in one place: what was erased, and what is left.

    Attributes:
        where: The place, such as a store, as its ``repr`` names it.
        what: What was looked for there, such as ``"leases"``.
        erased: How many were erased.
        left: How many are left that this package should have erased; 1 where it can't be told.
        why: Why they are left, and what to do.
        until: Of what the place keeps by itself, such as a database's log: until when.
    """

    where: str
    what: str
    erased: int = 0
    left: int = 0
    why: str = ""
    until: str = ""


class Scrub(Operation[list[Trace]], frozen=True, tag="scrub"):
    """Erase what is left of a user beside the sessions that are listed; tell what was found.

    `sessionstore.transfer.erase_user` asks for it before it deletes the sessions, and after. What
    a store keeps beside its sessions goes: the leases of those that are named, and those of the
    user that no list shows, as they have expired or can't be read. A fallback erases what it has
    set aside and what it remembers, hands it on to its primary and to its fallback store, and tells
    what its journals hold. To do it again is harmless.

    Attributes:
        user_id: Whose; ``None`` for what is about the sessions alone.
        session_ids: The sessions that are theirs.
        rewrite: Have a file that keeps what was deleted, as SQLite's does, written anew.
    """

    is_write: ClassVar[bool] = True

    user_id: str | None = None
    session_ids: list[str] = []  # noqa: RUF012 - msgspec gives each its own
    rewrite: bool = False

    def __post_init__(self) -> None:
        """Check what it was made of."""
        if self.user_id is not None:
            put(self, "user_id", checked_id(self.user_id, "user_id"))
        if isinstance(self.session_ids, (str, bytes)):
            raise InvalidTypeError("session_ids must be a list of session ids")
        put(self, "session_ids", [checked_id(each, "session_id") for each in self.session_ids])
        checked_flag(self.rewrite, "rewrite")
