"""A session as LangChain's `BaseChatMessageHistory`, and the factory that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage, RemoveMessage

from langchain_sessionstore.adding import adding
from langchain_sessionstore.chains.echo import turn_of
from langchain_sessionstore.codec import to_langchain_messages, to_session_messages
from langchain_sessionstore.pending import closed_view
from langchain_sessionstore.tokens import langchain_window
from sessionstore import (
    InvalidMessageError,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
    Window,
)
from sessionstore.arguments import checked_id, optional_id
from sessionstore.flow import aplay, play
from sessionstore.integration import StoreFlow, checked_store
from sessionstore.models import WITHOUT_SUMMARY

if TYPE_CHECKING:
    from langchain_core.chat_history import BaseChatMessageHistory
else:
    try:
        from langchain_core.chat_history import BaseChatMessageHistory
    except ImportError:  # langchain-core 2.0 is to be without it; the rest works as before
        BaseChatMessageHistory = object

__all__ = ["SessionChatMessageHistory", "session_history_factory"]


class SessionChatMessageHistory(BaseChatMessageHistory):
    """One session of a store, as LangChain's chat message history. It keeps no copy.

    Every read asks the store, and every write is one atomic step there, natively sync and async;
    `add_messages` names the one case of two steps.

    Example:
        >>> from langchain_sessionstore import SessionChatMessageHistory
        >>> from sessionstore import InMemorySessionStore
        >>> history = SessionChatMessageHistory("s1", InMemorySessionStore())
        >>> history.add_user_message("Hello!")
        >>> [message.content for message in history.messages]
        ['Hello!']

    Args:
        session_id: The session's id.
        store: Where it is.
        agent_id: The agent of the session, if the first write makes it.
        user_id: The caller: a session of another user raises `SessionAccessError`. The owner, if
            the first write makes the session. ``None`` checks nothing.
        window: What `messages` shows of the session, in the form that models take; ``None`` for
            all of it, as it was written. Its `token_counter` may be LangChain's: see
            `langchain_token_counter`.

    Raises:
        TypeError: The store is not a `SessionStore`, or the window is not a `Window`.
        InvalidSessionError: One of the ids is empty, too long or no text.
    """

    def __init__(
        self,
        session_id: str,
        store: SessionStore,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        window: Window | None = None,
    ) -> None:
        super().__init__()
        self.session_id: str = checked_id(session_id, "session_id")
        self._store = checked_store(store)
        self._agent_id = checked_id(agent_id, "agent_id")
        self._user_id = optional_id(user_id, "user_id")
        self._window = langchain_window(window)

    def __repr__(self) -> str:
        """Show the session's id and its store."""
        return f"{type(self).__name__}({self.session_id!r}, {self._store!r})"

    def _repr_html_(self) -> str:
        """Show a notebook the end of the session's log, whatever the window, by one read.

        It never raises: what goes wrong is shown.
        """
        from sessionstore.notebook import stored_html  # noqa: PLC0415 - only a notebook needs it

        return stored_html(self._store, self.session_id, user_id=self._user_id)

    @property
    def messages(self) -> list[BaseMessage]:
        """The session's messages, or the window's view of them, read from the store.

        To assign a list replaces all messages of the session, and drops what other frameworks and
        the application keep with them.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.get_messages`.
        """
        return self._load()

    @messages.setter
    def messages(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, messages: Sequence[BaseMessage]
    ) -> None:
        replacements = _said(messages)
        try:
            self._replace(replacements)
        except SessionNotFoundError:
            self.add_messages(messages)

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of `messages`."""
        return await self._aload()

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Append messages: all or none, in order; those that the session holds add nothing.

        But where a turn's answer alone has the id of an older message, since a cache or a model
        gives the same message again, it is added with an id of its own, in a second step.

        Args:
            messages: The messages. Those without an id are given one in the store.

        Raises:
            InvalidMessageError: One of them can't be stored; none was. A `RemoveMessage` is one:
                it makes a graph's state forget; a log forgets by
                `SessionStore.delete_messages`.
            SessionStoreError: Any of the errors of `SessionStore.append_messages`.
        """
        play(self._adding(messages), self._store.run)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Async twin of `add_messages`."""
        await aplay(self._adding(messages), self._store.arun)

    def clear(self) -> None:
        """Remove all messages, and their summary. The session stays, with its other metadata.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.update`, but for a session that
                is not there: it has no messages already.
        """
        with suppress(SessionNotFoundError):
            self._replace([], metadata=WITHOUT_SUMMARY)

    async def aclear(self) -> None:
        """Async twin of `clear`."""
        with suppress(SessionNotFoundError):
            await self._areplace([], metadata=WITHOUT_SUMMARY)

    def _adding(self, messages: Sequence[BaseMessage]) -> StoreFlow[None]:
        return adding(
            self.session_id,
            _said(messages),
            agent_id=self._agent_id,
            user_id=self._user_id,
        )

    def _replace(
        self, messages: list[SessionMessage], metadata: dict[str, Any] | None = None
    ) -> None:
        self._store.update(
            self.session_id, messages=messages, metadata=metadata, user_id=self._user_id
        )

    async def _areplace(
        self, messages: list[SessionMessage], metadata: dict[str, Any] | None = None
    ) -> None:
        await self._store.aupdate(
            self.session_id, messages=messages, metadata=metadata, user_id=self._user_id
        )

    def _load(self) -> list[BaseMessage]:
        store, window, user_id = self._store, self._window, self._user_id
        if window:
            stored = window.load(store, self.session_id, user_id=user_id)
        else:
            stored = store.get_messages(self.session_id, user_id=user_id)
        return self._to_show(stored)

    async def _aload(self) -> list[BaseMessage]:
        store, window, user_id = self._store, self._window, self._user_id
        if window:
            stored = await window.aload(store, self.session_id, user_id=user_id)
        else:
            stored = await store.aget_messages(self.session_id, user_id=user_id)
        return self._to_show(stored)

    def _to_show(self, stored: list[SessionMessage]) -> list[BaseMessage]:
        return closed_view(stored, ()) if self._window else to_langchain_messages(stored)


def _said(messages: Sequence[BaseMessage]) -> list[SessionMessage]:
    stored = to_session_messages(messages)
    if any(isinstance(message, RemoveMessage) for message in messages):
        raise InvalidMessageError(
            "a RemoveMessage can't be added to a history: "
            "use store.delete_messages(session_id, [message_id])"
        )
    return stored


_INPUT = [HumanMessage("")]  # a call brings some, which its history does not see


class _OneCallHistory(SessionChatMessageHistory):
    """A history for one call: it reads once, and shows the same until the call's turn is added.

    `RunnableWithMessageHistory` reads again on its way out, and takes as many messages off its
    input as there are then: with two turns at once that would drop a user's message.
    """

    _shown: list[BaseMessage] | None = None

    def _load(self) -> list[BaseMessage]:
        if self._shown is None:
            self._shown = super()._load()
        return self._shown.copy()

    async def _aload(self) -> list[BaseMessage]:
        if self._shown is None:
            self._shown = await super()._aload()
        return self._shown.copy()

    def _to_show(self, stored: list[SessionMessage]) -> list[BaseMessage]:
        return closed_view(stored, _INPUT)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(self._new_of(messages))
        self._shown = None

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await super().aadd_messages(self._new_of(messages))
        self._shown = None

    def _new_of(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        if self._shown is None or isinstance(messages, BaseMessage):  # which is refused
            return messages
        return turn_of(messages, self._shown)

    def _replace(
        self, messages: list[SessionMessage], metadata: dict[str, Any] | None = None
    ) -> None:
        super()._replace(messages, metadata)
        self._shown = None

    async def _areplace(
        self, messages: list[SessionMessage], metadata: dict[str, Any] | None = None
    ) -> None:
        await super()._areplace(messages, metadata)
        self._shown = None


def session_history_factory(
    store: SessionStore, *, agent_id: str = "default", window: Window | None = None
) -> Callable[..., SessionChatMessageHistory]:
    """Make a ``get_session_history`` for `RunnableWithMessageHistory` as it stands.

    A history that it makes belongs to one call: it reads the session once, and shows the same
    messages until that call's turn is added, so that two turns at once are both kept whole. A turn
    whose output begins with its input again, as a graph's does, is added without that; a history
    that was not read adds all that it is given. Where the session ends in a call of a tool, for an
    approval maybe, the history shows it as interrupted, since the call's input follows it. (Where
    that is the tool's result, use `with_session_history`, which sees both.)

    Example:
        >>> from langchain_sessionstore import session_history_factory
        >>> from sessionstore import InMemorySessionStore
        >>> get_session_history = session_history_factory(InMemorySessionStore())
        >>> get_session_history("s1").messages
        []

    Args:
        store: Where the sessions are.
        agent_id: The agent of the sessions that are made.
        window: What each call sees of its session; ``None`` for all of it.

    Returns:
        A function of ``session_id`` (and ``user_id``, for a ``history_factory_config`` that names
        both) that gives the history for one call. Without such a config
        `RunnableWithMessageHistory` gives it no ``user_id``, whatever the call's config holds: then
        nobody's session is checked. `with_session_history` looks at it in any case.

    Raises:
        TypeError: The store is not a `SessionStore`, or the window is not a `Window`.
        InvalidSessionError: The agent's id is invalid.
    """
    checked_store(store)
    checked_id(agent_id, "agent_id")
    langchain_window(window)

    def get_session_history(
        session_id: str, user_id: str | None = None
    ) -> SessionChatMessageHistory:
        return _OneCallHistory(session_id, store, agent_id=agent_id, user_id=user_id, window=window)

    return get_session_history
