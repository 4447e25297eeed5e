"""One session, put into a store: at once, or in parts, of which each is there once.

A session of up to 500 messages, and 4 MiB, is one `Restore`. A longer one is restored in parts, and
has a mark in its metadata until it is whole, which names the version that it has by that part.
Whoever finds such a session, after a kill, compares what is there with what comes, and goes on
behind it; or takes it out, where it is not the beginning of that. One at another version is left:
others have written to it. Each part names the version that the one before it gave: so nobody else
has written in between, and of two who carry the same session one is told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from msgspec.structs import replace

from sessionstore.errors import (
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.models import SessionData, SessionInfo, SessionMessage
from sessionstore.operations import Delete, Get, Restore, Update
from sessionstore.store import SessionStore
from sessionstore.transfer.jsonl import BadLineError, TransferFileError
from sessionstore.transfer.requests import TransferFlow, ask, ask_all
from sessionstore.transfer.sources import MARK, ChangedError, ComingSession
from sessionstore.transfer.verifying import difference, holds

__all__ = ["Carrying", "DifferentError", "UnverifiedError", "Verdict"]

_NOT_WHOLE = "a part of it was there, of another state: that is gone, run this again"


class DifferentError(SessionStoreError):
    """Another session of that id is there, or the same one in another state."""


class UnverifiedError(SessionStoreError):
    """What the store gives back is not what it was given."""


class Verdict(Enum):
    """What became of a session.

    Attributes:
        COPIED: It was written.
        EQUAL: It was there already, and the same.
        EXPIRED: It is older than the store keeps any.
    """

    COPIED = "copied"
    EQUAL = "equal"
    EXPIRED = "expired"


class _ExpiredError(SessionStoreError):
    """A session expired while it was restored."""


class Carrying:
    """A session on its way into a store.

    Args:
        target: The store.
        coming: The session.
        verify: Whether each message is read back, and compared.
        on_page: Called with how many messages were written, each time.
    """

    def __init__(
        self,
        target: SessionStore,
        coming: ComingSession,
        *,
        verify: bool,
        on_page: Callable[[int], None],
    ) -> None:
        self._target, self._coming, self._head = target, coming, coming.head
        self._verify, self._on_page = verify, on_page
        self._version: int | None = None  # of what this has begun, and not finished
        self._count, self._last = 0, ""  # what is there: how many messages, and which is the last

    def carry(self) -> TransferFlow[Verdict]:
        """Put the session into the store.

        Raises:
            DifferentError: Another one is there; it was not touched.
            ChangedError: What comes, or what is there, was changed meanwhile: begin again.
            UnverifiedError: It was written, but comes back as something else.
            SessionStoreError: It can't be read, or not be written; no part of it is left there.
        """
        try:
            return (yield from self._carry())
        except _ExpiredError:
            return Verdict.EXPIRED
        except SessionConflictError:
            raise ChangedError("somebody else writes to the copy: run this again") from None
        except SessionStoreError as error:
            if not _may_go_on(error):
                yield from self.discard()
            raise

    def discard(self) -> TransferFlow[None]:
        """Take out what was begun, and not finished."""
        if self._version is not None:
            unchanged = Update(self._head.id, metadata={}, expected_version=self._version)
            self._version = None
            with suppress(SessionConflictError, SessionNotFoundError):  # it is somebody else's now
                yield from ask_all(self._target, [unchanged, Delete(self._head.id)])

    def _carry(self) -> TransferFlow[Verdict]:
        page = yield from self._coming.next_page()
        whole = len(page) == self._head.message_count
        try:
            yield from self._put(page, whole=whole)
        except (SessionExistsError, SessionAccessError):
            return (yield from self._meet(page))
        if not whole:
            yield from self._put_rest()
        yield from self._verify_head()
        return Verdict.COPIED

    # -- Writing ----------------------------------------------------------------------------------

    def _put(self, page: list[SessionMessage], *, whole: bool = False) -> TransferFlow[None]:
        metadata = self._head.metadata
        if not whole:
            mark = {"messages": self._head.message_count, "version": (self._version or 0) + 1}
            metadata = {**metadata, MARK: mark}
        session = replace(self._head, messages=page, metadata=metadata)
        info = yield from ask(self._target, Restore(session, self._version))
        yield from self._take(info, page, whole=whole)

    def _take(
        self, info: SessionInfo | None, page: list[SessionMessage], *, whole: bool
    ) -> TransferFlow[None]:
        if info is None:
            raise _ExpiredError
        self._version = None if whole else info.version
        self._count = info.message_count
        self._on_page(len(page))
        if self._verify and not (yield from holds(self._target, info.id, self._last, page)):
            raise UnverifiedError("a message comes back as something else than was written")
        if page:
            self._last = str(page[-1].id)

    def _put_rest(self) -> TransferFlow[None]:
        while page := (yield from self._coming.next_page()):
            yield from self._put(page)
        yield from self._coming.require_settled()
        if self._count != self._head.message_count:
            there, said = self._count, self._head.message_count
            raise UnverifiedError(f"the target holds {there} messages of it, not {said}")
        yield from self._put([], whole=True)

    # -- What is there already --------------------------------------------------------------------

    def _meet(self, page: list[SessionMessage]) -> TransferFlow[Verdict]:
        there = yield from ask(self._target, Get(self._head.id, 0))
        if there is None:
            raise ChangedError("it was deleted from the target meanwhile: run this again")
        if MARK in there.metadata and _is_of(there, self._head):
            if not _is_untouched(there):
                raise DifferentError("a part of it is there already, which others have written to")
            yield from self._finish(there, page)
            yield from self._verify_head()
            return Verdict.COPIED
        yield from self._require_equal(there, page)
        return Verdict.EQUAL

    def _require_equal(self, there: SessionData, page: list[SessionMessage]) -> TransferFlow[None]:
        if different := difference(self._head, there):
            raise DifferentError(f"it is there already, with other {different}")
        while self._verify and page:
            if not (yield from holds(self._target, there.id, self._last, page)):
                raise DifferentError("it is there already, with other messages")
            self._last = str(page[-1].id)
            page = yield from self._coming.next_page()

    def _finish(self, there: SessionData, page: list[SessionMessage]) -> TransferFlow[None]:
        """Go on behind the messages that are there."""
        self._version, self._count = there.version, there.message_count
        left = there.message_count
        while left:
            known = page[:left]
            if not (known and (yield from holds(self._target, there.id, self._last, known))):
                yield from self.discard()
                raise ChangedError(_NOT_WHOLE)
            self._last, left = str(known[-1].id), left - len(known)
            page = page[len(known) :] or (yield from self._coming.next_page())
        if page:
            yield from self._put(page)
        yield from self._put_rest()

    def _verify_head(self) -> TransferFlow[None]:
        if self._verify:
            there = yield from ask(self._target, Get(self._head.id, 0))
            different = "id" if there is None else difference(self._head, there)
            if different:
                raise UnverifiedError(f"it comes back with other {different}")


def _may_go_on(error: SessionStoreError) -> bool:
    """Tell whether the next run may go on with what is there."""
    if isinstance(error, BadLineError):
        return False
    return isinstance(error, (StoreUnavailableError, ChangedError, TransferFileError))


def _is_untouched(there: SessionData) -> bool:
    """Tell whether nobody but a transfer has written to an unfinished copy."""
    mark = there.metadata[MARK]
    return isinstance(mark, dict) and mark.get("version") == there.version


def _is_of(there: SessionData, head: SessionData) -> bool:
    """Tell whether an unfinished copy is one of this session."""
    return (there.user_id, there.agent_id, there.created_at) == (
        head.user_id,
        head.agent_id,
        head.created_at,
    )
