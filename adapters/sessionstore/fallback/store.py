"""`FallbackSessionStore`: goes on when its primary is down, and puts everything back."""

from __future__ import annotations

import inspect
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from sessionstore._flow_store import FlowStore
from sessionstore._runtime.call_deadline import called_by, until
from sessionstore._runtime.frames import without_frames
from sessionstore._runtime.settling import to_its_end
from sessionstore._runtime.tickets import Ticket, is_within, ticket
from sessionstore.backends import open_backend
from sessionstore.bounds import StoreBounds
from sessionstore.errors import (
    OutageError,
    SessionStoreError,
    StoreBusyError,
    StoreUnavailableError,
)
from sessionstore.fallback.adoption import adopt_all
from sessionstore.fallback.cache import SessionCache, encoded_messages
from sessionstore.fallback.circuits import Circuits
from sessionstore.fallback.health import PING, Health, Permit
from sessionstore.fallback.journal import JOURNALS, Journal
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.learning import learn_messages, learn_session, learn_write
from sessionstore.fallback.replay import Replay
from sessionstore.fallback.triage import Triage
from sessionstore.fallback.writes import PendingWrite
from sessionstore.flow import Flow, aplay, play
from sessionstore.memory import InMemorySessionStore
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    encode_message,
    new_id,
)
from sessionstore.operations import Get, GetMessages, ListSessions, Operation, Ping, Prune
from sessionstore.store import SessionStore

__all__ = ["FallbackSessionStore", "FallbackStats", "check_options", "opened"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")

_TRIES = 10
# In seconds: what the fallback has at least, where the primary's timeout is not shorter.
_LEAST = 1.0
# Of a call's time, when nothing more is begun that it does not need.
_CHORES_END = 0.75
_ADOPT_AGAIN = 61.0  # seconds: by then it can be told whether others have abandoned a journal


class FallbackStats(msgspec.Struct, frozen=True):
    """What a `FallbackSessionStore` has done so far.

    Attributes:
        fallbacks: How often the primary was given up.
        recoveries: How often it came back.
        probes: How often it was tried in between.
        journaled: Writes taken in for it.
        replayed: Writes put back into it.
        rejected: Writes that were set aside.
        seconds_degraded: For how long it was away, in all.
        pending: Writes that wait for it now, or are on their way into the journal. Cheap, where
            `FallbackSessionStore.pending` decodes each of them.
        slow_sessions: Sessions that the primary did not answer for in time, and that are left
            alone now, each by itself.
    """

    fallbacks: int = 0
    recoveries: int = 0
    probes: int = 0
    journaled: int = 0
    replayed: int = 0
    rejected: int = 0
    seconds_degraded: float = 0.0
    pending: int = 0
    slow_sessions: int = 0


class FallbackSessionStore(FlowStore):
    """A store that goes on when its primary is down, and puts everything back when it returns.

    While the primary answers, everything is done there, and the last messages of the sessions in
    use are remembered. What the primary can't answer, the fallback does, the call that meets it
    included. How far that goes is told by the error:

    - `StoreConnectionError`: the whole store is away. From then on nobody waits for it but one
      caller at a time, who tries it by a ping, in growing intervals. Whoever is answered ends the
      outage, whatever still waits. Where it is read-only, or out of memory
      (`StoreReadOnlyError`), reads go on there, and a write that is taken ends the outage.
    - `StoreTimeoutError`: that *session* is left alone, for a pause that doubles, and no other with
      it: a locked row or a huge history is no outage. The store is given up when the calls of two
      sessions time out one after the other, with no answer to anybody in between.
    - `StoreBusyError`: nothing is given up. The caller is told, and may try again.
    - Any other `StoreUnavailableError`, as of a store that knows nothing of those: as the first.

    A call takes the primary's timeout at most, with what it puts back before: past it, the journal
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
    - ``update`` of the messages, and ``delete``: of all that the caller could know of. What others
      have put among and behind it stays, and then so does the session. Of a session that was made
      in the outage, and turns out to have been there, what was before it stays, too; and of a long
      session what is before the last messages that are known, unless it is emptied.
    - Where the primary refuses a write for good (the session has another owner, say), it is set
      aside in `rejected`, and those behind it go on. What it may yet take (its disk is full, say)
      waits on, and is logged; it is set aside, too, when it has failed for a minute (15 where it
      fails by being slow) while the primary took others' writes.
    - What is in `StoreBusyError`'s way waits on. What can't be read in the journal (it is damaged,
      or of a newer version) is set aside, as ``"unreadable"``, and stays in the fallback store.
    - What was put back is noted in the journal before anything newer goes past it. Where the
      fallback store can't take that note, the session's writes are refused until it can.

    *Refused* in an outage, with `StoreUnavailableError`, is what can't be promised: a write with
    ``expected_version``; ``update``, ``replace_message``, ``delete_messages`` and ``delete`` of
    what was not seen; a caller of whom it can't be told whether the session is theirs; messages
    older than those that are known; ``prune_expired``; a write when the journal is full, or the
    fallback store fails. What is larger than the primary's `bounds` is refused as ever. An outage
    stops the clock: what expires in it is shown until it is over.

    A first write to a session never seen is taken in, whoever the caller is: until the outage is
    over, each user of it sees their own writes only. Those of users that turn out not to be its
    owner end in `rejected`.

    *Healthy* means that the primary has answered last; writes of other sessions may still wait, see
    `pending`. Nothing is put back without a call: in a process that may be idle, call `recover`
    from a timer and at the start, and close the store at the end.

    The journal is read when the store is made, so that `pending` and the first calls know what is
    left from before: nothing in a new fallback in memory; a file may keep the caller waiting, for
    seconds where another process writes to it. Where an event loop runs, make it in a thread.

    Give the fallback store no expiry. Several processes may share one: each puts its own writes
    back, and those of processes that are gone. A process on another host is taken for gone when
    its journal was not written to for a minute; if it is not, it notices, and leaves those to the
    other. A call that is cancelled or interrupted takes effect before it comes back to its caller,
    or never will: a crash does not bring it back.

    A forked child has an outage of its own. What waits is its parent's to put back.

    Example:
        >>> from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionMessage
        >>> with FallbackSessionStore(InMemorySessionStore()) as store:
        ...     store.append_messages("s1", [SessionMessage("user", "Hello!")])
        ...     store.is_degraded()
        1
        False

    Args:
        primary: Where the sessions are. Closed with this store, as the fallback is.
        fallback: Where the journal is: ``"in-memory"``, a URL as for `open_store`, or a store.
        on_fallback: Called once an outage, with the error that began it.
        on_recover: Called once an outage, when the primary is back.
        retry_after: How long after a failure the primary is tried again, in seconds. The time
            doubles with each try, up to ``retry_cap``.
        retry_cap: The longest time between two tries, in seconds.
        max_pending: How many writes the journal takes in.
        max_sessions: Of how many sessions, the last used ones, something is remembered.
        max_messages: How many of the last messages of each; up to twice as many are.
        unknown: What a session never seen is in an outage: ``"empty"``, or ``"raise"`` a
            `StoreUnavailableError`, for those who would rather stop than forget.

    Raises:
        ValueError: A number is below its least value (0 for the times, 1 for the counts), or
            ``unknown`` or the URL is none of what it may be.
        TypeError: A number is none, or a callback can't be called, or is async.
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
        if not isinstance(primary, SessionStore):
            raise TypeError(f"primary must be a store, such as open_store(url), {_not(primary)}")
        self._primary = primary
        try:
            self._fallback = opened(fallback)
        except Exception as error:  # noqa: BLE001 - raised again
            fallback = ""  # it may hold a password, and this frame is shown with its variables
            raise without_frames(error)  # noqa: B904 - it is the same
        self._unknown = unknown
        self._health = Health(retry_after, retry_cap, on_fallback, on_recover, primary)
        self._circuits = Circuits(retry_after, retry_cap)
        self._bounds = (max_sessions, max_messages, max_pending)
        self._closed = False
        self._begin()
        self._play(self._adopt())
        _stores.add(self)

    def _begin(self) -> None:
        max_sessions, max_messages, max_pending = self._bounds
        self._cache = SessionCache(max_sessions, max_messages)
        self._journal = Journal(self._fallback, max_pending, self._cache.unpin)
        self._triage = Triage(self._primary, self._health, self._circuits)
        self._replay = Replay(self._primary, self._journal, self._triage)
        self._adopt_at: float | None = None
        self._adopter: Ticket | None = None
        self._outage = f"outage-{new_id()}:"
        # Where it was forgotten to close the store: at the end of the process, or of the object.
        self._farewell = weakref.finalize(self, _report_lost, self._journal, self._fallback)

    def _begin_anew(self) -> None:
        """In a forked child: what waits is the parent's to put back, and its locks are its own."""
        self._health, self._circuits = self._health.anew(), self._circuits.anew()
        self._farewell.detach()
        if isinstance(self._fallback, InMemorySessionStore):
            # A copy of the parent's journals, which will be out of date when the parent is gone.
            with suppress(SessionStoreError):  # it is closed: nobody reads them any more
                _forget_journals(self._fallback)
        self._begin()

    def __repr__(self) -> str:
        """Tell the stores, and how things stand."""
        state = "degraded" if self.is_degraded() else "healthy"
        return f"FallbackSessionStore({self._primary!r}, {state}, <{self._journal.size} pending>)"

    def _repr_html_(self) -> str:
        """Show a notebook how things stand. No store is asked."""
        from sessionstore.notebook import fallback_html  # noqa: PLC0415 - only a notebook needs it

        return fallback_html(self, self._primary, self._fallback, self._journal.kinds())

    # -- How things stand -------------------------------------------------------------------------

    @property
    def timeout(self) -> float | None:
        """How long the primary may keep a call waiting: past it the fallback answers."""
        return self._primary.timeout

    @property
    def bounds(self) -> StoreBounds:
        """The largest write that the primary takes, and so the journal, too."""
        return self._primary.bounds

    def is_degraded(self) -> bool:
        """Tell whether the primary is away, as far as is known without asking it."""
        return self._health.is_degraded

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session, in order.

        Each of them is decoded: for their number alone, see `stats`.
        """
        return self._journal.pending()

    def rejected(self) -> list[PendingWrite]:
        """Give the writes that were not put back, with why.

        Those that the primary refused are kept in the fallback store, in its session
        ``sessionstore:rejected``: delete that when they have been seen to. One that can't be read
        stays in the session of the fallback store that its `id` begins with, up to the slash.
        """
        return self._journal.rejected()

    def stats(self) -> FallbackStats:
        """Give the counts since this store was made, and how many writes wait. It is cheap."""
        health, journal = self._health, self._journal
        return FallbackStats(
            fallbacks=health.fallbacks,
            recoveries=health.recoveries,
            probes=health.probes,
            journaled=journal.journaled,
            replayed=journal.replayed,
            rejected=journal.refused,
            seconds_degraded=health.seconds,
            pending=journal.size,
            slow_sessions=len(self._circuits),
        )

    def recover(self) -> bool:
        """Try the primary now, and put back all that waits for it.

        Returns:
            Whether the primary is there, nothing waits for it any more, and the journal says so.
            ``False``, too, where another caller tries just now: nobody waits for them.
        """
        return self._play(self._recovering())

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return await self._aplay(self._recovering())

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
        """Put back what waits, if the primary is there, and close both stores.

        What still waits then in a journal in memory is logged as an error, and is in `pending`.
        """
        try:
            play(self._closing(), _send)
        finally:
            try:
                self._primary.close()
            finally:
                self._fallback.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        try:
            await aplay(self._closing(), _asend)
        finally:
            try:
                await self._primary.aclose()
            finally:
                await self._fallback.aclose()

    # -- Carrying out: a request is a store and an operation --------------------------------------

    def _play(self, flow: Flow[T]) -> T:
        self._refuse_closed()
        call = ticket()
        try:
            return play(flow, _send)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: what the caller was not promised must not come later
            self._give_back(call)
            if self._journal.has_voids:
                with suppress(SessionStoreError):
                    play(self._journal.write_voids(), _send)
            raise

    async def _aplay(self, flow: Flow[T]) -> T:
        self._refuse_closed()
        try:
            return await aplay(flow, _asend)
        except Exception:
            raise
        except BaseException:  # a cancelled caller: as above
            if self._journal.has_voids:
                error = await to_its_end(aplay(self._journal.write_voids(), _asend))
                if error is not None and not isinstance(error, SessionStoreError):
                    raise error from None
            raise

    def _give_back(self, call: Ticket) -> None:
        """Let go of all that a call still holds that Ctrl-C broke off, be it in the act of that."""
        self._health.give_back(call)
        self._circuits.give_back(call)
        self._replay.give_back(call)
        self._journal.give_back(call)
        if is_within(self._adopter, call):
            self._adopter = None
        for session_id in self._cache.pinned():
            if not self._journal.holds(session_id):
                self._cache.unpin(session_id)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionStoreError("this store is closed")

    # -- The operations ---------------------------------------------------------------------------

    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        write = PendingWrite(
            kind="create",
            session_id=session_id,
            agent_id=agent_id,
            user_id=user_id,
            messages=list(messages),
            metadata=metadata,
        )
        return self._write(write)

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        ask = Get(session_id, limit, user_id)
        stamp = self._cache.stamp(session_id)

        def learn(data: SessionData | None) -> None:
            whole = data is not None and len(data.messages) == data.message_count
            learn_session(self._cache, session_id, data, stamp, whole=whole)

        return self._operate(session_id, ask, learn, lambda: self._recall(session_id, user_id, ask))

    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> Flow[list[SessionMessage]]:
        at_end = before is None and after is None
        if at_end and (limit is None or not keep_system):
            # The whole session tells its owner and its version, too.
            data = yield from self._get(session_id, limit=limit, user_id=user_id)
            return data.messages if data else []

        ask = GetMessages(session_id, limit, before, after, user_id, keep_system)
        stamp = self._cache.stamp(session_id)

        def learn(messages: list[SessionMessage]) -> None:
            if at_end and limit and messages:
                learn_messages(self._cache, ask, messages, stamp)

        return (
            yield from self._operate(
                session_id, ask, learn, lambda: self._recall(session_id, user_id, ask)
            )
        )

    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        write = PendingWrite(
            kind="append",
            session_id=session_id,
            agent_id=agent_id,
            user_id=user_id,
            messages=list(messages),
        )
        return self._write(write, expected_version)

    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        return self._write(
            PendingWrite(kind="replace", session_id=session_id, user_id=user_id, messages=[message])
        )

    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        write = PendingWrite(
            kind="remove", session_id=session_id, user_id=user_id, message_ids=list(message_ids)
        )
        return self._write(write, expected_version)

    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        write = PendingWrite(
            kind="update",
            session_id=session_id,
            user_id=user_id,
            messages=None if messages is None else list(messages),
            metadata=metadata,
        )
        return self._write(write, expected_version)

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        return self._write(PendingWrite(kind="delete", session_id=session_id, user_id=user_id))

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        ask = ListSessions(agent_id, user_id, limit, cursor)

        def recall() -> Flow[SessionPage]:
            if cursor is not None and not cursor.startswith(self._outage):
                raise StoreUnavailableError("this page can't be read until the store is back")
            yield from ()
            after = cursor and cursor[len(self._outage) :]
            page = self._cache.run(ListSessions(agent_id, user_id, limit, after))
            return SessionPage(
                page.sessions, page.cursor and self._outage + page.cursor, partial=True
            )

        if cursor is not None and cursor.startswith(self._outage):  # a list that began in one
            return (yield from recall())
        page = yield from self._operate(None, ask, _nothing, recall)
        return replace(page, partial=True) if self._journal.size else page

    def _prune_expired(self) -> Flow[int]:
        def refuse() -> Flow[int]:
            yield from ()
            raise StoreUnavailableError("nothing can be pruned until the store is back")

        return self._operate(None, Prune(), _nothing, refuse)

    def _ping(self) -> Flow[None]:
        def ask_fallback() -> Flow[None]:
            yield self._fallback, Ping()

        return self._operate(PING, Ping(), _nothing, ask_fallback)

    # -- Whom to ask ------------------------------------------------------------------------------

    def _operate(
        self,
        session_id: str | None,
        ask: Operation[T],
        learn: Callable[[T], None],
        answer: Callable[[], Flow[T]],
        *,
        writes: bool = False,
    ) -> Flow[T]:
        """Ask the primary, where that may answer; else, or if it does not, answer."""
        permit = self._health.permit(reads=not writes)
        if permit is None:
            return (yield from self._answered(answer, time.monotonic()))
        if not self._circuits.enter(session_id):
            self._health.end(permit)
            return (yield from self._answered(answer, time.monotonic()))
        started, deadline = time.monotonic(), None
        try:
            ready = True
            if permit.is_probe or (session_id is not None and self._journal.holds(session_id)):
                deadline = self._triage.deadline()
                ready = yield from self._make_ready(session_id, permit, deadline)
                started = time.monotonic()
            if ready:
                result: T = yield self._primary, ask, deadline
                self._triage.heard(session_id)
                learn(result)
                if permit.is_probe or self._has_chores():
                    yield from self._tidy(permit, started, wrote=writes)
                return result
        except (StoreBusyError, OutageError):  # it is there, and this is the caller's to know
            self._triage.heard(None)
            raise
        except StoreUnavailableError as error:
            self._triage.failed(session_id, permit, error, started, deadline)
        except SessionStoreError:  # a caller's mistake: to tell so needs a primary that is there
            self._triage.heard(session_id)
            yield from self._tidy(permit, started, wrote=False)
            raise
        finally:
            self._circuits.leave(session_id)
            self._health.end(permit)
        return (yield from self._answered(answer, started))

    def _answered(self, answer: Callable[[], Flow[T]], started: float) -> Flow[T]:
        """Answer from the fallback, which has what is left of the call's time, but not too little.

        A file that another process holds just now is waited for in that time, and no longer.
        """
        timeout = self._primary.timeout
        if timeout is None:
            return (yield from answer())
        end = max(started + timeout, time.monotonic() + min(timeout, _LEAST))
        return (yield from by(end, answer()))

    def _make_ready(
        self, session_id: str | None, permit: Permit, deadline: float | None
    ) -> Flow[bool]:
        """End the outage, if it can be, and put the session's writes back before the call."""
        if permit.is_probe and not permit.needs_write:
            try:
                yield self._primary, Ping(), deadline
            except SessionStoreError as error:  # whatever it is, this caller has not asked for it
                self._health.failed(permit, error)
                return False
            self._triage.back(permit)
        if session_id is None or not self._journal.holds(session_id):
            return True
        if self._health.is_degraded and not permit.is_probe:
            return False  # it takes no writes
        return (yield from by(deadline, self._replay.session(session_id, permit, deadline)))

    def _has_chores(self) -> bool:
        return self._journal.has_work or self._adopt_at is not None

    def _tidy(self, permit: Permit, started: float, *, wrote: bool) -> Flow[None]:
        """Do what else is due after the primary has answered, in the time that is left.

        Nothing of it fails the caller.
        """
        if wrote:
            self._triage.back(permit)
            self._replay.took_another()
        timeout = self._primary.timeout
        deadline = None if timeout is None else started + timeout * _CHORES_END
        if deadline is None or time.monotonic() < deadline:
            yield from by(deadline, self._do_chores(permit, deadline))

    def _do_chores(self, permit: Permit, deadline: float | None) -> Flow[None]:
        if self._adopt_at is not None and time.monotonic() > self._adopt_at:
            yield from self._adopt()
        if self._journal.has_work and not self._health.is_degraded:
            yield from self._replay.next_one(permit, deadline)

    def _write(self, write: PendingWrite, expected_version: int | None = None) -> Flow[Any]:
        def learn(result: Any) -> None:
            learn_write(self._cache, write.operation(), result)

        def answer() -> Flow[Any]:
            return self._take_in(write, expected_version)

        ask = write.operation(expected_version)
        return self._operate(write.session_id, ask, learn, answer, writes=True)

    def _recall(self, session_id: str, user_id: str | None, ask: Operation[T]) -> Flow[T]:
        """Read what is known of a session."""
        view = self._cache.view(session_id, user_id)
        if self._unknown == "raise" and not self._knows(view, session_id):
            raise StoreUnavailableError("this session was not seen before the store went away")
        yield from ()
        return view.run(ask)

    def _take_in(self, write: PendingWrite, expected_version: int | None) -> Flow[Any]:
        """Take a write into the journal, if it can be told that the primary will have it."""
        if expected_version is not None:
            raise OutageError("expected_version can't be kept until the store is back")
        if write.messages:
            self.bounds.require([encode_message(message) for message in write.messages])
        for _ in range(_TRIES):
            view = self._cache.view(write.session_id, write.user_id)
            self._refuse_blind(view, write)
            stamp = view.stamp(write.session_id)
            result = view.check(write.operation(), encoded_messages(write.operation()))
            if self._has_nothing_to_do(write, result):
                return _NOTHING[write.kind]
            try:
                return (yield from self._journal_it(view, write, stamp))
            except _OvertakenError:
                continue
        raise StoreBusyError("others write to the session all the time: try again")

    def _journal_it(self, view: SessionCache, write: PendingWrite, stamp: int) -> Flow[Any]:
        session_id = write.session_id
        unseen = not self._knows(view, session_id)

        def show() -> Any:
            seen = self._cache.view(session_id, write.user_id)
            if write.kind != "append" and (seen is not view or view.stamp(session_id) != stamp):
                raise _OvertakenError
            ask = write.operation()
            records = encoded_messages(ask)
            return seen.show(ask, records, unseen=unseen or not self._knows(seen, session_id))

        ready = write
        if write.rewrites():
            known, blind = view.known_to(write.operation())
            ready = replace(write, known=known, blind=blind)

        def current() -> int:
            return self._cache.view(session_id, write.user_id).stamp(session_id)

        return self._journal.take_in(ready, lambda: self._cache.pin(session_id), show, current)

    def _has_nothing_to_do(self, write: PendingWrite, result: Any) -> bool:
        if write.kind == "append":
            return not write.messages
        return write.kind in ("delete", "remove") and not result

    def _refuse_blind(self, view: SessionCache, write: PendingWrite) -> None:
        if write.kind == "create":
            return
        if not self._knows(view, write.session_id):
            if write.kind != "append" or self._unknown == "raise":
                msg = "this session was not seen before the store went away: it can't be changed"
                raise StoreUnavailableError(msg)
        elif write.rewrites() and view.is_unseen(write.session_id):
            msg = "what the session held before the store went away is not known: it is left alone"
            raise StoreUnavailableError(msg)
        elif write.kind in ("replace", "remove") and view.lacks(write.operation()):
            raise StoreUnavailableError("this message can't be changed until the store is back")

    def _knows(self, view: SessionCache, session_id: str) -> bool:
        taken = view is self._cache and self._journal.has_taken(session_id)
        return view.knows(session_id) or taken

    # -- Coming back ------------------------------------------------------------------------------

    def _recovering(self) -> Flow[bool]:
        permit = self._health.permit(now=True)
        if permit is None:  # somebody is trying just now
            return False
        whole = False
        try:
            yield self._primary, Ping()
            self._health.heard()
            self._circuits.clear(self._journal.holds)
            if not permit.needs_write:
                self._triage.back(permit)
            whole = yield from self._adopt()
            yield from self._replay.all(permit)
        except SessionStoreError as error:
            away = isinstance(error, StoreUnavailableError) and not isinstance(
                error, StoreBusyError
            )
            if permit.is_probe or away:
                self._health.failed(permit, error)
        finally:
            self._health.end(permit)
        return whole and not (self.is_degraded() or self._journal.size or self._journal.has_unnoted)

    def _closing(self) -> Flow[None]:
        if self._closed:
            return
        self._closed = True
        try:
            if self._journal.size or self._journal.has_unnoted:
                yield from self._recovering()
            else:  # what is done with is not to be put back by the next one
                yield from self._journal.sweep()
        finally:
            self._journal.leave()
            self._farewell.detach()
        waiting = self._journal.size
        if waiting and isinstance(self._fallback, InMemorySessionStore):
            _logger.error("closed with %d writes that the store lacks: see pending()", waiting)
        if self._journal.has_unnoted:
            _logger.error("closed before the fallback could note what was put back: see its store")

    def _adopt(self) -> Flow[bool]:
        """Take over what processes that are gone have left in the fallback store.

        Returns:
            Whether nobody else is at it just now.
        """
        if self._adopter is not None:
            return False
        self._adopter, self._adopt_at = ticket(), None
        whole = False
        try:
            whole = yield from adopt_all(self._journal, self._fallback, self._show_adopted)
        except SessionStoreError as error:
            _logger.warning("the fallback could not be looked through: %s", type(error).__name__)
        finally:
            self._adopter = None
            self._adopt_at = None if whole else time.monotonic() + _ADOPT_AGAIN
        return True

    def _show_adopted(
        self, session_id: str, base: KnownSession | None, writes: list[PendingWrite]
    ) -> None:
        if base is not None and not self._cache.knows(session_id):
            self._cache.restore(base)
        self._cache.pin(session_id)
        for write in writes:
            view = self._cache.view(session_id, write.user_id)
            unseen = not view.knows(session_id)
            with suppress(SessionStoreError):
                ask = write.operation()
                view.show(ask, encoded_messages(ask), unseen=unseen)


class _OvertakenError(SessionStoreError):
    """Somebody else changed the session while a write was on its way into the journal."""


def check_options(
    *,
    on_fallback: object,
    on_recover: object,
    retry_after: float,
    retry_cap: float,
    max_pending: int,
    max_sessions: int,
    max_messages: int,
    unknown: str,
) -> None:
    """Refuse options of a `FallbackSessionStore` that are none of what they may be.

    Raises:
        ValueError: See `FallbackSessionStore`.
        TypeError: The same.
    """
    if unknown not in ("empty", "raise"):
        raise ValueError('unknown must be "empty" or "raise"')
    for name, callback in (("on_fallback", on_fallback), ("on_recover", on_recover)):
        _require_callback(name, callback)
    for name, seconds in (("retry_after", retry_after), ("retry_cap", retry_cap)):
        if type(seconds) not in (int, float):
            raise TypeError(f"{name} must be a number of seconds, {_not(seconds)}")
    counts = {
        "max_pending": max_pending,
        "max_sessions": max_sessions,
        "max_messages": max_messages,
    }
    for name, count in counts.items():
        if type(count) is not int:
            raise TypeError(f"{name} must be a whole number, {_not(count)}")
    if not 0 <= retry_after <= retry_cap:
        raise ValueError("retry_after must be 0 or more seconds, and no more than retry_cap")
    if min(counts.values()) < 1:
        raise ValueError("max_pending, max_sessions and max_messages must be 1 or more")


def opened(fallback: SessionStore | str) -> SessionStore:
    """Give the store in which a fallback keeps its journal.

    Raises:
        ValueError: It is neither ``"in-memory"``, nor a store, nor the URL of one.
    """
    if isinstance(fallback, SessionStore):
        return fallback
    if fallback == "in-memory":
        return InMemorySessionStore()
    try:
        return open_backend(fallback)
    except ValueError as error:
        msg = f'fallback must be "in-memory", a store, or the URL of one: {error}'
        raise ValueError(msg) from None


def _require_callback(name: str, callback: object) -> None:
    if callback is None:
        return
    if not callable(callback):
        raise TypeError(f"{name} must be a function or None, {_not(callback)}")
    called = callback if inspect.isroutine(callback) else getattr(callback, "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(called):
        raise TypeError(f"{name} can't be async: sync calls call it, too, where no loop may run")


def _not(value: object) -> str:
    return f"not {type(value).__name__}"


def _report_lost(journal: Journal, fallback: SessionStore) -> None:
    if journal.size and isinstance(fallback, InMemorySessionStore):
        msg = "%d writes that the store lacks end here: the fallback was not closed"
        _logger.error(msg, journal.size)


_NOTHING: dict[str, Any] = {"append": 0, "delete": False, "remove": []}


def _nothing(result: object) -> None:
    """Learn nothing."""


# A store, an operation, and where there is one the time at which that must be over.
_Request: TypeAlias = (
    "tuple[SessionStore, Operation[Any]] | tuple[SessionStore, Operation[Any], float | None]"
)


def _send(request: _Request) -> Any:
    if len(request) == 2 or request[2] is None:  # noqa: PLR2004 - no time is set
        return request[0].run(request[1])
    return called_by(request[2], request[0].run, request[1])


async def _asend(request: _Request) -> Any:
    if len(request) == 2 or request[2] is None:  # noqa: PLR2004 - no time is set
        return await request[0].arun(request[1])
    with until(request[2]):
        return await request[0].arun(request[1])


def by(deadline: float | None, flow: Flow[T]) -> Flow[T]:
    """Give those requests of a flow a time to be over by that have none of their own."""
    if deadline is None:
        return (yield from flow)
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            request = resume(value)
            if len(request) == 2:  # noqa: PLR2004 - as above
                request = (*request, deadline)
            try:
                resume, value = flow.send, (yield request)
            except Exception as error:  # noqa: BLE001 - handed to the flow, which raises it again
                resume, value = flow.throw, error
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        value = None
        flow.close()


def _forget_journals(fallback: InMemorySessionStore) -> None:
    while sessions := fallback.list_sessions(agent_id=JOURNALS).sessions:
        for session in sessions:
            fallback.delete(session.id)


_stores: weakref.WeakSet[FallbackSessionStore] = weakref.WeakSet()


def _in_child() -> None:
    for store in list(_stores):
        store._begin_anew()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
