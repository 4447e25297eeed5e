"""`FallbackSessionStore`: goes on when its primary is down, and puts everything back."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Literal, TypeVar

import msgspec

from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.flow import Flow, aplay, play
from sessionstore.journal import Journal, Line
from sessionstore.memory import InMemorySessionStore, StoredSession
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage
from sessionstore.standby import Standby
from sessionstore.store import SessionStore
from sessionstore.writes import PendingWrite, joined

__all__ = ["FallbackSessionStore", "FallbackStats"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")

# What a primary answers to a write that it will never take. All else may pass: a full disk, say.
_REFUSALS = (
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
)


class FallbackStats(msgspec.Struct, frozen=True):
    """What a `FallbackSessionStore` has done so far.

    Attributes:
        fallbacks: How often the primary was given up.
        recoveries: How often it came back.
        probes: How often it was tried in between.
        journaled: Writes taken in for it.
        replayed: Writes put back into it.
        rejected: Writes that it refused then.
        seconds_degraded: For how long it was away, in all.
    """

    fallbacks: int = 0
    recoveries: int = 0
    probes: int = 0
    journaled: int = 0
    replayed: int = 0
    rejected: int = 0
    seconds_degraded: float = 0.0


class _Turn(msgspec.Struct, frozen=True):
    """A caller's leave to ask the primary."""

    outages: int
    is_probe: bool


class _Health:
    """Whether the primary is there, and who may ask it. Nobody waits for anybody here."""

    def __init__(self, retry_after: float, retry_cap: float) -> None:
        self._lock = Lock()
        self._retry_after = retry_after
        self._retry_cap = retry_cap
        self._delay = retry_after
        self._next_probe = 0.0
        self._probing = False
        self._since: float | None = None
        self._seconds = 0.0
        self.fallbacks = self.recoveries = self.probes = 0

    @property
    def is_degraded(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        since = self._since
        return self._seconds + (time.monotonic() - since if since is not None else 0.0)

    def turn(self, *, now: bool = False) -> _Turn | None:
        """Give leave to ask the primary: to all while it is there, else to one prober at a time."""
        with self._lock:
            if self._since is None:
                return _Turn(self.fallbacks, is_probe=False)
            if self._probing or (time.monotonic() < self._next_probe and not now):
                return None
            self._probing = True
            self.probes += 1
            return _Turn(self.fallbacks, is_probe=True)

    def failed(self, turn: _Turn) -> bool:
        """Take note that the primary is away; tell whether that is news."""
        with self._lock:
            if turn.is_probe:
                self._delay = min(self._delay * 2, self._retry_cap)
            elif self._since is not None or turn.outages != self.fallbacks:
                return False  # an answer from before the last outage says nothing about now
            else:
                self._since = time.monotonic()
                self._delay = self._retry_after
                self.fallbacks += 1
            jitter = 1 + random.random() / 4  # noqa: S311 - no secret
            self._next_probe = time.monotonic() + self._delay * jitter
            return not turn.is_probe

    def answered(self, turn: _Turn) -> bool:
        """Take note that the primary answers; tell whether that is news."""
        with self._lock:
            if not turn.is_probe or self._since is None:
                return False
            self._seconds += time.monotonic() - self._since
            self._since = None
            self.recoveries += 1
            return True

    def end(self, turn: _Turn) -> None:
        """Let another probe, where this one is over or was given up."""
        if turn.is_probe:
            self._probing = False


class FallbackSessionStore(SessionStore):
    """A store that goes on when its primary is down, and puts everything back when it returns.

    While the primary answers, everything is done there, and the last messages of the sessions in
    use are remembered. Only a `StoreUnavailableError` of the primary makes the fallback answer;
    the call that meets it is answered too. From then on one caller at a time tries the primary, in
    growing intervals, and nobody waits for it.

    *Reads* in an outage give what is known of a session, and what was written since. A session
    never seen reads as empty, unless ``unknown="raise"``. A list of sessions is marked `partial`.

    *Writes* in an outage are each one append to a journal in the fallback store: with a fallback
    that lasts, such as a file, they survive a crash, and whoever opens it next puts them back.
    They go to the primary in order, before anything else of their session does:

    - ``append_messages``: behind what the primary holds by then; each message once.
    - ``create``: where the id turns out to be there, for the same owner, the messages are appended
      and the missing metadata is added.
    - ``replace_message``, ``delete_messages``, and ``update`` of metadata: as they are.
    - ``update`` of the messages, and ``delete``: of all that the caller could know of. What others
      have put behind it stays, and then so does the session.
    - Where the primary refuses a write for good (the session has another owner, say), it is set
      aside in `rejected`, and those behind it go on.

    *Refused* in an outage, with `StoreUnavailableError`, is what can't be promised: a write with
    ``expected_version``; ``update``, ``replace_message``, ``delete_messages`` and ``delete`` of
    what was not seen; a caller of whom it can't be told whether the session is theirs; older
    messages; a journal that is full.

    Example:
        >>> from sessionstore import InMemorySessionStore, SessionMessage
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
        if unknown not in ("empty", "raise"):
            raise ValueError('unknown must be "empty" or "raise"')
        if not 0 <= retry_after <= retry_cap:
            raise ValueError("retry_after must be 0 or more seconds, and no more than retry_cap")
        if min(max_pending, max_sessions, max_messages) < 1:
            raise ValueError("max_pending, max_sessions and max_messages must be 1 or more")
        self._primary = primary
        self._fallback = _opened(fallback)
        self._on_fallback = on_fallback
        self._on_recover = on_recover
        self._unknown = unknown
        self._health = _Health(retry_after, retry_cap)
        self._standby = Standby(max_sessions, max_messages)
        self._journal = Journal(self._fallback, max_pending)
        # Sessions written to in an outage that were never seen: nothing is known of their past.
        self._unseen: set[str] = set()
        self._journaled = self._replayed = self._refused = 0
        self._play(self._journal.open(self._show_adopted))

    def __repr__(self) -> str:
        """Tell the stores, and how things stand."""
        state = "degraded" if self.is_degraded() else "healthy"
        pending = len(self.pending())
        return f"FallbackSessionStore({self._primary!r}, {state}, <{pending} pending>)"

    # -- How things stand -------------------------------------------------------------------------

    def is_degraded(self) -> bool:
        """Tell whether the primary is away, as far as is known without asking it."""
        return self._health.is_degraded

    def pending(self) -> list[PendingWrite]:
        """Give the writes that the primary does not have yet, session by session, in order."""
        return self._journal.pending()

    def rejected(self) -> list[PendingWrite]:
        """Give the writes that the primary has refused when they were to be put back."""
        return self._journal.rejected()

    def stats(self) -> FallbackStats:
        """Give the counts since this store was made."""
        health = self._health
        return FallbackStats(
            fallbacks=health.fallbacks,
            recoveries=health.recoveries,
            probes=health.probes,
            journaled=self._journaled,
            replayed=self._replayed,
            rejected=self._refused,
            seconds_degraded=health.seconds,
        )

    def recover(self) -> bool:
        """Try the primary now, and put back all that waits for it.

        Returns:
            Whether the primary is there and nothing waits for it any more.

        Raises:
            SessionStoreError: The primary refuses for a reason that is none of a caller's, such as
                a full disk. What waits goes on waiting.
        """
        return self._play(self._recovering())

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return await self._aplay(self._recovering())

    def close(self) -> None:
        """Close both stores. What still waits in a journal in memory is logged as an error."""
        self._end()
        self._primary.close()
        self._fallback.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        self._end()
        await self._primary.aclose()
        await self._fallback.aclose()

    def _end(self) -> None:
        self._journal.leave()
        pending = len(self.pending())
        if pending and isinstance(self._fallback, InMemorySessionStore):
            _logger.error("closed with %d writes that the store lacks: see pending()", pending)

    # -- Carrying out: a request is a store and one of its flows ----------------------------------

    def _play(self, flow: Flow[T]) -> T:
        return play(flow, _send)

    async def _aplay(self, flow: Flow[T]) -> T:
        return await aplay(flow, _asend)

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
        def ask(store: SessionStore) -> Flow[SessionData | None]:
            return store._get(session_id, limit=limit, user_id=user_id)

        def learn(data: SessionData | None) -> None:
            self._unseen.discard(session_id)
            if data is None:
                self._standby.forget(session_id)
            else:
                self._standby.learn_session(data, whole=limit is None)

        return self._operate(session_id, ask, learn, lambda: self._recall(session_id, ask))

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
        if (
            before is None and after is None and not keep_system
        ):  # the whole session tells its owner too
            data = yield from self._get(session_id, limit=limit, user_id=user_id)
            return data.messages if data else []

        def ask(store: SessionStore) -> Flow[list[SessionMessage]]:
            return store._get_messages(
                session_id,
                limit=limit,
                before=before,
                after=after,
                user_id=user_id,
                keep_system=keep_system,
            )

        def learn(messages: list[SessionMessage]) -> None:
            if before is None and after is None and messages:
                last = messages if limit is None else messages[-limit:]
                self._standby.learn_messages(session_id, last, user_id, whole=limit is None)

        return (
            yield from self._operate(session_id, ask, learn, lambda: self._recall(session_id, ask))
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
        def ask(store: SessionStore) -> Flow[SessionPage]:
            return store._list_sessions(
                agent_id=agent_id, user_id=user_id, limit=limit, cursor=cursor
            )

        def recall() -> Flow[SessionPage]:
            if cursor is not None and not cursor.startswith(_OUTAGE):
                raise StoreUnavailableError("this page can't be read until the store is back")
            page = yield from self._standby._list_sessions(
                agent_id=agent_id,
                user_id=user_id,
                limit=limit,
                cursor=cursor and cursor[len(_OUTAGE) :],
            )
            return SessionPage(page.sessions, page.cursor and _OUTAGE + page.cursor, partial=True)

        page = yield from self._operate(None, ask, _nothing, recall)
        return page if not self._journal.pending() else msgspec.structs.replace(page, partial=True)

    def _prune_expired(self) -> Flow[int]:
        def refuse() -> Flow[int]:
            yield from ()
            raise StoreUnavailableError("nothing can be pruned until the store is back")

        return self._operate(None, lambda store: store._prune_expired(), _nothing, refuse)

    def _ping(self) -> Flow[None]:
        def ask(store: SessionStore) -> Flow[None]:
            return store._ping()

        def ask_fallback() -> Flow[None]:
            yield self._fallback, ask(self._fallback)

        return self._operate(None, ask, _nothing, ask_fallback)

    # -- Whom to ask ------------------------------------------------------------------------------

    def _operate(
        self,
        session_id: str | None,
        ask: Callable[[SessionStore], Flow[T]],
        learn: Callable[[T], None],
        answer: Callable[[], Flow[T]],
    ) -> Flow[T]:
        """Ask the primary, if that is the caller's turn; else, or if it is away, answer."""
        turn = self._health.turn()
        if turn is None:
            return (yield from answer())
        try:
            if session_id is None or (yield from self._put_back(session_id)):
                result: T = yield self._primary, ask(self._primary)
                self._came_back(turn)
                learn(result)
                yield from self._put_one_back()
                return result
        except StoreUnavailableError as error:
            self._went_down(turn, error)
        except SessionStoreError:
            self._came_back(turn)  # a caller's mistake: to be told so needs a primary that is there
            raise
        finally:
            self._health.end(turn)
        return (yield from answer())

    def _write(self, write: PendingWrite, expected_version: int | None = None) -> Flow[Any]:
        def ask(store: SessionStore) -> Flow[Any]:
            return write.on(store, expected_version)

        def learn(result: Any) -> None:
            self._standby.learn_write(write, result)

        return self._operate(
            write.session_id, ask, learn, lambda: self._take_in(write, expected_version)
        )

    def _recall(self, session_id: str, ask: Callable[[SessionStore], Flow[T]]) -> Flow[T]:
        """Read what is known of a session."""
        if self._unknown == "raise" and not self._knows(session_id):
            raise StoreUnavailableError("this session was not seen before the store went away")
        return (yield from ask(self._standby))

    def _take_in(self, write: PendingWrite, expected_version: int | None) -> Flow[Any]:
        """Take a write into the journal, if it can be told that the primary will have it."""
        if expected_version is not None:
            raise StoreUnavailableError("expected_version can't be kept until the store is back")
        self._refuse_blind(write)
        result = self._standby.check(write)
        if write.kind in ("append", "remove") and not result:
            return result
        if write.rewrites():
            known = self._standby.last_ids(write.session_id)
            write = msgspec.structs.replace(write, known=known)
        if write.kind == "append" and not self._knows(write.session_id):
            self._unseen.add(write.session_id)
        result = yield from self._journal.take_in(
            write,
            lambda: self._standby.pin(write.session_id),
            lambda: self._standby.show(write),
        )
        self._journaled += 1
        return result

    def _refuse_blind(self, write: PendingWrite) -> None:
        seen = self._knows(write.session_id)
        if not seen and (write.kind != "append" or self._unknown == "raise"):
            if write.kind != "create":
                msg = "this session was not seen before the store went away: it can't be changed"
                raise StoreUnavailableError(msg)
        elif write.rewrites() and write.session_id in self._unseen:
            msg = "what the session held before the store went away is not known: it is left alone"
            raise StoreUnavailableError(msg)
        if write.kind in ("replace", "remove") and not self._standby.has_message(write):
            raise StoreUnavailableError("this message can't be changed until the store is back")

    def _knows(self, session_id: str) -> bool:
        return self._standby.knows(session_id) or self._journal.holds(session_id)

    # -- Putting back -----------------------------------------------------------------------------

    def _put_back(self, session_id: str, batches: int | None = None) -> Flow[bool]:
        """Put a session's pending writes back; tell whether none is left."""
        line = self._journal.claim(session_id)
        if line is None:
            return not self._journal.holds(session_id)
        try:
            done = 0
            while (batches is None or done < batches) and (batch := self._journal.next_batch(line)):
                yield from self._put_batch_back(line, batch)
                done += 1
        except BaseException:
            self._journal.unclaim(line)
            raise
        empty = yield from self._journal.release(line)
        if empty:
            self._standby.unpin(session_id)
        return empty

    def _put_batch_back(self, line: Line, batch: list[PendingWrite]) -> Flow[None]:
        try:
            yield from joined(batch).later(self._primary)
        except _REFUSALS as error:
            if len(batch) > 1:  # one of them is refused: which?
                for write in batch:
                    yield from self._put_batch_back(line, [write])
                return
            self._refused += 1
            _logger.error("the store refused a write that had waited for it: %r", error)
            yield from self._journal.reject(line, batch[0])
        else:
            self._replayed += len(batch)
        self._journal.put_back(line, len(batch))

    def _put_one_back(self) -> Flow[None]:
        """Put one batch of another session back: nobody pays for all that others have written."""
        waiting = self._journal.waiting()
        if waiting and (turn := self._health.turn()):
            try:
                yield from self._put_back(waiting[0], batches=1)
            except StoreUnavailableError as error:
                self._went_down(turn, error)
            except SessionStoreError as error:
                _logger.warning("a session's writes still wait: %r", error)
            finally:
                self._health.end(turn)

    def _recovering(self) -> Flow[bool]:
        turn = self._health.turn(now=True)
        if turn is None:  # somebody is trying just now
            return False
        try:
            yield self._primary, self._primary._ping()
            self._came_back(turn)
            for session_id in self._journal.waiting():
                yield from self._put_back(session_id)
        except StoreUnavailableError as error:
            self._went_down(turn, error)
        finally:
            self._health.end(turn)
        return not (self.is_degraded() or self.pending())

    def _show_adopted(
        self, session_id: str, base: StoredSession | None, writes: list[PendingWrite]
    ) -> None:
        if base is None:
            self._unseen.add(session_id)
        elif not self._standby.knows(session_id):
            self._standby.restore(base)
        self._standby.pin(session_id)
        for write in writes:
            self._standby.learn_write(write, None)

    # -- Going down and coming back ---------------------------------------------------------------

    def _went_down(self, turn: _Turn, error: StoreUnavailableError) -> None:
        if self._health.failed(turn):
            _logger.warning("the store is unavailable, the fallback answers: %r", error)
            self._tell(self._on_fallback, error)

    def _came_back(self, turn: _Turn) -> None:
        if self._health.answered(turn):
            _logger.info("the store is back")
            self._tell(self._on_recover)

    def _tell(self, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is not None:
            try:
                callback(*arguments)
            except Exception:  # a callback's fault is no reason to fail
                _logger.exception("a callback of the fallback failed")


_OUTAGE = "outage:"


def _opened(fallback: SessionStore | str) -> SessionStore:
    if isinstance(fallback, SessionStore):
        return fallback
    if fallback == "in-memory":
        return InMemorySessionStore()
    from sessionstore.url import open_store  # noqa: PLC0415 - only for a URL

    return open_store(fallback, fallback=None)


def _nothing(result: object) -> None:
    """Learn nothing."""


def _send(request: tuple[SessionStore, Flow[Any]]) -> Any:
    store, flow = request
    return store._play(flow)


async def _asend(request: tuple[SessionStore, Flow[Any]]) -> Any:
    store, flow = request
    return await store._aplay(flow)
