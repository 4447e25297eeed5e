"""`Archive`: a session of which the oldest messages are archived, the others active."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import takewhile

from llama_index.core.storage.chat_store.base_db import MessageStatus

from llama_index_sessionstore.marks import Mark, archived_of, known_active, mark_of
from sessionstore import (
    InvalidMessageError,
    SessionConflictError,
    SessionData,
    SessionExistsError,
    SessionMessage,
    SessionNotFoundError,
    StoreUnavailableError,
)
from sessionstore.errors import OutageError
from sessionstore.integration import StoreFlow
from sessionstore.models import WITHOUT_SUMMARY
from sessionstore.operations import Create, DeleteMessages, Get, GetMessages, Update

__all__ = ["Archive"]

_ACTIVE, _ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
_NO_MARK = Mark()


@dataclass(frozen=True)
class Archive:
    """The flows that read and write a session of which some messages are archived.

    Attributes:
        session_id: The session.
        agent_id: Its agent, if this makes it.
        user_id: Its owner, if this makes it.
        caller: The caller, whose right to the session is checked.
    """

    session_id: str
    agent_id: str = "default"
    user_id: str | None = None
    caller: str | None = None

    # -- Reading: each request is an operation ----------------------------------------------------

    def some(
        self, status: MessageStatus | None, limit: int | None, offset: int
    ) -> StoreFlow[list[SessionMessage]]:
        """Read messages of one status, or of any: so many from a place on, oldest first."""
        end = None if limit is None else offset + limit
        if status is None:
            return (yield from self._behind("", end))[offset:]
        mark = mark_of((yield self._head()))
        if status is _ACTIVE:
            _, active = yield from self._behind_mark(mark, end)
            return active[offset:]
        mark = yield from self._checked(mark)
        end = mark.archived if end is None else min(end, mark.archived)
        found = yield from self._behind("", end)
        return archived_of(mark, found)[offset:]

    def active(self, guess: int) -> StoreFlow[tuple[Mark, list[SessionMessage]]]:
        """Read the active messages: in one round trip, if they are no more than was guessed."""
        session: SessionData | None = yield Get(self.session_id, guess, self.caller)
        known = known_active(session)
        if known is None:
            try:
                known = yield from self._behind_mark(mark_of(session), None)
            except StoreUnavailableError:  # an outage, perhaps: what is known of it is all there is
                session = yield Get(self.session_id, None, self.caller)
                known = known_active(session, whole=True) or (Mark(), [])
        return known

    def counting(self, status: MessageStatus | None) -> StoreFlow[int]:
        """Count the messages of one status, or all."""
        head: SessionData | None = yield self._head()
        if head is None or status is None:
            return head.message_count if head else 0
        mark = yield from self._checked(mark_of(head))
        archived = min(mark.archived, head.message_count)
        return archived if status is _ARCHIVED else head.message_count - archived

    def _head(self) -> Get:
        return Get(self.session_id, 0, self.caller)

    def _behind(self, after: str, limit: int | None) -> StoreFlow[list[SessionMessage]]:
        messages: list[SessionMessage]
        messages = yield GetMessages(self.session_id, limit, after=after, user_id=self.caller)
        return messages

    def _behind_mark(
        self, mark: Mark, limit: int | None
    ) -> StoreFlow[tuple[Mark, list[SessionMessage]]]:
        """Read active messages, and give the mark as it is now.

        Where none of the last archived messages is there any more, somebody has replaced the
        messages of the session, and none is archived.
        """
        for lost, last in enumerate(reversed(mark.trail)):
            try:
                return mark.without(lost), (yield from self._behind(last, limit))
            except InvalidMessageError:
                continue
        return Mark(), (yield from self._behind("", limit))

    def _checked(self, mark: Mark) -> StoreFlow[Mark]:
        if mark.trail:
            mark, _ = yield from self._behind_mark(mark, 0)
        return mark

    # -- Archiving --------------------------------------------------------------------------------

    def archiving(
        self, n: int, among: Collection[str] | None = None, counted: Mark = _NO_MARK
    ) -> StoreFlow[tuple[Mark, list[SessionMessage]]]:
        """Move the mark behind the oldest active messages.

        Args:
            n: How many.
            among: Only these, as far as they are the oldest; ``None`` where it may be any.
            counted: The mark as the caller has read it: who has read all has counted them.

        Returns:
            The mark as it was before, and the messages.
        """
        while True:
            head: SessionData | None = yield self._head()
            if head is None or n < 1:
                return Mark(), []
            mark, oldest = yield from self._behind_mark(mark_of(head), n)
            if among is not None:
                oldest = list(takewhile(lambda message: message.id in among, oldest))
                mark = counted if mark.trail == counted.trail else mark
            if not oldest or (yield from self._move(mark.beyond(oldest), head.version)):
                return mark, oldest

    def moving_back(self, before: Mark, moved: Mark) -> StoreFlow[None]:
        """Set the mark back to where it was, unless somebody has gone on from there."""
        while True:
            head: SessionData | None = yield self._head()
            if head is None or mark_of(head) != moved:
                return
            if (yield from self._move(before, head.version)):
                return

    def _move(self, mark: Mark, version: int) -> StoreFlow[bool]:
        """Set how far a session is archived, unless it was written to meanwhile."""
        metadata = mark.metadata()
        try:
            yield Update(self.session_id, None, metadata, self.caller, version)
        except (SessionConflictError, SessionNotFoundError):
            return False
        except OutageError:  # no version can be promised then, but the mark can be taken
            yield Update(self.session_id, None, metadata, self.caller)
        return True

    # -- Adding and replacing ---------------------------------------------------------------------

    def adding_archived(self, new: list[SessionMessage]) -> StoreFlow[None]:
        """Put messages behind the archived ones, and before the active ones."""
        while True:
            session: SessionData | None = yield Get(self.session_id, None, self.caller)
            try:
                if session is None:
                    yield self._creating(new, Mark().beyond(new))
                else:
                    yield self._storing(session, new)
            except (SessionExistsError, SessionConflictError, SessionNotFoundError):
                continue
            return

    def _storing(self, session: SessionData, new: list[SessionMessage]) -> Update:
        mark, active = known_active(session) or (Mark(), session.messages)
        archived = session.messages[: mark.archived]
        messages = [*archived, *new, *active]
        metadata = mark.beyond(new).metadata()
        return Update(self.session_id, messages, metadata, self.caller, session.version)

    def setting(self, messages: list[SessionMessage], mark: Mark) -> StoreFlow[None]:
        """Replace all messages; make the session where there is none."""
        metadata = mark.metadata() if messages else mark.metadata() | WITHOUT_SUMMARY
        while True:
            try:
                yield Update(self.session_id, messages, metadata, self.caller)
            except SessionNotFoundError:
                pass
            else:
                return
            try:
                yield self._creating(messages, mark)
            except SessionExistsError:
                continue  # somebody made it just now
            else:
                return

    def _creating(self, messages: list[SessionMessage], mark: Mark) -> Create:
        metadata = mark.metadata() if mark.trail else {}
        return Create(self.session_id, messages, self.agent_id, self.user_id, metadata)

    # -- Deleting ---------------------------------------------------------------------------------

    def deleting_these(
        self, messages: list[SessionMessage], version: int | None = None
    ) -> DeleteMessages:
        """Ask for messages to be deleted; the result is the ids of those that were."""
        ids = [str(message.id) for message in messages]
        return DeleteMessages(self.session_id, ids, self.caller, version)

    def deleting_oldest(self, n: int) -> StoreFlow[list[SessionMessage]]:
        """Delete the oldest, unless somebody archives them meanwhile, and so hands them out."""
        while True:
            head: SessionData | None = yield self._head()
            if head is None or n < 1:
                return []
            _, oldest = yield from self._behind_mark(mark_of(head), n)
            try:
                deleted = yield self.deleting_these(oldest, head.version)
            except SessionConflictError:
                continue
            except OutageError:
                deleted = yield self.deleting_these(oldest)
            return [message for message in oldest if message.id in deleted]

    def deleting(self, status: MessageStatus) -> StoreFlow[None]:
        """Delete all messages of one status."""
        found = yield from self.some(status, None, 0)
        deleted = yield self.deleting_these(found)
        while status is _ARCHIVED and deleted:
            head: SessionData | None = yield self._head()
            left = mark_of(head).without_these(deleted)
            if head is None or (yield from self._move(left, head.version)):
                return
