"""The lease of a turn: renewed while the turn runs, given back as it ends."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import TimeoutError  # noqa: A004 - on Python 3.10 another one
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from langchain_sessionstore.leases.modes import TurnTerms
from langchain_sessionstore.leases.renewing import Renewer, renewer_of
from sessionstore import SessionLeasedError, SessionStore, SessionStoreError, StoreUnavailableError
from sessionstore.leases import Lease
from sessionstore.models import new_id
from sessionstore.operations import Fence

__all__ = ["RenewedLease"]

_logger = logging.getLogger("sessionstore")
# In seconds: so long is a session held by a turn whose process was killed.
_TURN_SECONDS = 60.0
_RENEWED_EACH, _TRIED_AGAIN_EACH = 1 / 3, 1 / 30  # of that


class RenewedLease:
    """The lease of a session, as one turn has it.

    Attributes:
        store: Where the session is.
        session_id: The session.
        holder: Who holds the lease.
        due: When it is to be renewed, by `time.monotonic`.
        is_held: Whether it was taken and not given back. It may have been lost since.
        has_waited: Whether another turn held it at first.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        user_id: str | None,
        terms: TurnTerms,
        holder: str | None = None,
        *,
        is_resumable: bool = False,
    ) -> None:
        """Prepare it; nothing is asked yet.

        Args:
            store: Where the session is.
            session_id: The session.
            user_id: The caller.
            terms: On which terms it is taken.
            holder: Who takes it; ``None`` for somebody new.
            is_resumable: Whether the turn may be gone on with when nothing holds this any more.
        """
        self.store: SessionStore = store
        self.session_id: str = session_id
        self.holder: str = holder or new_id()
        self.due: float = math.inf
        self.is_held: bool = False
        self.has_waited: bool = False
        self._user_id, self._terms, self._is_resumable = user_id, terms, is_resumable
        self._lease = self._new(wait=0)
        self._renewer: Renewer = renewer_of(store)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._renewed = 0.0
        self._users, self._lock = 0, Lock()

    def fence(self, user_id: str | None) -> Fence:
        """Give the operation that stands before writes, so that they are under the lease.

        Args:
            user_id: Their caller.

        Returns:
            The operation.
        """
        return self._lease.fence(user_id)

    # -- Taken, and given back --------------------------------------------------------------------

    def take(self) -> None:
        """Take the lease, or wait for it.

        Raises:
            SessionLeasedError: Another turn holds it, and did to the end of the wait.
        """
        try:
            lease = self._new(wait=0)
            try:
                lease.__enter__()
            except SessionLeasedError:
                if not self._terms.wait:
                    raise
                self.has_waited, lease = True, self._new(self._terms.wait)
                lease.__enter__()
        except SessionLeasedError as held:
            raise self._refusal(held) from held
        self._taken(lease)

    async def atake(self) -> None:
        """Async twin of `take`."""
        try:
            lease = self._new(wait=0)
            try:
                await lease.__aenter__()
            except SessionLeasedError:
                if not self._terms.wait:
                    raise
                self.has_waited, lease = True, self._new(self._terms.wait)
                await lease.__aenter__()
        except SessionLeasedError as held:
            raise self._refusal(held) from held
        self._loop = asyncio.get_running_loop()
        self._taken(lease)

    def give_back(self) -> None:
        """Give the lease back, where it is held; one that was lost is no error."""
        if self._ends():
            self._lease.release()

    async def agive_back(self) -> None:
        """Async twin of `give_back`: it is given back also where the caller is cancelled."""
        if self._ends() and _has_loop():  # without one a dropped stream is collected
            await self._lease.arelease()

    def _new(self, wait: float) -> Lease:
        return Lease(
            self.store,
            self.session_id,
            seconds=_TURN_SECONDS,
            wait=wait,
            user_id=self._user_id,
            take_over=self._terms.takes_over,
            holder=self.holder,
        )

    def _taken(self, lease: Lease) -> None:
        self._lease, self.is_held = lease, True
        self._note_renewal(time.monotonic())
        if not self._is_resumable:
            self._hold()

    def _hold(self) -> None:
        if self.is_here:
            back = None if self._is_resumable else partial(_give_back, self._lease, self._loop)
            self._renewer.hold(self, back)

    def _ends(self) -> bool:
        """Tell whether there is something to be given back; a forked child leaves it its parent."""
        if not self.is_held or not self.is_here:
            return False
        self.is_held = False
        self._renewer.drop(self.holder)
        return True

    @property
    def is_here(self) -> bool:
        """Whether this process took it, or will: a forked child has none of its parent's leases."""
        return self._process == os.getpid()

    def _refusal(self, held: SessionLeasedError) -> SessionLeasedError:
        runs = f"still runs after turn_wait={self._terms.wait:g} s" if self._terms.wait else "runs"
        left = f" for another {held.seconds_left:.0f} s" if held.seconds_left else ""
        error = SessionLeasedError(
            f"another turn of this session {runs}, and holds its lease{left} unless it is "
            "renewed or given back: nothing has run; try again later"
        )
        error.seconds_left = held.seconds_left
        return error

    # -- Renewals ---------------------------------------------------------------------------------

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease meanwhile; several may run this at once.

        Yields:
            While it is renewed.
        """
        self._count(1)
        try:
            self._hold()
            yield
        finally:
            if not self._count(-1) and self._is_resumable and self.is_here:
                self._renewer.drop(self.holder)

    def _count(self, more: int) -> int:
        with self._lock:
            self._users += more
            return self._users

    @property
    def is_in_use(self) -> bool:
        """Whether it is being renewed."""
        return self._users > 0

    @property
    def is_due(self) -> bool:
        """Whether it is to be renewed."""
        return self.due <= time.monotonic()

    def renew_when_due(self) -> None:
        """Renew the lease, in a thread; where the store is away, try again while it may last."""
        asked = time.monotonic()
        try:
            self._renew()
        except SessionLeasedError:
            self.due = math.inf  # the next write says so
        except (SessionStoreError, TimeoutError) as error:
            self._try_again(asked, error)
        else:
            self._note_renewal(asked)

    def renew_now(self) -> None:
        """Renew the lease, if the store can be reached.

        Raises:
            SessionLeasedError: It was lost.
        """
        asked = time.monotonic()
        try:
            self._lease.renew()
        except SessionLeasedError:
            self._renewer.drop(self.holder)
            raise
        except StoreUnavailableError as error:
            self._try_again(asked, error)
        else:
            self._note_renewal(asked)

    async def arenew_now(self) -> None:
        """Async twin of `renew_now`."""
        asked = time.monotonic()
        try:
            await self._lease.arenew()
        except SessionLeasedError:
            self._renewer.drop(self.holder)
            raise
        except StoreUnavailableError as error:
            self._try_again(asked, error)
        else:
            self._note_renewal(asked)

    def _renew(self) -> None:
        try:
            self._lease.renew()
        except (TypeError, NotImplementedError):  # of a store that is async only
            _run_in(self._loop, self._lease.arenew, self._lease.seconds * _RENEWED_EACH)

    def _note_renewal(self, asked: float) -> None:
        self._renewed, self.due = asked, asked + self._lease.seconds * _RENEWED_EACH

    def _try_again(self, asked: float, error: Exception) -> None:
        if asked < self._renewed + self._lease.seconds:
            self.due = asked + self._lease.seconds * _TRIED_AGAIN_EACH
            return
        self.due = math.inf
        _logger.warning(
            "the lease of session %r ran out while it could not be renewed: %s",
            self.session_id,
            error,
        )


def _give_back(lease: Lease, loop: asyncio.AbstractEventLoop | None) -> None:
    try:
        lease.release()
    except (TypeError, NotImplementedError):  # of a store that is async only
        _run_in(loop, lease.arelease, lease.seconds * _RENEWED_EACH)


def _run_in(
    loop: asyncio.AbstractEventLoop | None,
    work: Callable[[], Coroutine[Any, Any, None]],
    seconds: float,
) -> None:
    """Run something in an event loop, for another thread."""
    if loop is None or loop.is_closed():
        raise RuntimeError("the event loop of the turn is closed, and its store has no other way")
    running = asyncio.run_coroutine_threadsafe(work(), loop)
    try:
        running.result(seconds)
    finally:
        running.cancel()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
