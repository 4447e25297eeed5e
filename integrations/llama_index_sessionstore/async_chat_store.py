"""`AsyncSessionChatStore`: sessions as LlamaIndex's `AsyncDBChatStore`, for its `Memory`."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus
from msgspec.structs import replace

from llama_index_sessionstore.archive import Archive
from llama_index_sessionstore.binding import StoreBinding
from llama_index_sessionstore.chat_store import listed, with_distinct_ids
from llama_index_sessionstore.codec import to_llama_index, to_llama_index_messages, to_session
from llama_index_sessionstore.marks import Mark
from llama_index_sessionstore.turns import Queue, Turn, Turns
from sessionstore import SessionMessage, SessionStore, SessionStoreError
from sessionstore.flow import aplay
from sessionstore.integration import StoreFlow, ended
from sessionstore.models import new_id

__all__ = ["AsyncSessionChatStore"]

T = TypeVar("T")
_ACTIVE, _ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
_FIRST_GUESS = 32
_MOST_GUESSES = 1000

_turns_of: weakref.WeakKeyDictionary[SessionStore, Turns] = weakref.WeakKeyDictionary()


class AsyncSessionChatStore(StoreBinding, AsyncDBChatStore):
    """The sessions of a store as the chat store of LlamaIndex's `Memory`: a key is a session's id.

    Give it to ``Memory.from_defaults(session_id=…, chat_store=…)``. The oldest messages of a
    session may be archived, the others are active; the session holds them all, in their order, and
    every other reader of the session sees them all.

    Of all callers who archive or delete the oldest messages at once, in any number of processes,
    each message is handed to exactly one. Of those of one process who do so through a `Memory`,
    each waits for its turn, so that the memory blocks are given each archived message once: until
    the others' blocks are done, or for a minute after their last step. Who only reads does not
    wait; who archives what they have read so, without having added messages first, waits then. A
    memory block may read the memory that calls it; one that puts into it may be given some
    messages twice.

    In an outage of a store with a fallback, archiving goes on; then two processes may archive the
    same message.

    A dump or a pickle of it, or a pickle of a memory that holds it, names the agent and the user,
    and has no word of the store but its name. What is loaded works at once in the process that
    made the dump, and in others where the store is registered: see `register_store`. Else it works
    once it is given the store and the user, see `bind`; until then each call raises a
    `SessionStoreError`. A `Memory` leaves its chat store out of its dump: where you load one from
    its dump, give this to it again.

    Example:
        >>> import asyncio
        >>> from llama_index.core.llms import ChatMessage
        >>> from llama_index.core.memory import Memory
        >>> from llama_index_sessionstore import AsyncSessionChatStore
        >>> from sessionstore import InMemorySessionStore
        >>> chat_store = AsyncSessionChatStore(InMemorySessionStore())
        >>> memory = Memory.from_defaults(session_id="s1", chat_store=chat_store)
        >>> asyncio.run(memory.aput(ChatMessage("Hello!")))
        >>> [message.content for message in asyncio.run(memory.aget())]
        ['Hello!']

    Args:
        store: Where the sessions are.
        agent_id: The agent of the sessions that this makes, and whose keys it lists.
        user_id: The caller: a session of another user raises `SessionAccessError`. The owner of
            the sessions that this makes. ``None`` checks nothing.

    Raises:
        TypeError: The store is not a `SessionStore`.
        InvalidSessionError: An id is empty, too long, or no string.
    """

    _guesses: dict[str, int] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        store: SessionStore | None = None,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
    ) -> None:
        super().__init__(store, agent_id=agent_id, user_id=user_id)

    @classmethod
    def class_name(cls) -> str:
        """Give the name by which LlamaIndex's dumps call this class."""
        return "AsyncSessionChatStore"

    # -- LlamaIndex's methods ---------------------------------------------------------------------

    async def get_messages(
        self,
        key: str,
        status: MessageStatus | None = MessageStatus.ACTIVE,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[ChatMessage]:
        """Give a session's messages, oldest first; none where there is no session.

        Args:
            key: The session's id.
            status: Only the active, or only the archived ones; ``None`` for all.
            limit: At most so many, from the oldest on; ``None`` for all.
            offset: Without so many of the oldest ones. The cost grows with it.

        Returns:
            The messages. To change them changes nothing in the store.

        Raises:
            ValueError: The status is invalid, or the offset is below 0.
            SessionStoreError: Any of the errors of `SessionStore.get_messages`.
        """
        status = _status(status)
        if offset is not None and offset < 0:
            raise ValueError("offset must be 0 or more")
        if status is _ACTIVE and limit is None and not offset:
            return await self._queue(key)
        found = await self._aplay(self._archive(key).some(status, limit, offset or 0))
        return to_llama_index_messages(found)

    async def count_messages(
        self, key: str, status: MessageStatus | None = MessageStatus.ACTIVE
    ) -> int:
        """Count a session's messages, without reading them.

        Archived messages that others of the session's users have deleted one by one may be counted
        as such until a `Memory` archives again.

        Args:
            key: The session's id.
            status: Only the active, or only the archived ones; ``None`` for all.

        Returns:
            How many there are.

        Raises:
            ValueError: The status is invalid.
            SessionStoreError: Any of the errors of `SessionStore.get`.
        """
        return await self._aplay(self._archive(key).counting(_status(status)))

    async def add_message(
        self, key: str, message: ChatMessage, status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Add a message: see `add_messages`."""
        await self.add_messages(key, [message], status)

    async def add_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Add messages, in one step; make the session where there is none.

        Active ones are appended. Archived ones come before the active ones: where there are such,
        that writes the whole session again.

        Args:
            key: The session's id.
            messages: The messages. Each call adds them, also where the session holds them already.
            status: What they are to be.

        Raises:
            ValueError: The status is invalid.
            InvalidMessageError: One of them can't be stored; none was.
            SessionStoreError: Any of the errors of `SessionStore.append_messages`.
        """
        status = MessageStatus(status)
        new = [replace(to_session(message), id=new_id()) for message in messages]
        if status is _ACTIVE:
            await self._aplay(self._made(key))
            await self._bound.aappend_messages(
                key, new, agent_id=self.agent_id, user_id=self._caller
            )
            self._turns.added(key)
        elif new:
            await self._aplay(self._archive(key).adding_archived(new))

    async def set_messages(
        self, key: str, messages: list[ChatMessage], status: MessageStatus = MessageStatus.ACTIVE
    ) -> None:
        """Replace all messages of a session, archived ones too, in one step.

        Args:
            key: The session's id. The session is made where there is none.
            messages: What it is to hold, in order.
            status: What they all are to be.

        Raises:
            ValueError: The status is invalid.
            InvalidMessageError: One of them can't be stored; nothing was changed.
            SessionStoreError: Any of the errors of `SessionStore.update`.
        """
        status = MessageStatus(status)
        replacements = with_distinct_ids(map(to_session, messages))
        archived = replacements if status is _ARCHIVED else []
        mark = Mark().beyond(archived)
        await self._aplay(self._archive(key).setting(replacements, mark))

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Delete one of the active messages.

        Args:
            key: The session's id.
            idx: The position among the active messages: from 0 at the oldest, or from -1 at the
                newest.

        Returns:
            The message; ``None`` where there is none at this position.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.delete_messages`.
        """
        deleted = await self._aplay(self._deleting_at(key, idx))
        return to_llama_index(deleted[0]) if deleted else None

    async def delete_messages(self, key: str, status: MessageStatus | None = None) -> None:
        """Delete all messages of a session that have a status; with ``None`` the session itself.

        Args:
            key: The session's id.
            status: Only the active, or only the archived ones.

        Raises:
            ValueError: The status is invalid.
            SessionStoreError: Any of the errors of `SessionStore.delete`.
        """
        if status is None:
            await self._bound.adelete(key, user_id=self._caller)
        else:
            await self._aplay(self._archive(key).deleting(MessageStatus(status)))

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Delete the oldest active messages, and hand them out: each to one caller only.

        Args:
            key: The session's id.
            n: How many.

        Returns:
            Those that this call has deleted, oldest first: fewer than ``n`` where there are fewer.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.delete_messages`.
        """
        return to_llama_index_messages(await self._aplay(self._archive(key).deleting_oldest(n)))

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Archive the oldest active messages, and hand them out: each to one caller only.

        Right after `get_messages` gave all active messages, these are the oldest of those.

        Args:
            key: The session's id.
            n: How many.

        Returns:
            Those that this call has archived, oldest first: fewer than ``n`` where there are
            fewer, or where another process has archived some since they were read.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.update`.
        """
        turn = self._turns.read_by_caller(key)
        if turn is None or n > len(turn.ids):
            return to_llama_index_messages(await self._hand_out(key, n, None))
        try:
            await turn.begin()
            return to_llama_index_messages(await self._hand_out(key, n, turn))
        finally:
            turn.went_on()

    async def get_keys(self) -> list[str]:
        """Give the ids of all sessions of this agent, and user if one is named, with messages.

        Returns:
            The ids, newest activity first.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.list_sessions`.
        """
        infos = await self._aplay(listed(self.agent_id, self.user_id))
        return [info.id for info in self._visible(infos) if info.message_count]

    # -- The session of a key ---------------------------------------------------------------------

    def _archive(self, key: str) -> Archive:
        if self._store is None:
            self._find()
        return Archive(key, self.agent_id, self.user_id, self._caller)

    async def _queue(self, key: str) -> Queue:
        turn = await self._turns.enter(key)
        try:
            mark, active = await self._aplay(self._active(key))
        except BaseException:
            turn.end()
            raise
        ids = [str(message.id) for message in active]
        return turn.read(mark, ids, to_llama_index_messages(active))

    def _active(self, key: str) -> StoreFlow[tuple[Mark, list[SessionMessage]]]:
        """Read the active messages: in one round trip, if they are about as many as last time."""
        guess = self._guesses.get(key, _FIRST_GUESS)
        mark, active = yield from self._archive(key).active(guess)
        if len(self._guesses) > _MOST_GUESSES:
            self._guesses.clear()
        self._guesses[key] = max(len(active) + 8, _FIRST_GUESS)
        return mark, active

    def _deleting_at(self, key: str, idx: int) -> StoreFlow[list[SessionMessage]]:
        while True:
            _, active = yield from self._active(key)
            found = active[idx:][:1] if -len(active) <= idx < len(active) else []
            if not found or (yield self._archive(key).deleting_these(found)):
                return found

    async def _hand_out(self, key: str, n: int, turn: Turn | None) -> list[SessionMessage]:
        """Archive, and hand out; or neither, where the caller is cancelled meanwhile."""
        archive = self._archive(key)
        among = None if turn is None else set(turn.ids[: max(n, 0)])
        counted = Mark() if turn is None else turn.mark
        work = asyncio.ensure_future(self._aplay(archive.archiving(n, among, counted)))
        try:
            before, oldest = await asyncio.shield(work)
        except asyncio.CancelledError:
            # However often they are: the next one's turn begins behind it.
            await ended(asyncio.ensure_future(self._take_back(archive, work)))
            raise
        if turn is not None:
            turn.ids, turn.mark = turn.ids[n:], before.beyond(oldest)
        return oldest

    async def _take_back(
        self, archive: Archive, work: asyncio.Future[tuple[Mark, list[SessionMessage]]]
    ) -> None:
        with suppress(SessionStoreError, asyncio.CancelledError):
            before, oldest = await work
            if oldest:
                await self._aplay(archive.moving_back(before, before.beyond(oldest)))

    @property
    def _turns(self) -> Turns:
        store = self._bound
        turns = _turns_of.get(store)
        return turns or _turns_of.setdefault(store, Turns())

    async def _aplay(self, flow: StoreFlow[T]) -> T:
        return await aplay(flow, self._bound.arun)


def _status(status: MessageStatus | None) -> MessageStatus | None:
    """Give the status where its value may stand for it, as it does in LlamaIndex's own stores."""
    return None if status is None else MessageStatus(status)
