"""`FallbackSessionStore`: goes on when its primary is down, and replays what was written then."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar, overload

from sessionstore._runtime.forks import at_fork
from sessionstore._runtime.frames import without_frames
from sessionstore._runtime.settling import to_its_end
from sessionstore._runtime.tickets import Ticket, ticket
from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.fallback.circuits import Circuits
from sessionstore.fallback.health import Health
from sessionstore.fallback.journal import Journal
from sessionstore.fallback.journal_form import JOURNALS
from sessionstore.fallback.operating import flow_of
from sessionstore.fallback.options import check_options, opened
from sessionstore.fallback.parts import Limits, Parts
from sessionstore.fallback.pending import FallbackStats, PendingWrite
from sessionstore.fallback.recovery import closing, recovering
from sessionstore.fallback.requests import FallbackFlow, asend, send
from sessionstore.flow import aplay, play
from sessionstore.memory import InMemorySessionStore
from sessionstore.operations import Operation
from sessionstore.runner import counted
from sessionstore.store import SessionStore
from sessionstore.wrapper import OuterSessionStore, unwrapped

__all__ = ["FallbackSessionStore"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")


class FallbackSessionStore(OuterSessionStore):
    """A store that goes on when its primary is down, and replays what was written meanwhile.

    While the primary answers, everything is done there, and the last messages of the sessions in
    use are remembered. What the primary can't answer, the fallback does, the call that meets it
    included. The error decides how far that goes:

    - `StoreConnectionError`: the whole store is away. From then on nobody waits for it but one
      caller at a time, who tries it by a ping, in growing intervals. Whoever is answered ends the
      outage, whatever still waits. Where it is read-only, or out of memory
      (`StoreReadOnlyError`), reads go on there, and a write that is taken ends the outage.
    - `StoreTimeoutError`: that *session* is left alone, for a pause that doubles, and no other with
      it: a locked row or a huge history is no outage. The store is given up when the calls of two
      sessions time out one after the other, with no answer to anybody in between.
    - `StoreBusyError`: nothing is given up. The caller is told, and may try again.
    - Any other `StoreUnavailableError`, as of a store that knows nothing of those: as the first.

    A call takes the primary's timeout at most, with what it replays before: past it, the journal
    answers. Where its file is held by another process just then, that may take a second more.

    *Reads* in an outage give what is known of a session, and what was written since. A session
    never seen reads as empty, unless ``unknown="raise"``. A list of sessions is marked `partial`.

    *Writes* in an outage are each one append to a journal in the fallback store: with a fallback
    that lasts, such as a file, they survive a crash, and whoever opens it next takes them over.
    They go to the primary in order, before anything else of their session does:

    - ``append_messages``: behind what the primary holds by then; each message once.
    - ``create``: where the id turns out to be there, for the same owner, the messages are appended
      and the missing metadata is added.
    - ``replace_message``, ``delete_messages``, and ``update`` of metadata: as they are.
    - ``rewind``: as the ``delete_messages`` of the messages that it has deleted, and of no others:
      what others have put behind them stays.
    - ``fork``: as the ``create`` that it amounts to.
    - ``update`` of the messages, and ``delete``: of all that the caller could know of. What others
      have put among and behind it stays, and then so does the session. Of a session that was made
      in the outage, and turns out to have been there, what was before it stays, too; and of a long
      session what is before the last messages that are known, unless it is emptied.
    - Where the primary refuses a write for good (the session has another owner, say), it is set
      aside in `rejected`, and those behind it go on. What it may yet take (its disk is full, say)
      waits on, and is logged; it is set aside, too, when it has failed for a minute (15 where it
      fails by being slow) while the primary took others' writes.
    - What is in `StoreBusyError`'s way waits on. What can't be read in the journal (it is damaged,
      or of a newer version) is set aside, without its operation, and stays in the fallback store.
    - What was replayed is noted in the journal before anything newer goes past it. Where the
      fallback store can't take that note, the session's writes are refused until it can.

    *Refused* in an outage, with `StoreUnavailableError`, is what can't be promised: a write with
    ``expected_version``; a lease, and what carries one; ``update``, ``replace_message``,
    ``delete_messages`` and ``delete`` of what was not seen; ``rewind`` where messages may be behind
    the one that are not known; ``fork`` of what is not all known, or by a user, of a session that
    has no owner; a caller of whom it can't be told whether the session is theirs; messages older
    than those that are known; ``prune_expired``; a write when the journal is full, or the fallback
    store fails. What is larger than the primary's `bounds` is refused as ever. An outage stops the
    clock: what expires in it is shown until it is over.

    A first write to a session never seen is journaled, whoever the caller is: until the outage is
    over, each user of it sees their own writes only. Those of users that turn out not to be its
    owner end in `rejected`.

    *Healthy* means that the primary has answered last; writes of other sessions may still wait, see
    `pending`. Nothing is replayed without a call: in a process that may be idle, call `recover`
    from a timer and at the start, and close the store at the end.

    The journal is read when the store is made, so that `pending` and the first calls know what is
    left from before: nothing in a new fallback in memory; a file may keep the caller waiting, for
    seconds where another process writes to it. Where an event loop runs, make it in a thread.

    Give the fallback store no expiry. Several processes may share one: each replays its own writes,
    and those of processes that are gone. A process on another host is taken for gone when
    its journal was not written to for a minute; if it is not, it notices, and leaves those to the
    other. A call that is cancelled or interrupted takes effect before it comes back to its caller,
    or never will: a crash does not bring it back.

    A forked child has an outage of its own. What waits is its parent's to replay.

    Example:
        >>> from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionMessage
        >>> with FallbackSessionStore(InMemorySessionStore()) as store:
        ...     store.append_messages("s1", [SessionMessage("user", "Hello!")])
        ...     store.is_degraded()
        1
        False

    Args:
        primary: Where the sessions are, `wrapped` from then on. Closed with this store, as the
            fallback is.
        fallback: Where the journal is: ``"in-memory"``, a URL as for `open_store`, or a store.
        on_fallback: Called once an outage, with the error that began it.
        on_recover: Called once an outage, when the primary is back.
        retry_after: How long after a failure the primary is tried again, in seconds. The time
            doubles with each try, up to ``retry_cap``.
        retry_cap: The longest time between two tries, in seconds.
        max_pending: How many writes may wait in the journal.
        max_sessions: Of how many sessions, the last used ones, something is remembered.
        max_messages: How many of the last messages of each; up to twice as many are.
        unknown: What a session never seen is in an outage: ``"empty"``, or ``"raise"`` a
            `StoreUnavailableError`, for those who would rather stop than forget.
        create_parents: With the URL of a file for ``fallback``: make its folder where that is
            missing, for the user alone.

    Raises:
        ValueError: A number is below its least value (0 for the times, 1 for the counts),
            ``retry_after`` is above ``retry_cap``, or ``unknown`` or the URL is not valid.
        TypeError: A number is not one, or a callback can't be called, or is async.
    """

    def __init__(
        self,
        primary: SessionStore,
        *,
        fallback: SessionStore | str = "in-memory",
        on_fallback: Callable[[StoreUnavailableError], None] | None = None,
        on_recover: Callable[[], None] | None = None,
        retry_after: float = 1.0,
        retry_cap: float = 30.0,
        max_pending: int = 10_000,
        max_sessions: int = 1_000,
        max_messages: int = 200,
        unknown: Literal["empty", "raise"] = "empty",
        create_parents: bool = False,
    ) -> None:
        """Wrap the primary, and read what the journal in the fallback holds."""
        check_options(
            on_fallback=on_fallback,
            on_recover=on_recover,
            retry_after=retry_after,
            retry_cap=retry_cap,
            max_pending=max_pending,
            max_sessions=max_sessions,
            max_messages=max_messages,
            unknown=unknown,
        )
        super().__init__(primary, "primary")
        try:
            self._fallback = opened(fallback, create_parents=create_parents)
        except Exception as error:  # noqa: BLE001 - raised again
            fallback = ""  # it may hold a password, and this frame is shown with its variables
            raise without_frames(error)  # noqa: B904 - it is the same
        self._raises_unknown = unknown == "raise"
        self._limits = Limits(max_sessions, max_messages, max_pending)
        self._closed = False
        self._begin(
            Health(retry_after, retry_cap, on_fallback, on_recover, primary),
            Circuits(retry_after, retry_cap),
        )
        self._play(self._parts.adopter.adopt())
        at_fork(in_child=self._start_anew)

    def _begin(self, health: Health, circuits: Circuits) -> None:
        self._parts = Parts.made(
            self._wrapped,
            self._fallback,
            health,
            circuits,
            self._limits,
            raises_unknown=self._raises_unknown,
        )
        # Where it was forgotten to close the store: at the end of the process, or of the object.
        journal = self._parts.journal
        self._finalizer = weakref.finalize(self, _report_lost, journal, self._fallback)

    def _start_anew(self) -> None:
        """In a forked child: what waits is the parent's to replay, and its locks are its own."""
        self._finalizer.detach()
        if isinstance(unwrapped(self._fallback), InMemorySessionStore):
            # A copy of the parent's journals, which will be out of date when the parent is gone.
            with suppress(SessionStoreError):  # it is closed: nobody reads them any more
                _forget_journals(self._fallback)
        self._begin(self._parts.health.fresh(), self._parts.circuits.fresh())

    def __repr__(self) -> str:
        """Tell the stores, and how things stand."""
        state = "degraded" if self.is_degraded() else "healthy"
        pending = self._parts.journal.size
        return f"FallbackSessionStore({self._wrapped!r}, {state}, <{pending} pending>)"

    def _repr_html_(self) -> str:
        """Show a notebook how things stand. No store is asked."""
        from sessionstore.notebook import fallback_html  # noqa: PLC0415 - only a notebook needs it

        return fallback_html(self, self._wrapped, self._fallback, self._parts.journal.kinds())

    # -- How things stand -------------------------------------------------------------------------

    def is_degraded(self) -> bool:
        """Tell whether the primary is away, as far as is known without asking it."""
        return self._parts.health.is_degraded

    def is_clear(self, session_id: str) -> bool:
        """Tell whether nothing keeps a session's operations from the primary. No store is asked.

        Returns:
            Whether the primary is there, is not left alone for this session, and has all that was
            written to it. While another thread writes, the next answer may be another one.
        """
        parts = self._parts
        held = parts.journal.holds(session_id) or session_id in parts.circuits.open
        return not (held or parts.health.is_degraded)

    def has_pending(self, session_id: str | None = None) -> bool:
        """Tell whether something waits for the primary. No store is asked.

        Args:
            session_id: Of this session; ``None`` for what the next operation would replay, or take
                over, of any.

        Returns:
            Whether something does, or the journal does not say yet that it was replayed.
        """
        if session_id is not None:
            return self._parts.journal.holds(session_id)
        return self._parts.journal.has_work or self._parts.adopter.is_due

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session, in order.

        Each of them is decoded: for their number alone, see `stats`.
        """
        return self._parts.journal.pending()

    def rejected(self) -> list[PendingWrite]:
        """Give the writes that were not replayed, with why.

        Those that the primary refused are kept in the fallback store, in its session
        ``sessionstore:rejected``: delete that when you have handled them. One that can't be read
        stays in the session of the fallback store that its `id` begins with, up to the slash.
        """
        return self._parts.journal.rejected.all()

    def stats(self) -> FallbackStats:
        """Give what was counted since this store was made, how things stand, and what happened.

        It asks no store, and is cheap. The primary and the fallback store count for themselves:
        what `wrapped` says of it is what the primary was asked, probes and replays included.
        """
        health, journal = self._parts.health, self._parts.journal
        operations, errors = self._counted()
        return FallbackStats(
            operations=operations,
            errors=errors,
            is_degraded=health.is_degraded,
            degraded_since=health.degraded_since,
            connections=self._wrapped.stats().connections,
            events=health.events.all(),
            fallbacks=health.fallbacks,
            recoveries=health.recoveries,
            probes=health.probes,
            journaled=journal.journaled,
            replayed=journal.replayed,
            rejected=journal.rejected.count,
            seconds_degraded=health.seconds,
            pending=journal.size,
            slow_sessions=len(self._parts.circuits),
        )

    def recover(self) -> bool:
        """Try the primary now, and replay all that waits for it.

        Returns:
            Whether the primary is there, nothing waits for it any more, and the journal says so.
            ``False``, too, where another caller tries just now: nobody waits for them.
        """
        return self._play(recovering(self._parts))

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return await self._aplay(recovering(self._parts))

    def ping(self) -> None:
        """Tell that calls are answered: by the primary or, while that is away, by the fallback.

        For whether the primary is there, as a readiness check may ask, see `is_degraded` and
        `stats`; `recover` tries it now.

        Raises:
            StoreUnavailableError: Neither gave a sign of life.
        """
        super().ping()

    async def aping(self) -> None:
        """Async twin of `ping`."""
        await super().aping()

    def close(self) -> None:
        """Replay what waits, if the primary is there, and close both stores.

        What still waits then in a journal in memory is logged as an error, and is in `pending`.
        """
        try:
            if not self._closed:
                self._closed = True
                play(self._closing(), send)
        finally:
            try:
                self._wrapped.close()
            finally:
                self._fallback.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        try:
            if not self._closed:
                self._closed = True
                await aplay(self._closing(), asend)
        finally:
            try:
                await self._wrapped.aclose()
            finally:
                await self._fallback.aclose()

    def _closing(self) -> FallbackFlow[None]:
        try:
            yield from closing(self._parts)
        finally:
            self._finalizer.detach()

    # -- Carrying out -----------------------------------------------------------------------------

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation: on the primary, or in an outage as far as it can be promised."""
        return self._play(flow_of(self._parts, operation))

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await self._aplay(flow_of(self._parts, operation))

    def _play(self, flow: FallbackFlow[T]) -> T:
        if self._closed:
            raise SessionStoreError("this store is closed")
        call = ticket()
        try:
            return play(flow, send)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: what the caller was not promised must not come later
            self._let_go(call)
            if self._parts.journal.has_voids:
                with suppress(SessionStoreError):
                    play(self._parts.journal.write_voids(), send)
            raise

    async def _aplay(self, flow: FallbackFlow[T]) -> T:
        if self._closed:
            raise SessionStoreError("this store is closed")
        call = ticket()
        try:
            return await aplay(flow, asend)
        except (Exception, GeneratorExit):  # what the collector ends can wait for nothing
            raise
        except BaseException as broken:  # Ctrl-C, or a cancelled caller: as above
            if isinstance(broken, (KeyboardInterrupt, SystemExit)):
                self._let_go(call)
            journal = self._parts.journal
            if journal.has_voids:
                error = await to_its_end(aplay(journal.write_voids(), asend))
                if error is not None and not isinstance(error, SessionStoreError):
                    raise error from None
            raise

    def _let_go(self, call: Ticket) -> None:
        """Let go of all that a call still holds that Ctrl-C broke off, be it in the act of that."""
        parts = self._parts
        parts.cache.settle()
        for part in (parts.health, parts.circuits, parts.replay, parts.journal, parts.adopter):
            part.let_go(call)
        for session_id in parts.cache.pinned():
            parts.journal.end_unless_held(session_id)


def _report_lost(journal: Journal, fallback: SessionStore) -> None:
    if journal.size and isinstance(unwrapped(fallback), InMemorySessionStore):
        msg = "%d writes that the store lacks end here: the fallback was not closed"
        _logger.error(msg, journal.size)


def _forget_journals(fallback: SessionStore) -> None:
    while sessions := fallback.list_sessions(agent_id=JOURNALS).sessions:
        for session in sessions:
            fallback.delete(session.id)
