"""`SessionChatStore`: sessions as LlamaIndex's `BaseChatStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.storage.chat_store import BaseChatStore, SimpleChatStore
from llama_index.core.storage.chat_store.loading import RECOGNIZED_CHAT_STORES
from msgspec.structs import replace

from llama_index_sessionstore.binding import StoreBinding
from llama_index_sessionstore.codec import to_llama_index, to_llama_index_messages, to_session
from llama_index_sessionstore.registry import register_store
from sessionstore import (
    SessionExistsError,
    SessionInfo,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
)
from sessionstore.flow import aplay, play
from sessionstore.integration import StoreFlow
from sessionstore.models import WITHOUT_SUMMARY, new_id
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Update,
)

__all__ = ["METADATA", "SessionChatStore", "listed", "register_store", "with_distinct_ids"]

T = TypeVar("T")
METADATA = "llama_index"
"""The key of a session's metadata under which `AsyncSessionChatStore` keeps what is archived."""
_PAGE = 1000
_NEAR = 16
_ALL_ACTIVE = {METADATA: None}


class SessionChatStore(StoreBinding, BaseChatStore):
    """The sessions of a store as LlamaIndex's chat store: a key is a session's id.

    For `ChatMemoryBuffer`, `ChatSummaryMemoryBuffer`, chat engines and agents. It keeps no copy:
    every call is carried out by the store, natively, sync and async. Where LlamaIndex's
    `SimpleChatStore` has a defined behaviour, this is the same.

    A dump or a pickle of it, or of a memory or a workflow's `Context` that holds it, names the
    agent and the user, and has no word of the store but its name: no address, no password, no
    message. What is loaded works at once in the process that made the dump, and in others where
    the store is registered: see `register_store`. Else it works once it is given the store, see
    `bind`; until then each call raises a `SessionStoreError`. Who holds a dump can write another
    user into it, so that is not believed where it comes from another process.

    Example:
        >>> from llama_index_sessionstore import SessionChatStore
        >>> from llama_index.core.llms import ChatMessage
        >>> from sessionstore import InMemorySessionStore
        >>> chat_store = SessionChatStore(InMemorySessionStore())
        >>> chat_store.add_message("s1", ChatMessage("Hello!"))
        >>> [message.content for message in chat_store.get_messages("s1")]
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
        return "SessionChatStore"

    # -- LlamaIndex's methods, sync and async ------------------------------------------------------

    def set_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """Replace all messages of a session, in one step; make the session where there is none.

        In a `Memory` of this session none of them is archived then.

        Args:
            key: The session's id.
            messages: What it is to hold, in order.

        Raises:
            InvalidMessageError: One of them can't be stored; none was.
            SessionStoreError: Any of the errors of `SessionStore.update`.
        """
        self._play(self._setting(key, messages))

    async def aset_messages(self, key: str, messages: list[ChatMessage]) -> None:
        """Async twin of `set_messages`."""
        await self._aplay(self._setting(key, messages))

    def get_messages(self, key: str) -> list[ChatMessage]:
        """Give all messages of a session, oldest first; none where there is no session.

        Args:
            key: The session's id.

        Returns:
            The messages. To change them changes nothing in the store.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.get_messages`.
        """
        return to_llama_index_messages(self._play(self._all(key)))

    async def aget_messages(self, key: str) -> list[ChatMessage]:
        """Async twin of `get_messages`."""
        return to_llama_index_messages(await self._aplay(self._all(key)))

    def add_message(self, key: str, message: ChatMessage) -> None:
        """Append a message; make the session where there is none.

        Each call adds one, also where the message was read from the same session.

        Args:
            key: The session's id.
            message: The message.

        Raises:
            InvalidMessageError: It can't be stored.
            SessionStoreError: Any of the errors of `SessionStore.append_messages`.
        """
        self._play(self._adding(key, message))

    async def async_add_message(self, key: str, message: ChatMessage) -> None:
        """Async twin of `add_message`."""
        await self._aplay(self._adding(key, message))

    def delete_messages(self, key: str) -> list[ChatMessage] | None:
        """Delete a session, with its owner and its metadata.

        `ChatSummaryMemoryBuffer` does so, and makes the session again, each time it is read: name
        the owner by ``user_id``, so that the new one is theirs.

        Args:
            key: The session's id.

        Returns:
            The messages that it held; ``None`` where there was no session.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.delete`.
        """
        return self._play(self._deleting_all(key))

    async def adelete_messages(self, key: str) -> list[ChatMessage] | None:
        """Async twin of `delete_messages`."""
        return await self._aplay(self._deleting_all(key))

    def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Delete the message at a position; the order of the others stays.

        The cost grows with the distance to the nearer end of the session.

        Args:
            key: The session's id.
            idx: The position, from 0 at the oldest, or from -1 at the newest.

        Returns:
            The message; ``None`` where there is no session, or ``idx`` is beyond its newest.

        Raises:
            IndexError: A negative ``idx`` is beyond the oldest, and the installed LlamaIndex's
                `SimpleChatStore` raises this, too. Where that gives ``None``, so does this.
            SessionStoreError: Any of the errors of `SessionStore.delete_messages`.
        """
        return self._play(self._deleting_at(key, idx))

    async def adelete_message(self, key: str, idx: int) -> ChatMessage | None:
        """Async twin of `delete_message`."""
        return await self._aplay(self._deleting_at(key, idx))

    def delete_last_message(self, key: str) -> ChatMessage | None:
        """Delete the newest message.

        Args:
            key: The session's id.

        Returns:
            The message; ``None`` where there is no session.

        Raises:
            IndexError: The session holds no message, and the installed LlamaIndex's
                `SimpleChatStore` raises this, too. Where that gives ``None``, so does this.
            SessionStoreError: Any of the errors of `SessionStore.delete_messages`.
        """
        return self._play(self._deleting_last(key))

    async def adelete_last_message(self, key: str) -> ChatMessage | None:
        """Async twin of `delete_last_message`."""
        return await self._aplay(self._deleting_last(key))

    def get_keys(self) -> list[str]:
        """Give the ids of all sessions of this agent, and of this user where one is named.

        Returns:
            The ids, newest activity first.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.list_sessions`.
        """
        infos = self._play(listed(self.agent_id, self.user_id))
        return [info.id for info in self._visible(infos)]

    async def aget_keys(self) -> list[str]:
        """Async twin of `get_keys`."""
        infos = await self._aplay(listed(self.agent_id, self.user_id))
        return [info.id for info in self._visible(infos)]

    # -- Flows: each request is an operation -------------------------------------------------------

    def _setting(self, key: str, messages: Iterable[ChatMessage]) -> StoreFlow[None]:
        replacements = with_distinct_ids(map(to_session, messages))
        metadata = _ALL_ACTIVE if replacements else _ALL_ACTIVE | WITHOUT_SUMMARY
        while True:
            try:
                yield Update(key, replacements, metadata, self._caller)
            except SessionNotFoundError:
                pass
            else:
                return
            try:
                yield Create(key, replacements, self.agent_id, self.user_id)
            except SessionExistsError:
                continue  # somebody made it just now
            else:
                return

    def _all(self, key: str) -> StoreFlow[list[SessionMessage]]:
        messages: list[SessionMessage]
        messages = yield GetMessages(key, user_id=self._caller)
        return messages

    def _adding(self, key: str, message: ChatMessage) -> StoreFlow[None]:
        new = replace(to_session(message), id=None)
        yield from self._made(key)
        yield Append(key, [new], self.agent_id, self._caller)

    def _deleting_all(self, key: str) -> StoreFlow[list[ChatMessage] | None]:
        session = yield Get(key, None, self._caller)
        if session is None or not (yield Delete(key, self._caller)):
            return None
        return to_llama_index_messages(session.messages)

    def _deleting_at(self, key: str, idx: int) -> StoreFlow[ChatMessage | None]:
        try:
            return (yield from self._deleting_one(key, idx))
        except IndexError:
            if _raises(lambda theirs: theirs.delete_message("", idx)):
                raise
            return None

    def _deleting_last(self, key: str) -> StoreFlow[ChatMessage | None]:
        try:
            return (yield from self._deleting_one(key, -1))
        except IndexError:
            if _raises(lambda theirs: theirs.delete_last_message("")):
                raise
            return None

    def _deleting_one(self, key: str, idx: int) -> StoreFlow[ChatMessage | None]:
        while True:
            message = yield from self._at(key, idx)
            if message is None:
                return None
            ids = [str(message.id)]
            if (yield DeleteMessages(key, ids, self._caller)):
                return to_llama_index(message)

    def _at(self, key: str, idx: int) -> StoreFlow[SessionMessage | None]:
        limit = -idx if -_NEAR <= idx < 0 else 0  # further away, the other end may be nearer
        while True:
            session = yield Get(key, limit, self._caller)
            if session is None or idx >= session.message_count:
                return None
            count = session.message_count
            if idx < -count:
                raise IndexError(f"the session holds {count} messages")
            from_start = idx if idx >= 0 else count + idx
            place = from_start - (count - len(session.messages))
            if place >= 0:
                return session.messages[place]  # type: ignore[no-any-return]
            if from_start < count // 2:
                return (yield from self._from_start(key, from_start))
            limit = count - from_start

    def _from_start(self, key: str, place: int) -> StoreFlow[SessionMessage | None]:
        messages = yield GetMessages(key, place + 1, after="", user_id=self._caller)
        return messages[place] if place < len(messages) else None

    def _play(self, flow: StoreFlow[T]) -> T:
        return play(flow, self._bound.run)

    async def _aplay(self, flow: StoreFlow[T]) -> T:
        return await aplay(flow, self._bound.arun)


def _raises(delete: Callable[[BaseChatStore], object]) -> bool:
    """Ask the installed LlamaIndex about an empty history: its versions differ there."""
    try:
        delete(SimpleChatStore(store={"": []}))
    except IndexError:
        return True
    return False


def listed(agent_id: str, user_id: str | None) -> StoreFlow[list[SessionInfo]]:
    """List all sessions of an agent, and of a user where one is named.

    One that is written to meanwhile moves to the front: so the pages there are read once more.
    """
    found: dict[str, SessionInfo] = {}
    cursor, again = None, False
    while True:
        page = yield ListSessions(agent_id, user_id, _PAGE, cursor)
        new = {info.id: info for info in page.sessions if info.id not in found}
        found.update(new)
        if again and not new:
            return list(found.values())
        is_first, cursor = cursor is None, page.cursor
        if cursor is None:
            if is_first or again:
                return list(found.values())
            again = True


def with_distinct_ids(messages: Iterable[SessionMessage]) -> list[SessionMessage]:
    """Give an id to each message without one, and let one that comes twice be two messages."""
    apart: dict[str, SessionMessage] = {}
    for message in messages:
        message_id = message.id if message.id and message.id not in apart else new_id()
        apart[message_id] = replace(message, id=message_id)
    return list(apart.values())


# What a memory is loaded by: the annotation there knows of one class only.
RECOGNIZED_CHAT_STORES[SessionChatStore.class_name()] = SessionChatStore  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
