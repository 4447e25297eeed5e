"""`SessionStore`: the contract that every store keeps, each method sync and async."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from sessionstore.bounds import StoreBounds
from sessionstore.leases import Lease, arun_under, run_under
from sessionstore.models import MessageLike, SessionData, SessionInfo, SessionMessage, SessionPage
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Ping,
    Prune,
    ReplaceMessage,
    Rewind,
    Setup,
    Update,
)
from sessionstore.runner import Runner
from sessionstore.stats import StoreConnections, StoreStats

if TYPE_CHECKING:
    from typing_extensions import Self

from sessionstore.bound_session import BoundSession

__all__ = ["SessionStore"]


class SessionStore(Runner):
    """Sessions and their messages: kept, ordered, owned, whatever the backend.

    Every store promises the same:

    1. *Acknowledged means kept.* A call that returned is in the store; a call that raised left
       nothing half done.
    2. *Idempotent by message id.* Appending an id that the session already holds adds nothing and
       changes nothing, so a retry adds each message once.
    3. *One order* of a session's messages, given by the store at commit, the same for all readers.
    4. *Ownership.* With ``user_id`` given, a session that has another owner raises
       `SessionAccessError`, checked in the same atomic step as the work. The owner is set when the
       session is made; a session made without one is open to every caller, and stays so. Without
       ``user_id`` nothing is checked: the caller is trusted.
    5. *Compare and append.* With ``expected_version``, another version raises
       `SessionConflictError` and nothing is written. A session that is not there is at version 0.
    6. *Flat cost.* Appending k messages and reading the last k cost the same however long the
       session is.
    7. *Any session id*: any non-empty text of up to 512 characters. Two ids never meet.
    8. *Expired is gone*: never returned, pruned or not.
    9. *Cancelled is settled.* When a call that is cancelled, or that Ctrl-C breaks off, comes back,
       it took effect or it never will: all of it, or nothing. No lock is left held.

    An async method is the sync one of the same name with an ``a`` before it, and promises the
    same. A store may be used from any number of threads and event loops at once.

    Wherever a message is taken, a mapping of its fields is, too: ``{"role": "user", "content":
    "Hello!"}``. The roles ``human`` and ``ai`` are taken for ``user`` and ``assistant``.

    Every method may raise `StoreUnavailableError` (as a `StoreConnectionError` where the backend
    can't be reached, a `StoreTimeoutError` where it gave no answer in time, a `StoreBusyError`
    where a lock or a limit prevents the call), `SessionStoreError` (it refuses), and
    `InvalidSessionError` or `InvalidMessageError` (an argument is not valid; nothing was sent). For
    an argument of the wrong type the former may be an `InvalidTypeError`, which is a `TypeError`.
    Further errors are named at each method.

    Each method makes an operation, a value of `sessionstore.operations`, and gives it to `run` or
    `arun`: these two are what a backend implements, with a dict from the class of an operation to
    the function that carries it out. An operation is checked when it is made: ids,
    limits and versions are valid, ids are plain strings; each message is a `SessionMessage` with an
    id, none twice in a batch, and a time in UTC. What is not checked is whether messages and
    metadata are JSON: a backend turns them into their stored form before anything else, with
    `sessionstore.models.encode_message` and `encode_metadata`, which refuse what is not, and reads
    them with `decode_messages` and `decode_metadata`, so that what a caller holds is never what the
    store holds. `require_owner` in `sessionstore.ownership` and `require_version` in
    `sessionstore.arguments` raise what the contract asks for, in the same atomic step as the work.
    ``docs/extend/writing_a_store.md`` shows a whole backend, and `sessionstore.testing` has the
    tests that it has to pass.

    A backend that waits for anything gives its `timeout`, and ends each call by it, whatever is
    done in the call: waiting for a lock or a connection, each receive, second tries, what the first
    use makes. At its start `sessionstore.deadline.deadline_after` with that `timeout` gives the
    time of `time.monotonic` by which it has to be over; that is earlier where the call is
    part of another one, such as a fallback's replay. A thread is handed that time: it does not see
    it by itself. Past it a call raises `StoreTimeoutError`.

    A backend with a sync and an async driver can write each operation once, as a flow: see
    `sessionstore.flow`. One without an async driver works in a thread, so that the event loop goes
    on; a thread can't be cancelled, so that a cancelled caller comes back only when it is done.

    An error of the driver or the system, such as an `OSError`, never reaches a caller: it is the
    ``__cause__`` of a `SessionStoreError`. After `close` every call, sync and async, raises a plain
    `SessionStoreError`: not a `StoreUnavailableError`, since trying again does not help.

    `create` keeps all metadata that it is given, keys whose value is ``None`` included; `update`
    takes such keys away, as `sessionstore.models.merge_metadata` does. A version is 1 when the
    session is made, and one more with each write that changes anything.
    """

    _system: ClassVar[str] = "other"

    def session(
        self, session_id: str, *, agent_id: str = "default", user_id: str | None = None
    ) -> BoundSession:
        """Give a handle on one session, whose methods need no session id. Nothing is sent yet.

        Args:
            session_id: The session; it need not exist yet.
            agent_id: The agent of the session, if a method of the handle makes it.
            user_id: The caller, for every method of the handle.

        Returns:
            The handle.

        Raises:
            InvalidSessionError: One of these is not valid.
        """
        return BoundSession(self, session_id, agent_id=agent_id, user_id=user_id)

    def lease(
        self,
        session_id: str,
        *,
        seconds: float = 60,
        wait: float = 0,
        user_id: str | None = None,
        take_over: bool = False,
    ) -> Lease:
        """Give the lease of a session, taken on entering it by ``with`` or ``async with``.

        One holds it at a time, across processes and machines, for ``seconds`` or until it is
        renewed, given back or taken over. The store's clock decides: a server's, or the machine's
        that nobody sets. The session need not be there, and is not made. Of those who wait, any may
        be the next. See `Lease`.

        Example:
            >>> from sessionstore import InMemorySessionStore, SessionLeasedError
            >>> store = InMemorySessionStore()
            >>> with store.lease("s1"):
            ...     try:
            ...         with store.lease("s1"):
            ...             pass
            ...     except SessionLeasedError:
            ...         print("somebody is at it")
            somebody is at it

        Args:
            session_id: The session.
            seconds: How long the lease lasts unless it is renewed: 0.001 to 86,400, a day.
            wait: How long to wait for it where another holds it: 0 to 86,400 seconds.
            user_id: The caller, where ownership is to be checked.
            take_over: Take it from whoever holds it, whose writes under it are refused then.

        Returns:
            The lease; nothing is sent yet.

        Raises:
            InvalidSessionError: One of these is not valid.
        """
        return Lease(
            self,
            session_id,
            seconds=seconds,
            wait=wait,
            user_id=user_id,
            take_over=take_over,
        )

    # -- The operations ---------------------------------------------------------------------------

    def create(
        self,
        session_id: str | None = None,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        messages: Iterable[MessageLike] = (),
        metadata: dict[str, Any] | None = None,
    ) -> SessionData:
        """Make a new session.

        Args:
            session_id: Its id; one is made when none is given.
            agent_id: The agent that the conversation is with.
            user_id: The owner; ``None`` leaves the session open to every caller for good.
            messages: The first messages. Those without an id are given one.
            metadata: A JSON object, such as a title and tags. All of it is kept, a key whose value
                is ``None``, too.

        Returns:
            The session as it is stored.

        Raises:
            SessionExistsError: The id is taken.
            SessionAccessError: The id is taken by a session of another user.
        """
        return self.run(Create(session_id, messages, agent_id, user_id, metadata))  # type: ignore[arg-type]

    async def acreate(
        self,
        session_id: str | None = None,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        messages: Iterable[MessageLike] = (),
        metadata: dict[str, Any] | None = None,
    ) -> SessionData:
        """Async twin of `create`."""
        operation = Create(session_id, messages, agent_id, user_id, metadata)  # type: ignore[arg-type]
        return await self.arun(operation)

    def get(
        self, session_id: str, *, limit: int | None = None, user_id: str | None = None
    ) -> SessionData | None:
        """Read a session.

        Args:
            session_id: Its id.
            limit: Only its last ``limit`` messages; ``None`` for all.
            user_id: The caller, where ownership is to be checked.

        Returns:
            The session, or ``None`` when there is none.

        Raises:
            SessionAccessError: The session belongs to another user.
            CorruptMessageError: A stored message among these can't be read.
        """
        return self.run(Get(session_id, limit, user_id))

    async def aget(
        self, session_id: str, *, limit: int | None = None, user_id: str | None = None
    ) -> SessionData | None:
        """Async twin of `get`."""
        return await self.arun(Get(session_id, limit, user_id))

    def get_messages(
        self,
        session_id: str,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Read a session's messages, oldest first.

        Args:
            session_id: Its id.
            limit: Only the last ``limit`` of them, or with ``after`` the first; ``None`` for all.
            before: Only those before the message with this id, for paging back.
            after: Only those behind the message with this id, for paging forward; ``""`` begins
                at the session's first message. Not together with ``before``.
            user_id: The caller, where ownership is to be checked.
            keep_system: Put the session's first message in front, beyond the limit, if it is a
                system (or "developer") message: a view of a long conversation needs it. Not
                together with ``after``, which comes by that message by itself.

        Returns:
            The messages; ``[]`` when there is no session.

        Raises:
            SessionAccessError: The session belongs to another user.
            InvalidMessageError: The session has no message with the id ``before`` or ``after``, or
                ``after`` was given together with ``before`` or ``keep_system``.
            InvalidTypeError: ``limit`` is not a whole number, or ``keep_system`` not a ``bool``.
            CorruptMessageError: A stored message among these can't be read.
        """
        return self.run(GetMessages(session_id, limit, before, after, user_id, keep_system))

    async def aget_messages(
        self,
        session_id: str,
        *,
        limit: int | None = None,
        before: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        keep_system: bool = False,
    ) -> list[SessionMessage]:
        """Async twin of `get_messages`."""
        return await self.arun(GetMessages(session_id, limit, before, after, user_id, keep_system))

    def append_message(
        self,
        session_id: str,
        message: MessageLike,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Append one message: `append_messages` of a single one.

        Args:
            session_id: The session's id.
            message: The message.
            agent_id: As for `append_messages`.
            user_id: As for `append_messages`.
            expected_version: As for `append_messages`.
            lease: As for `append_messages`.

        Returns:
            1, or 0 when the session already holds a message with this id.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(
            self,
            lease,
            Append(session_id, (message,), agent_id, user_id, expected_version),  # type: ignore[arg-type]
        )

    async def aappend_message(
        self,
        session_id: str,
        message: MessageLike,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Async twin of `append_message`."""
        return await arun_under(
            self,
            lease,
            Append(session_id, (message,), agent_id, user_id, expected_version),  # type: ignore[arg-type]
        )

    def append_messages(
        self,
        session_id: str,
        messages: Iterable[MessageLike],
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Append messages: all or none, in order, never interleaved with another writer's.

        Makes the session when it is new. An empty batch adds nothing and makes no session.

        Example:
            >>> from sessionstore import InMemorySessionStore, SessionMessage
            >>> store = InMemorySessionStore()
            >>> hello = SessionMessage("user", "Hello!", id="m1")
            >>> store.append_messages("s1", [hello])
            1
            >>> store.append_messages("s1", [hello])  # a retry adds nothing
            0

        Args:
            session_id: The session's id.
            messages: The messages, oldest first. One without an id is given one; the caller's
                object is not touched. Of two with the same id the first counts.
            agent_id: The agent of the session, if this makes it.
            user_id: The caller, where ownership is to be checked; the owner, if this makes the
                session.
            expected_version: The version that the session must be at (0: not there yet).
            lease: Only while this lease is held: see `lease`.

        Returns:
            How many were added; those that the session already holds are not.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(
            self,
            lease,
            Append(session_id, messages, agent_id, user_id, expected_version),  # type: ignore[arg-type]
        )

    async def aappend_messages(
        self,
        session_id: str,
        messages: Iterable[MessageLike],
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> int:
        """Async twin of `append_messages`."""
        return await arun_under(
            self,
            lease,
            Append(session_id, messages, agent_id, user_id, expected_version),  # type: ignore[arg-type]
        )

    def replace_message(
        self,
        session_id: str,
        message: MessageLike,
        *,
        user_id: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Swap the message that has the same id for this one, in its place.

        Args:
            session_id: The session's id.
            message: The new message, with the id of the old one.
            user_id: The caller, where ownership is to be checked.
            lease: As for `append_messages`.

        Raises:
            SessionNotFoundError: There is no such session, or no such message in it.
            SessionAccessError: The session belongs to another user.
            InvalidMessageError: The message has no id, or can't be stored.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        run_under(self, lease, ReplaceMessage(session_id, message, user_id))  # type: ignore[arg-type]

    async def areplace_message(
        self,
        session_id: str,
        message: MessageLike,
        *,
        user_id: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Async twin of `replace_message`."""
        await arun_under(self, lease, ReplaceMessage(session_id, message, user_id))  # type: ignore[arg-type]

    def delete_messages(
        self,
        session_id: str,
        message_ids: Iterable[str],
        *,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Delete some messages of a session, in one atomic step. The session stays.

        Of any number of callers who delete the same message at once, one is told its id: that one
        may take it for its own. An id that was deleted is new to the session again.

        Example:
            >>> from sessionstore import InMemorySessionStore, SessionMessage
            >>> store = InMemorySessionStore()
            >>> store.append_messages("s1", [SessionMessage("user", "Hello!", id="m1")])
            1
            >>> store.delete_messages("s1", ["m1", "m2"])
            ['m1']
            >>> store.delete_messages("s1", ["m1", "m2"])
            []

        Args:
            session_id: The session's id.
            message_ids: The ids of the messages; one that the session does not hold is passed over.
            user_id: The caller, where ownership is to be checked.
            expected_version: The version that the session must be at (0: not there).
            lease: As for `append_messages`.

        Returns:
            The ids of the messages that this call has deleted, in the session's order; ``[]`` when
            there is no session. Where it is ``[]`` nothing was written.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(
            self,
            lease,
            DeleteMessages(session_id, message_ids, user_id, expected_version),  # type: ignore[arg-type]
        )

    async def adelete_messages(
        self,
        session_id: str,
        message_ids: Iterable[str],
        *,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Async twin of `delete_messages`."""
        return await arun_under(
            self,
            lease,
            DeleteMessages(session_id, message_ids, user_id, expected_version),  # type: ignore[arg-type]
        )

    def rewind(
        self,
        session_id: str,
        *,
        to: str | None,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Delete all messages behind one, in one atomic step. The session stays.

        What a user does who edits an earlier message, or wants another answer to it. An id that was
        deleted is new to the session again: its message can be appended, at the end. To do this and
        append in one step, give `run` a list: ``[Rewind("s1", "m1"), Append("s1", […])]``.

        Example:
            >>> from sessionstore import InMemorySessionStore
            >>> store = InMemorySessionStore()
            >>> store.append_messages(
            ...     "s1",
            ...     [
            ...         {"role": "user", "content": "Tea, please.", "id": "m1"},
            ...         {"role": "assistant", "content": "Which one?", "id": "m2"},
            ...         {"role": "user", "content": "Green.", "id": "m3"},
            ...     ],
            ... )
            3
            >>> store.rewind("s1", to="m1")
            ['m2', 'm3']
            >>> store.rewind("s1", to="m1")
            []

        Args:
            session_id: The session's id.
            to: The id of the message that is the last one then; ``None`` deletes all messages.
            user_id: The caller, where ownership is to be checked.
            expected_version: The version that the session must be at (0: not there).
            lease: As for `append_messages`.

        Returns:
            The ids of the messages that this call has deleted, in the session's order. Where it is
            ``[]``, as for ``to=None`` where there is no session, nothing was written.

        Raises:
            SessionNotFoundError: There is no such session, or no message ``to`` in it.
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(self, lease, Rewind(session_id, to, user_id, expected_version))

    async def arewind(
        self,
        session_id: str,
        *,
        to: str | None,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> list[str]:
        """Async twin of `rewind`."""
        return await arun_under(self, lease, Rewind(session_id, to, user_id, expected_version))

    def update(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageLike] | None = None,
        metadata: dict[str, Any] | None = None,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> SessionInfo:
        """Replace a session's messages, merge its metadata, or both in one step.

        Metadata alone is no activity: it raises the version, and leaves ``updated_at``, and so the
        session's place in lists and when it expires, as they were.

        Args:
            session_id: The session's id.
            messages: All messages from now on; ``None`` leaves them as they are.
            metadata: Keys to set; a key whose value is ``None`` is removed; the others stay.
            user_id: The caller, where ownership is to be checked.
            expected_version: The version that the session must be at.
            lease: As for `append_messages`.

        Returns:
            The session as it is now, without its messages.

        Raises:
            SessionNotFoundError: There is no such session.
            SessionAccessError: The session belongs to another user.
            SessionConflictError: The session is at another version.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(
            self,
            lease,
            Update(session_id, messages, metadata, user_id, expected_version),  # type: ignore[arg-type]
        )

    async def aupdate(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageLike] | None = None,
        metadata: dict[str, Any] | None = None,
        user_id: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> SessionInfo:
        """Async twin of `update`."""
        return await arun_under(
            self,
            lease,
            Update(session_id, messages, metadata, user_id, expected_version),  # type: ignore[arg-type]
        )

    def fork(
        self,
        session_id: str,
        new_session_id: str | None = None,
        *,
        at: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SessionInfo:
        """Make a new session with the messages of another one, inside the store.

        It is one atomic step; under Redis Cluster it is two, of which none leaves half a copy. The
        new session has the same agent and owner, and the same messages with their ids, up to and
        with the message ``at``; its version is 1, and its times are now. Its metadata is the other
        one's, with ``metadata`` merged into it, and says where it comes from:
        ``{"forked_from": {"session_id": …, "message_id": …}}``, which names the last message
        copied, or ``None`` where there is none. The other session is not changed.

        Example:
            >>> from sessionstore import InMemorySessionStore
            >>> store = InMemorySessionStore()
            >>> question = {"role": "user", "content": "Lisbon or Porto?", "id": "m1"}
            >>> answer = {"role": "assistant", "content": "Porto.", "id": "m2"}
            >>> store.append_messages("s1", [question, answer])
            2
            >>> store.fork("s1", "s2", at="m1").metadata
            {'forked_from': {'session_id': 's1', 'message_id': 'm1'}}
            >>> [message.id for message in store.get_messages("s2")]
            ['m1']

        Args:
            session_id: The session to copy.
            new_session_id: The id of the new one; one is made when none is given. Give one where
                you try again by yourself: a second try then never makes a second session.
            at: The id of the last message to copy; ``None`` for all messages.
            user_id: The caller, where ownership is to be checked.
            metadata: Keys to set in the new session; a key whose value is ``None`` is left out.

        Returns:
            The new session, without its messages.

        Raises:
            SessionNotFoundError: There is no such session, or no message ``at`` in it.
            SessionExistsError: ``new_session_id`` is taken, as by the session itself.
            SessionAccessError: The session belongs to another user, or ``new_session_id`` is taken
                by a session of another user.
        """
        return self.run(Fork(session_id, new_session_id, at, user_id, metadata))

    async def afork(
        self,
        session_id: str,
        new_session_id: str | None = None,
        *,
        at: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SessionInfo:
        """Async twin of `fork`."""
        return await self.arun(Fork(session_id, new_session_id, at, user_id, metadata))

    def delete(
        self, session_id: str, *, user_id: str | None = None, lease: Lease | None = None
    ) -> bool:
        """Delete a session with all that it holds.

        Args:
            session_id: The session's id.
            user_id: The caller, where ownership is to be checked.
            lease: As for `append_messages`.

        Returns:
            Whether there was one.

        Raises:
            SessionAccessError: The session belongs to another user.
            SessionLeasedError: The ``lease`` was lost; nothing was written.
        """
        return run_under(self, lease, Delete(session_id, user_id))

    async def adelete(
        self, session_id: str, *, user_id: str | None = None, lease: Lease | None = None
    ) -> bool:
        """Async twin of `delete`."""
        return await arun_under(self, lease, Delete(session_id, user_id))

    def list_sessions(
        self,
        *,
        agent_id: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        last: int = 0,
    ) -> SessionPage:
        """List sessions, newest activity first, a page at a time.

        A session whose messages change while one pages moves to the front: the pages that follow
        don't show it again. A change of metadata alone moves none. All that is asked for holds
        together, and is found by an index: a page costs the same among a million sessions.

        A session that can't be read is left out, and named in the log; with ``last`` also one
        whose last messages can't be.

        Example:
            >>> from sessionstore import InMemorySessionStore
            >>> store = InMemorySessionStore()
            >>> store.append_message("s1", {"role": "user", "content": "Hello!"}, user_id="alice")
            1
            >>> [session] = store.list_sessions(user_id="alice", last=1).sessions
            >>> session.id, session.messages[-1].content
            ('s1', 'Hello!')
            >>> store.list_sessions(user_id="alice", updated_after=session.updated_at).sessions
            []

        Args:
            agent_id: Only the sessions with this agent.
            user_id: Only the sessions of this owner.
            limit: How many to a page, 1 or more.
            cursor: The `SessionPage.cursor` of the page before. Give the filters again with it.
            updated_after: Only the sessions with a later `SessionInfo.updated_at` than this moment,
                which needs a timezone. Given the newest that you have, it lists what is newer.
            updated_before: Only the sessions with an earlier one.
            last: Of each session its last messages, so many, in `SessionInfo.messages`: 0 to 100.
                They are read in the same step.

        Returns:
            One page, with the cursor for the next.

        Raises:
            InvalidSessionError: The cursor is not one that this store gave; or a moment has no
                timezone; or ``last`` is above 100.
        """
        return self.run(
            ListSessions(agent_id, user_id, limit, cursor, updated_after, updated_before, last)
        )

    async def alist_sessions(
        self,
        *,
        agent_id: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        last: int = 0,
    ) -> SessionPage:
        """Async twin of `list_sessions`."""
        return await self.arun(
            ListSessions(agent_id, user_id, limit, cursor, updated_after, updated_before, last)
        )

    def prune_expired(self) -> int:
        """Delete the sessions not written to for longer than the store retains them.

        They are not returned before that either: this frees their space for what is written later
        (an SQLite file keeps its size; ``VACUUM`` in `sqlite3` makes it smaller).

        Returns:
            How many were deleted; 0 where the store keeps sessions for good.
        """
        return self.run(Prune())

    async def aprune_expired(self) -> int:
        """Async twin of `prune_expired`."""
        return await self.arun(Prune())

    def ping(self) -> None:
        """Ask the backend for a sign of life.

        Raises:
            StoreUnavailableError: It gave none.
        """
        self.run(Ping())

    async def aping(self) -> None:
        """Async twin of `ping`."""
        await self.arun(Ping())

    def setup(self) -> None:
        """Do what the first use would do, when you want it done, such as before a deployment.

        It makes a file and its tables, or a server's, asks whether the user may do all that the
        store needs, and has Redis know its scripts. To do it again, or in many processes at once,
        is fine: what is there stays as it is. A store in memory has nothing to do.

        A fallback sets up both of its stores. A primary that is away is no error, so that an
        application starts all the same: it is set up by its first use, and `is_degraded` tells,
        where it is closed or refuses to be reached. One that hangs is noticed by the next calls.

        Example:
            >>> from sessionstore import open_store
            >>> store = open_store("sqlite://")
            >>> store.setup()

        Raises:
            StoreUnavailableError: The backend can't be reached, or is busy; of a fallback, where
                it is the fallback store that is away.
            SessionStoreError: It refuses: the user lacks a permission, or what is there is damaged,
                another application's, or of a newer version.
        """
        self.run(Setup())

    async def asetup(self) -> None:
        """Async twin of `setup`."""
        await self.arun(Setup())

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds, all that is done in it included.

        ``None`` where the store sets no bound.
        """
        return None

    @property
    def bounds(self) -> StoreBounds:
        """The largest write that the store takes, as far as it is known without asking."""
        return StoreBounds()

    @property
    def system(self) -> str:
        """What keeps the sessions, in OpenTelemetry's words for ``db.system.name``.

        ``"memory"``, ``"sqlite"``, ``"redis"``, ``"postgresql"``; ``"other"`` where a store does
        not say it. A fallback gives its primary's.
        """
        return self._system

    def stats(self) -> StoreStats:
        """Give what was counted in this process since the store was made; no server is asked.

        A fallback tells more: how things stand, and what happened to it. A wrapper gives what the
        store within it has counted.

        Example:
            >>> from sessionstore import InMemorySessionStore
            >>> store = InMemorySessionStore()
            >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
            1
            >>> store.stats().operations
            {'Append': 1}

        Returns:
            The counts: of operations by name, of errors by class, and of open connections.
        """
        operations, errors = self._counted()
        connections = self._connections()
        return StoreStats(operations=operations, errors=errors, connections=connections)

    def _connections(self) -> StoreConnections | None:
        """Count the connections, for `stats`: what a store that has some overrides."""
        return None

    def is_degraded(self) -> bool:
        """Tell whether the store does without its primary: never, where it has no fallback."""
        return False

    def recover(self) -> bool:
        """Try the primary now, and replay what waits for it.

        Returns:
            Whether the primary answers and has every write: ``True`` where there is no fallback.
        """
        return True

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return self.recover()

    def close(self) -> None:
        """Close what the store opened itself; later calls raise `SessionStoreError`.

        To close twice is fine.
        """

    async def aclose(self) -> None:
        """Async twin of `close`."""
        self.close()

    def _repr_html_(self) -> str:
        """Show a notebook the 10 newest sessions, by one `list_sessions`, or why it can't."""
        from sessionstore.notebook import store_html  # noqa: PLC0415 - only a notebook needs it

        return store_html(self)

    def __enter__(self) -> Self:
        """Give the store, to be closed when the block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    async def __aenter__(self) -> Self:
        """Give the store, to be closed when the block ends."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        await self.aclose()
