"""`FlowStore`: a store whose operations are flows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sessionstore.errors import SessionStoreError
from sessionstore.flow import Flow
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReplaceMessage,
    Update,
)
from sessionstore.store import SessionStore

__all__ = ["FlowStore"]

T = TypeVar("T")


class FlowStore(SessionStore):
    """A store that makes a flow of each operation, and drives it in `_play` or `_aplay`."""

    def run(self, operation: Operation[T]) -> T:
        """Carry out an operation."""
        return self._play(self._flow(operation))

    async def arun(self, operation: Operation[T]) -> T:
        """Async twin of `run`."""
        return await self._aplay(self._flow(operation))

    def _flow(self, operation: Operation[T]) -> Flow[T]:
        made = _FLOWS.get(type(operation))
        if made is None:
            raise SessionStoreError(f"this store does not know {type(operation).__name__}")
        return made(self, operation)

    @abstractmethod
    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        """Make the session, at version 1.

        `SessionExistsError` where it is there, `SessionAccessError` where it is another user's.
        """

    @abstractmethod
    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        """Give the session with its last ``limit`` messages, or ``None``; all are counted."""

    @abstractmethod
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
        """Give the last ``limit`` messages; after ``after`` (``""``: the start), the first.

        `InvalidMessageError` where the session has no message ``before`` or ``after``, also with a
        limit of 0. With ``keep_system`` the session's first message comes in front, where its role
        is one of `sessionstore.models.SYSTEM_ROLES` and it is neither among them nor ``before``.
        """

    @abstractmethod
    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        """Add those whose ids are new, at the end, and make the session; give how many.

        Where there are none, nothing is written and no session is made.
        """

    @abstractmethod
    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        """Put the message in the place of the one with its id; `SessionNotFoundError` without."""

    @abstractmethod
    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        """Delete those that are there; give their ids, in the session's order."""

    @abstractmethod
    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        """Replace the messages, and merge the metadata, as far as given.

        `SessionNotFoundError` without a session, whatever version is expected.
        `sessionstore.models.merge_metadata` merges.
        """

    @abstractmethod
    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        """Delete the session; tell whether it was there."""

    @abstractmethod
    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        """Give a page, newest activity first, from an index.

        `InvalidSessionError` for a cursor that no page gave.
        """

    @abstractmethod
    def _prune_expired(self) -> Flow[int]:
        """Delete what has expired, a batch at a time; give how many sessions."""

    @abstractmethod
    def _ping(self) -> Flow[None]:
        """Ask the backend for a sign of life; `StoreUnavailableError` without one."""

    @abstractmethod
    def _play(self, flow: Flow[T]) -> T:
        """Carry out a whole operation on a blocking connection."""

    @abstractmethod
    async def _aplay(self, flow: Flow[T]) -> T:
        """Carry out a whole operation on an asyncio connection."""


_FLOWS: dict[type, Callable[[Any, Any], Flow[Any]]] = {
    Create: lambda store, it: store._create(
        it.session_id, it.messages, agent_id=it.agent_id, user_id=it.user_id, metadata=it.metadata
    ),
    Get: lambda store, it: store._get(it.session_id, limit=it.limit, user_id=it.user_id),
    GetMessages: lambda store, it: store._get_messages(
        it.session_id,
        limit=it.limit,
        before=it.before,
        after=it.after,
        user_id=it.user_id,
        keep_system=it.keep_system,
    ),
    Append: lambda store, it: store._append_messages(
        it.session_id,
        it.messages,
        agent_id=it.agent_id,
        user_id=it.user_id,
        expected_version=it.expected_version,
    ),
    ReplaceMessage: lambda store, it: store._replace_message(
        it.session_id, it.message, user_id=it.user_id
    ),
    DeleteMessages: lambda store, it: store._delete_messages(
        it.session_id, it.message_ids, user_id=it.user_id, expected_version=it.expected_version
    ),
    Update: lambda store, it: store._update(
        it.session_id,
        messages=it.messages,
        metadata=it.metadata,
        user_id=it.user_id,
        expected_version=it.expected_version,
    ),
    Delete: lambda store, it: store._delete(it.session_id, user_id=it.user_id),
    ListSessions: lambda store, it: store._list_sessions(
        agent_id=it.agent_id, user_id=it.user_id, limit=it.limit, cursor=it.cursor
    ),
    Prune: lambda store, _: store._prune_expired(),
    Ping: lambda store, _: store._ping(),
}
