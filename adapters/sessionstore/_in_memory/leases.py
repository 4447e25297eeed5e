"""`LeaseTable`: the leases of a store in memory, by the clock that nobody sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sessionstore._runtime.clock import steady_microseconds, wall_microseconds
from sessionstore.leases import leased_error, require_lease
from sessionstore.operations import AcquireLease, Fence, ReleaseLease, RenewLease

__all__ = ["LeaseTable"]

_SECOND = 1_000_000
_ROOM = 1_000


class _Held(NamedTuple):
    token: int
    holder: str
    ends: int  # in microseconds of the steady clock


class LeaseTable:
    """Who holds the lease of which session, until when.

    The store's lock is held by whoever calls. Each change is one step, so that Ctrl-C tears none.
    """

    def __init__(self) -> None:
        """Make an empty table."""
        self._held: dict[str, _Held] = {}
        self._newest, self._crowded = 0, _ROOM

    def acquire(self, operation: AcquireLease) -> int:
        """Take a lease, and give its token.

        Raises:
            SessionLeasedError: Another holds it.
        """
        now, session_id = steady_microseconds(), operation.session_id
        held = self._held.get(session_id)
        ends = now + round(operation.seconds * _SECOND)
        if held is not None and held.ends > now:
            if held.holder == operation.holder:
                self._held[session_id] = held._replace(ends=ends)
                return held.token
            if not operation.take_over:
                raise leased_error((held.ends - now) / _SECOND)
        if len(self._held) >= self._crowded:
            self.drop_expired()
            self._crowded = max(_ROOM, 2 * len(self._held))
        # One count for all sessions: so none has to be remembered to the end of time.
        self._newest = max(wall_microseconds(), self._newest + 1)
        self._held[session_id] = _Held(self._newest, str(operation.holder), ends)
        return self._newest

    def renew(self, operation: RenewLease) -> None:
        """Have a lease last longer.

        Raises:
            SessionLeasedError: It was lost.
        """
        now, held = steady_microseconds(), self._held.get(operation.session_id)
        require_lease(held is not None and held.token == operation.token and held.ends > now)
        ends = now + round(operation.seconds * _SECOND)
        self._held[operation.session_id] = held._replace(ends=ends)  # type: ignore[union-attr]

    def release(self, operation: ReleaseLease) -> bool:
        """Give a lease back, and tell whether it was held until then."""
        held = self._held.get(operation.session_id)
        if held is None or held.holder != operation.holder:
            return False
        self._held.pop(operation.session_id, None)
        return held.ends > steady_microseconds()

    def check(self, operation: Fence) -> None:
        """Refuse who has lost a lease.

        Raises:
            SessionLeasedError: It was lost.
        """
        held = self._held.get(operation.session_id)
        require_lease(
            held is not None and held.token == operation.token and held.ends > steady_microseconds()
        )

    def forget(self, session_ids: Iterable[str]) -> int:
        """Have nobody hold the leases of some sessions; give how many there were."""
        before = len(self._held)
        for session_id in session_ids:
            self._held.pop(session_id, None)
        return before - len(self._held)

    def drop_expired(self) -> None:
        """Forget the leases that have run out."""
        now = steady_microseconds()
        for session_id, held in dict(self._held).items():
            if held.ends <= now:
                self._held.pop(session_id, None)
