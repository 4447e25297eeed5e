"""`BoundSession`: a handle on one session of a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sessionstore.arguments import checked_id, optional_id
from sessionstore.leases import Lease, arun_under, run_under
from sessionstore.models import MessageLike, SessionData, SessionInfo, SessionMessage
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fork,
    Get,
    GetMessages,
    ReplaceMessage,
    Rewind,
    Update,
)
from sessionstore.runner import Runner

__all__ = ["BoundSession"]


class BoundSession:
    """One session of a store, for one caller: what `SessionStore.session` gives.

    Its methods are those of `SessionStore` that are about one session, and promise, return and
    raise the same; `messages` and `append` are short for the two of them that a turn needs. An
    async method has an ``a`` before its name. The handle holds nothing of the session itself, and
    may be used from any number of threads and event loops.

    Example:
        >>> from sessionstore import InMemorySessionStore
        >>> session = InMemorySessionStore().session("s1", user_id="alice")
        >>> session.append({"role": "user", "content": "Hello!"})
        1
        >>> [message.content for message in session.messages(limit=20)]
        ['Hello!']

    Args:
        store: The store.
        session_id: The session; it need not exist yet.
        agent_id: The agent of the session, if a method makes it.
        user_id: The caller; the owner, if a method makes the session.

    Attributes:
        session_id: As given.
        agent_id: As given.
        user_id: As given.

    Raises:
        InvalidSessionError: One of these is not valid.
    """

    def __init__(
        self,
        store: Runner,
        session_id: str,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
    ) -> None:
        """Bind a session; nothing is asked yet."""
        self._store = store
        self.session_id: str = checked_id(session_id, "session_id")
        self.agent_id: str = checked_id(agent_id, "agent_id")
        self.user_id: str | None = optional_id(user_id, "user_id")

    def __repr__(self) -> str:
        """Tell which session of which store it is."""
        return f"BoundSession({self._store!r}, {self.session_id!r})"

    def _repr_html_(self) -> str:
        """Show a notebook the session, with its last 20 messages, by one `get`, or the error."""
        from sessionstore.notebook import stored_html  # noqa: PLC0415 - only a notebook needs it

        return stored_html(self._store, self.session_id, user_id=self.user_id)

    def messages(
        self,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Read the session's messages, oldest first: `get_messages`, in short.

        Args:
            limit: Only the last ``limit`` of them, or with ``after`` the first; ``None`` for all.
            before: Only those before the message with this id, for paging back.
            after: Only those behind the message with this id.
            keep_system: Put a system message that the session begins with in front.

        Returns:
            The messages; ``[]`` when there is no session.

        Raises:
            SessionAccessError: The session belongs to another user.
            InvalidMessageError: The session has no message with the id ``before`` or ``after``.
            CorruptMessageError: A stored message among these can't be read.
        """
        return self.get_messages(limit=limit, before=before, after=after, keep_system=keep_system)

    async def amessages(
        self,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Async twin of `messages`."""
        return await self.aget_messages(
            limit=limit, before=before, after=after, keep_system=keep_system
        )

    def append(
        self,
        *messages: MessageLike,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Append one message or more: all or none, in order; makes the session when it is new.

        Example:
            >>> from sessionstore import InMemorySessionStore
            >>> session = InMemorySessionStore().session("s1", user_id="alice")
            >>> question = {"role": "user", "content": "Two and two?"}
            >>> session.append(question, {"role": "assistant", "content": "Four."})
            2

        Args:
            messages: The messages, oldest first. One without an id is given one.
            expected_version: The version that the session must be at (0: not there yet).
            lease: Only while this lease is held.

        Returns:
            How many were added; those that the session already holds are not.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(self._store, lease, self._append(messages, expected_version))

    async def aappend(
        self,
        *messages: MessageLike,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Async twin of `append`."""
        return await arun_under(self._store, lease, self._append(messages, expected_version))

    def create(
        self, *, messages: Iterable[MessageLike] = (), metadata: dict[str, Any] | None = None
    ) -> SessionData:
        """Make the session; as `SessionStore.create`."""
        return self._store.run(self._create(messages, metadata))

    async def acreate(
        self, *, messages: Iterable[MessageLike] = (), metadata: dict[str, Any] | None = None
    ) -> SessionData:
        """Async twin of `create`."""
        return await self._store.arun(self._create(messages, metadata))

    def get(self, *, limit: int | None = None) -> SessionData | None:
        """Read the session; as `SessionStore.get`."""
        return self._store.run(Get(self.session_id, limit, self.user_id))

    async def aget(self, *, limit: int | None = None) -> SessionData | None:
        """Async twin of `get`."""
        return await self._store.arun(Get(self.session_id, limit, self.user_id))

    def get_messages(
        self,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Read the session's messages, oldest first; as `SessionStore.get_messages`."""
        return self._store.run(
            GetMessages(self.session_id, limit, before, after, self.user_id, keep_system)
        )

    async def aget_messages(
        self,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Async twin of `get_messages`."""
        return await self._store.arun(
            GetMessages(self.session_id, limit, before, after, self.user_id, keep_system)
        )

    def append_message(
        self,
        message: MessageLike,
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Append one message, if its id is new; as `SessionStore.append_message`."""
        return run_under(self._store, lease, self._append([message], expected_version))

    async def aappend_message(
        self,
        message: MessageLike,
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Async twin of `append_message`."""
        return await arun_under(self._store, lease, self._append([message], expected_version))

    def append_messages(
        self,
        messages: Iterable[MessageLike],
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Append those whose ids are new; as `SessionStore.append_messages`."""
        return run_under(self._store, lease, self._append(messages, expected_version))

    async def aappend_messages(
        self,
        messages: Iterable[MessageLike],
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Async twin of `append_messages`."""
        return await arun_under(self._store, lease, self._append(messages, expected_version))

    def replace_message(self, message: MessageLike, *, lease: Lease | None = None) -> None:
        """Put a message in the place of the one with its id; as `SessionStore.replace_message`."""
        run_under(self._store, lease, ReplaceMessage(self.session_id, message, self.user_id))  # type: ignore[arg-type]

    async def areplace_message(self, message: MessageLike, *, lease: Lease | None = None) -> None:
        """Async twin of `replace_message`."""
        await arun_under(self._store, lease, ReplaceMessage(self.session_id, message, self.user_id))  # type: ignore[arg-type]

    def delete_messages(
        self,
        message_ids: Iterable[str],
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Delete some messages; as `SessionStore.delete_messages`."""
        return run_under(self._store, lease, self._deletion(message_ids, expected_version))

    async def adelete_messages(
        self,
        message_ids: Iterable[str],
        *,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Async twin of `delete_messages`."""
        return await arun_under(self._store, lease, self._deletion(message_ids, expected_version))

    def rewind(
        self, *, to: str | None, expected_version: int | None = None, lease: Lease | None = None
    ) -> list[str]:
        """Delete all messages behind one; as `SessionStore.rewind`."""
        return run_under(
            self._store, lease, Rewind(self.session_id, to, self.user_id, expected_version)
        )

    async def arewind(
        self, *, to: str | None, expected_version: int | None = None, lease: Lease | None = None
    ) -> list[str]:
        """Async twin of `rewind`."""
        return await arun_under(
            self._store, lease, Rewind(self.session_id, to, self.user_id, expected_version)
        )

    def update(
        self,
        *,
        messages: Iterable[MessageLike] | None = None,
        metadata: dict[str, Any] | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> SessionInfo:
        """Change messages and metadata in one step; as `SessionStore.update`."""
        return run_under(self._store, lease, self._update(messages, metadata, expected_version))

    async def aupdate(
        self,
        *,
        messages: Iterable[MessageLike] | None = None,
        metadata: dict[str, Any] | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> SessionInfo:
        """Async twin of `update`."""
        return await arun_under(
            self._store, lease, self._update(messages, metadata, expected_version)
        )

    def fork(
        self,
        new_session_id: str | None = None,
        *,
        at: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SessionInfo:
        """Make a new session with the messages of this one; as `SessionStore.fork`."""
        return self._store.run(Fork(self.session_id, new_session_id, at, self.user_id, metadata))

    async def afork(
        self,
        new_session_id: str | None = None,
        *,
        at: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SessionInfo:
        """Async twin of `fork`."""
        return await self._store.arun(
            Fork(self.session_id, new_session_id, at, self.user_id, metadata)
        )

    def delete(self, *, lease: Lease | None = None) -> bool:
        """Delete the session; as `SessionStore.delete`."""
        return run_under(self._store, lease, Delete(self.session_id, self.user_id))

    async def adelete(self, *, lease: Lease | None = None) -> bool:
        """Async twin of `delete`."""
        return await arun_under(self._store, lease, Delete(self.session_id, self.user_id))

    def lease(self, *, seconds: float = 60, wait: float = 0, take_over: bool = False) -> Lease:
        """Give the session's lease, taken on entering it; as `SessionStore.lease`."""
        return Lease(
            self._store,
            self.session_id,
            seconds=seconds,
            wait=wait,
            user_id=self.user_id,
            take_over=take_over,
        )

    def _create(self, messages: Iterable[MessageLike], metadata: dict[str, Any] | None) -> Create:
        named = self.session_id, messages, self.agent_id, self.user_id, metadata
        return Create(*named)  # type: ignore[arg-type]

    def _append(self, messages: Iterable[MessageLike], expected_version: int | None) -> Append:
        named = self.session_id, messages, self.agent_id, self.user_id, expected_version
        return Append(*named)  # type: ignore[arg-type]

    def _deletion(self, message_ids: Iterable[str], expected_version: int | None) -> DeleteMessages:
        named = self.session_id, message_ids, self.user_id, expected_version
        return DeleteMessages(*named)  # type: ignore[arg-type]

    def _update(
        self,
        messages: Iterable[MessageLike] | None,
        metadata: dict[str, Any] | None,
        expected_version: int | None,
    ) -> Update:
        named = self.session_id, messages, metadata, self.user_id, expected_version
        return Update(*named)  # type: ignore[arg-type]
