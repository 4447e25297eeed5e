"""A lease's row in an SQL table, the same in SQLite's own store and in SQLAlchemy's.

It stays when the lease is given back, without its holder, and when the session is deleted: so that
tokens grow. A day after its end it is pruned; by then a clock has passed its token.
"""

from __future__ import annotations

from typing import NamedTuple

from sessionstore.leases import leased_error, require_lease
from sessionstore.operations import AcquireLease, RenewLease

__all__ = ["BOGUS", "LEASES_KEPT", "MOST_TOKEN", "PRUNE_LEASES", "LeaseRow", "length_of"]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
LEASES_KEPT = _DAY
"""How long the row of a lease that has ended is kept, in microseconds."""
BOGUS = 2 * _DAY
"""No lease lasts as long: an end that is further ahead is of a clock that is not this one."""
PRUNE_LEASES = 1_000
"""How many rows are deleted in one transaction."""
MOST_TOKEN = 2**62
"""No token is larger, so that one more is still a number of SQL's."""


class LeaseRow(NamedTuple):
    """What the table of leases holds of one session.

    Attributes:
        token: The last one that was given out.
        ends_at: When the lease ends or ended, in microseconds of the clock that decides.
        is_held: It was not given back, and not left behind by an earlier start of the machine.
        is_mine: Who asks is its holder.
    """

    token: int = 0
    ends_at: int = 0
    is_held: bool = False
    is_mine: bool = False

    def is_live(self, now: int) -> bool:
        """Tell whether somebody has the lease."""
        return bool(self.is_held) and now < self.ends_at <= now + BOGUS

    def require(self, token: int, now: int) -> None:
        """Refuse who has lost the lease.

        Raises:
            SessionLeasedError: That token is not the one of the lease that somebody has.
        """
        require_lease(self.token == token and self.is_live(now))

    def next_token(self, asked: AcquireLease, now: int, wall: int) -> int:
        """Give the token of who asks for the lease.

        Args:
            asked: By whom.
            now: The time of the clock that decides.
            wall: The time since 1970, as far as is known.

        Raises:
            SessionLeasedError: Another has it.
        """
        if self.is_live(now):
            if self.is_mine:
                return self.token
            if not asked.take_over:
                raise leased_error((self.ends_at - now) / _SECOND)
        former = self.token if 0 <= self.token < MOST_TOKEN else 0
        return max(wall, former + 1)


def length_of(asked: AcquireLease | RenewLease) -> int:
    """Give how long a lease is to last, in microseconds."""
    return round(asked.seconds * _SECOND)
