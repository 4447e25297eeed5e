"""`Lease`: one turn of a session at a time, and no late write of one that was lost."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from sessionstore._runtime.settling import ended
from sessionstore.arguments import checked_wait
from sessionstore.errors import (
    InvalidSessionError,
    InvalidTypeError,
    OutageError,
    SessionLeasedError,
    SessionStoreError,
)
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import new_id
from sessionstore.operations import AcquireLease, Fence, Operation, ReleaseLease, RenewLease
from sessionstore.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Lease", "arun_under", "leased_error", "require_lease", "run_under"]

T = TypeVar("T")

_logger = logging.getLogger("sessionstore")
# In seconds: between two tries of somebody who waits for a lease, at first and at last.
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25


class Lease:
    """The lease of one session: what `SessionStore.lease` gives, to be entered by ``with``.

    It is taken on entering, ``async with`` too, and given back on leaving. In between nobody else
    has it, unless it runs out or is taken over: it is never renewed by itself. A write that carries
    it (``lease=``) then raises `SessionLeasedError` and writes nothing; one that carries none is
    not held up by a lease. So of two who answer the same user at once, one waits or is refused, and
    one that was stopped for too long can't write over what came after it.

    A lease that was lost is left without an error, and so is one that can't be given back because
    the store is away: it runs out by itself. So does one whose taking got no answer in time, unless
    this same one is entered again.

    Example:
        >>> from sessionstore import InMemorySessionStore
        >>> store = InMemorySessionStore()
        >>> with store.lease("s1", seconds=30) as lease:
        ...     store.append_message("s1", {"role": "user", "content": "Hello!"}, lease=lease)
        1

    Args:
        store: What carries operations out.
        session_id: The session.
        seconds: How long it lasts.
        wait: How long to wait for it, in seconds.
        user_id: The caller, where ownership is to be checked.
        take_over: Take it from whoever holds it.
        holder: Who takes it: whoever names the same holder has the same lease. A new one is made at
            each entering where none is given.

    Attributes:
        session_id: As given.
        seconds: As given.

    Raises:
        InvalidSessionError: One of these is not valid.
    """

    def __init__(
        self,
        store: Runner,
        session_id: str,
        *,
        seconds: float = 60,
        wait: float = 0,
        user_id: str | None = None,
        take_over: bool = False,
        holder: str | None = None,
    ) -> None:
        """Prepare a lease; nothing is asked yet."""
        self._store = store
        self._wait, self._holder = checked_wait(wait), holder
        acquire = AcquireLease(session_id, seconds, user_id, take_over, holder)
        self._acquire, self._token = acquire, 0
        self._entered = self._in_doubt = False
        self.session_id: str = acquire.session_id
        self.seconds: float = acquire.seconds

    def __repr__(self) -> str:
        """Tell which session it is of, and its token."""
        return f"Lease({self.session_id!r}, token={self._token or None})"

    @property
    def token(self) -> int:
        """What proves the lease: larger than those of all earlier leases of the session.

        Give it to other systems that are to refuse who comes late, or to `Fence`.

        Raises:
            InvalidSessionError: The lease was not taken yet.
        """
        if not self._token:
            raise InvalidSessionError("the lease was not taken yet: enter it by with or async with")
        return self._token

    def fence(self, user_id: str | None = None) -> Fence:
        """Give the operation that stands before others in a list, to have them carry the lease.

        Args:
            user_id: The caller of the others.

        Raises:
            InvalidSessionError: The lease was not taken yet, or ``user_id`` is not valid.
        """
        return Fence(self.session_id, self.token, user_id)

    def renew(self) -> None:
        """Have the lease last another ``seconds`` from now.

        Raises:
            SessionLeasedError: It was lost: it ran out, was taken over or given back.
            SessionAccessError: The session has come to belong to another user.
            OutageError: The store is away, and a fallback can't promise it.
        """
        self._store.run(self._renewal())

    async def arenew(self) -> None:
        """Async twin of `renew`."""
        await self._store.arun(self._renewal())

    def release(self) -> None:
        """Give the lease back, as leaving the block does; one that was lost is no error."""
        try:
            self._give_back()
        except BaseException:  # Ctrl-C: it may be held yet, and nobody else would give it back
            self._give_back()
            raise

    async def arelease(self) -> None:
        """Async twin of `release`: however often the caller is cancelled, it is given back."""
        releasing = asyncio.ensure_future(self._agive_back())
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            # anyio's scopes, such as Starlette's, cancel again and again: no wait would end else.
            await ended(releasing)
            raise

    def _give_back(self) -> None:
        self._entered = False
        try:
            self._store.run(self._release())
        except SessionStoreError as error:
            self._note(error)

    async def _agive_back(self) -> None:
        self._entered = False
        try:
            await self._store.arun(self._release())
        except SessionStoreError as error:
            self._note(error)

    def __enter__(self) -> Self:
        """Take the lease.

        Raises:
            SessionLeasedError: Another holds it, and did to the end of the wait.
            SessionAccessError: The session belongs to another user.
            OutageError: The store is away, and a fallback can't promise it.
            InvalidSessionError: It is entered already: each turn needs a lease of its own.
        """
        self._enter()
        try:
            self._token = play(self._entering(), self._send)
        except SessionStoreError:
            self._entered, self._in_doubt = False, True
            raise
        except BaseException:  # cancelled or interrupted: it may have been taken
            self.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lease back."""
        self.release()

    async def __aenter__(self) -> Self:
        """Take the lease; as ``with`` does."""
        self._enter()
        try:
            self._token = await aplay(self._entering(), self._asend)
        except SessionStoreError:
            self._entered, self._in_doubt = False, True
            raise
        except BaseException:  # cancelled or interrupted: it may have been taken
            await self.arelease()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lease back."""
        await self.arelease()

    def _enter(self) -> None:
        if self._entered:
            raise InvalidSessionError("this lease is entered already: call store.lease for another")
        self._entered = True
        if not self._in_doubt:  # else this asks again for what it may have been given unheard
            self._acquire = replace(self._acquire, holder=self._holder or new_id())
        self._in_doubt = False

    def _entering(self) -> Flow[AcquireLease | float, Any, int]:
        """Ask for the lease until it is free or the wait is over; a number is a pause."""
        ends, longest = time.monotonic() + self._wait, _FIRST_PAUSE
        while True:
            try:
                token: int = yield self._acquire
            except SessionLeasedError as held:
                left = ends - time.monotonic()
                if left <= 0:
                    raise
                frees = held.seconds_left
            else:
                return token
            pause = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
            yield max(0.0, min(pause, left, pause if frees is None else frees))
            longest = min(2 * longest, _LAST_PAUSE)

    def _send(self, request: AcquireLease | float) -> Any:
        if isinstance(request, AcquireLease):
            return self._store.run(request)
        return time.sleep(request)

    async def _asend(self, request: AcquireLease | float) -> Any:
        if isinstance(request, AcquireLease):
            return await self._store.arun(request)
        return await asyncio.sleep(request)

    def _renewal(self) -> RenewLease:
        return RenewLease(self.session_id, self.token, self.seconds, self._acquire.user_id)

    def _release(self) -> ReleaseLease:
        acquire = self._acquire
        return ReleaseLease(acquire.session_id, str(acquire.holder), acquire.user_id)

    def _note(self, error: SessionStoreError) -> None:
        # Of an outage the fallback has told, once for all who meet it.
        level = logging.INFO if isinstance(error, OutageError) else logging.WARNING
        _logger.log(
            level,
            "the lease of session %r was not given back, and runs out by itself: %s",
            self.session_id,
            error,
        )


def run_under(store: Runner, lease: Lease | None, operation: Operation[T]) -> T:
    """Carry an operation out in the step in which it is seen that a lease is still held.

    Args:
        store: What carries it out.
        lease: The lease; ``None`` where the operation carries none.
        operation: The operation.

    Raises:
        SessionLeasedError: The lease was lost; nothing was written.
        InvalidSessionError: It is of another session, or was not taken yet.
    """
    if lease is None:
        return store.run(operation)
    result: T = store.run(_fenced(lease, operation))[1]
    return result


async def arun_under(store: Runner, lease: Lease | None, operation: Operation[T]) -> T:
    """Async twin of `run_under`."""
    if lease is None:
        return await store.arun(operation)
    result: T = (await store.arun(_fenced(lease, operation)))[1]
    return result


def _fenced(lease: Lease, operation: Any) -> list[Operation[Any]]:
    if not isinstance(lease, Lease):
        kind = type(lease).__name__
        raise InvalidTypeError(f"lease must be what store.lease(…) gave, or None; not {kind}")
    if lease.session_id != operation.session_id:
        raise InvalidSessionError(
            f"the lease is of session {lease.session_id!r}, not {operation.session_id!r}"
        )
    return [lease.fence(operation.user_id), operation]


def leased_error(seconds_left: float) -> SessionLeasedError:
    """Make the error of who asks for a lease that another holds.

    Args:
        seconds_left: How long that lasts yet, unless it is renewed.
    """
    left = max(0.0, seconds_left)
    error = SessionLeasedError(
        f"the session is leased for another {left:.3f} s, unless that is renewed: "
        "wait for it (wait=…), or take it over (take_over=True)"
    )
    error.seconds_left = left
    return error


def require_lease(held: object) -> None:
    """Refuse who has lost their lease.

    A store asks this in the same atomic step as the work.

    Args:
        held: Whether it is still theirs.

    Raises:
        SessionLeasedError: It is not.
    """
    if not held:
        raise SessionLeasedError(
            "the lease was lost: it ran out, was taken over, or given back; nothing was written"
        )
