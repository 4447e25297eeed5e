"""The operations of a lease: taking one, renewing it, giving it back, and writing only under it."""

from __future__ import annotations

from typing import ClassVar

from sessionstore.arguments import checked_flag, checked_id, checked_lease_seconds, checked_token
from sessionstore.models import new_id
from sessionstore.operations.base import Operation, check_ids, put

__all__ = ["AcquireLease", "Fence", "ReleaseLease", "RenewLease"]


class AcquireLease(Operation[int], frozen=True, tag="acquire_lease"):
    """Take the lease of a session that nobody holds; give its token.

    Each token of a session is larger than those before, also where the session is deleted between
    them. Asked again by who holds it, as after a lost answer, it gives the same token, and the
    lease lasts as long as if it were taken now.

    Attributes:
        session_id: The session; it need not exist.
        seconds: How long it lasts, above 0 and at most a day; the store's clock decides.
        user_id: The caller, where ownership is to be checked.
        take_over: Take it from whoever holds it.
        holder: Who takes it: 128 random bits are made where none is given.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    seconds: float = 60.0
    user_id: str | None = None
    take_over: bool = False
    holder: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "seconds", checked_lease_seconds(self.seconds))
        checked_flag(self.take_over, "take_over")
        given = self.holder
        put(self, "holder", new_id() if given is None else checked_id(given, "holder"))


class RenewLease(Operation[None], frozen=True, tag="renew_lease"):
    """Have a lease last as long as if it were taken now; `SessionLeasedError` where it was lost.

    Attributes:
        session_id: The session.
        token: The token of the lease.
        seconds: How long it lasts from now, above 0 and at most a day.
        user_id: The caller, where ownership is to be checked.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    token: int
    seconds: float = 60.0
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        checked_token(self.token)
        put(self, "seconds", checked_lease_seconds(self.seconds))


class ReleaseLease(Operation[bool], frozen=True, tag="release_lease"):
    """Give a lease back; tell whether it was held until then.

    Attributes:
        session_id: The session.
        holder: Who took it.
        user_id: The caller; nothing is checked of it, since who has the holder's name has taken it.
    """

    is_write: ClassVar[bool] = True

    session_id: str
    holder: str
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        put(self, "holder", checked_id(self.holder, "holder"))


class Fence(Operation[None], frozen=True, tag="fence"):
    """Raise `SessionLeasedError` where a lease was lost: what it stands before in a list fails too.

    A write that carries a lease is the list of the two: ``[Fence("s1", token), Append("s1", …)]``.

    Attributes:
        session_id: The session.
        token: The token of the lease.
        user_id: The caller; the same as that of the operations beside it.
    """

    session_id: str
    token: int
    user_id: str | None = None

    def __post_init__(self) -> None:
        """Check what it was made of."""
        check_ids(self)
        checked_token(self.token)
