"""What a transfer counts, tells, and lists, whatever comes from wherever."""

from __future__ import annotations

from collections.abc import Callable

from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.store import SessionStore
from sessionstore.transfer.carrying import Carrying, DifferentError, Verdict
from sessionstore.transfer.jsonl import BadLineError, TransferFileError
from sessionstore.transfer.reports import (
    LeftSession,
    OnProgress,
    TransferProgress,
    TransferReport,
)
from sessionstore.transfer.requests import TransferFlow
from sessionstore.transfer.sources import ChangedError, ComingSession

__all__ = ["TRIES", "Mover", "Tally", "ends_all"]

TRIES = 5
"""How often a session is begun with that is written to at the same time."""


class Tally:
    """What became of the sessions so far.

    Args:
        progress: Whom to tell.
    """

    def __init__(self, progress: OnProgress | None) -> None:
        self._progress = progress
        self._counts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        self._different: list[LeftSession] = []
        self._failed: list[LeftSession] = []
        self.sessions: int = 0
        self.messages: int = 0
        self.verified: int = 0
        self.session_id: str | None = None
        self.place: Callable[[], tuple[int, int | None]] = lambda: (0, None)

    def wrote(self, messages: int) -> None:
        """Count messages that were written."""
        self.messages += messages
        self._tell()

    def done(self, verdict: Verdict, *, verified: bool = False) -> None:
        """Count a session."""
        self._counts[verdict] += 1
        self.verified += verified
        self._next()

    def left(self, session_id: str | None, where: str, error: SessionStoreError) -> None:
        """List a session that was left as it was."""
        name = type(error).__name__
        own = isinstance(error, (DifferentError, ChangedError, TransferFileError))
        why = str(error) if own or name.startswith("Un") else f"{name}: {error}"
        lists = self._different if isinstance(error, DifferentError) else self._failed
        lists.append(LeftSession(session_id, where, why))
        self._next()

    def unreadable(self, where: str, why: str) -> None:
        """List what could not be read at all."""
        self._failed.append(LeftSession(None, where, why))
        self._next()

    def report(self) -> TransferReport:
        """Give what became of all of them."""
        return TransferReport(
            copied=self._counts[Verdict.COPIED],
            messages=self.messages,
            equal=self._counts[Verdict.EQUAL],
            expired=self._counts[Verdict.EXPIRED],
            different=self._different,
            failed=self._failed,
            verified=self.verified,
        )

    def _next(self) -> None:
        self.sessions += 1
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            counts = self.sessions, self.messages
            self._progress(TransferProgress(*counts, self.session_id, *self.place()))


class Mover:
    """Puts sessions into a store, one after the other.

    Args:
        target: The store.
        verify: Whether each message is read back, and compared.
        tally: What counts them.
        tries: How often a session is begun with that is changed meanwhile.

    Attributes:
        tally: As above.
    """

    def __init__(
        self, target: SessionStore, *, verify: bool, tally: Tally, tries: int = TRIES
    ) -> None:
        self._target, self._verify, self._tries = target, verify, tries
        self.tally: Tally = tally
        self._begun: Carrying | None = None

    def move(
        self,
        session_id: str,
        begin: Callable[[], TransferFlow[ComingSession | None]],
        where: str = "",
    ) -> TransferFlow[None]:
        """Put a session into the store, or list it.

        Args:
            session_id: The session.
            begin: Gives it, from its beginning; ``None`` where it is gone.
            where: Where it stands, for the list.
        """
        self.tally.session_id = session_id
        error = yield from self._tried(begin)
        if error is not None:
            at = f"line {error.line}" if isinstance(error, BadLineError) else where
            self.tally.left(session_id, at, error)

    def _tried(
        self, begin: Callable[[], TransferFlow[ComingSession | None]]
    ) -> TransferFlow[SessionStoreError | None]:
        """Give why a session is left as it was; what ends the whole transfer is raised."""
        error: SessionStoreError | None = None
        self._begun = None
        for _ in range(self._tries):
            try:
                yield from self._carry((yield from begin()))
            except ChangedError as changed:
                error = changed
            except SessionStoreError as failed:
                if ends_all(failed):
                    raise
                return failed
            else:
                return None
        return error

    def _carry(self, coming: ComingSession | None) -> TransferFlow[None]:
        if coming is None:
            if self._begun is not None:  # it was deleted while it was read
                yield from self._begun.discard()
            return
        self._begun = Carrying(self._target, coming, verify=self._verify, on_page=self.tally.wrote)
        verdict = yield from self._begun.carry()
        verified = self._verify and verdict is not Verdict.EXPIRED
        self.tally.done(verdict, verified=verified)


def ends_all(error: SessionStoreError) -> bool:
    """Tell what is not about one session: a store that is away, or closed; a file that is cut."""
    if isinstance(error, TransferFileError):
        return not isinstance(error, BadLineError)
    return type(error) is SessionStoreError or isinstance(error, StoreUnavailableError)
