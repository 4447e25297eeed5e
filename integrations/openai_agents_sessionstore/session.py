"""`SessionStoreSession`: one session of a store, as the Agents SDK's `Session`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agents.memory import SessionSettings
from msgspec.structs import replace

from openai_agents_sessionstore.codec import (
    of_message,
    to_items,
    to_session_messages,
    without_last,
)
from sessionstore import (
    SessionConflictError,
    SessionData,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
    StoreUnavailableError,
)
from sessionstore.arguments import checked_id, optional_id
from sessionstore.errors import OutageError
from sessionstore.integration import checked_store
from sessionstore.models import WITHOUT_SUMMARY, new_id
from sessionstore.operations import Append, DeleteMessages, ReplaceMessage, Several

if TYPE_CHECKING:
    from agents import TResponseInputItem

__all__ = ["SessionStoreSession"]


class SessionStoreSession:
    """One session of a store, for ``Runner.run(…, session=…)``. It keeps no copy.

    Every read asks the store, and every write is one atomic step there. It asks no model. The
    session is an ordinary one: other frameworks go on with it, and this one with theirs.

    Example:
        >>> import asyncio
        >>> from openai_agents_sessionstore import SessionStoreSession
        >>> from sessionstore import InMemorySessionStore
        >>> session = SessionStoreSession("s1", InMemorySessionStore())
        >>> asyncio.run(session.add_items([{"role": "user", "content": "Hello!"}]))
        >>> asyncio.run(session.get_items())
        [{'role': 'user', 'content': 'Hello!'}]

    Args:
        session_id: The session's id.
        store: Where it is.
        agent_id: The agent of the session, if the first write makes it.
        user_id: The caller: a session of another user raises `SessionAccessError`. The owner, if
            the first write makes the session. ``None`` checks nothing.
        session_settings: The SDK's settings of a session, or a mapping of them: ``limit`` is how
            many items a run is given of it. A run's own settings go first.

    Attributes:
        session_id: As given.
        session_settings: As given.

    Raises:
        TypeError: The store is not a `SessionStore`, or the settings are no settings.
        InvalidSessionError: One of the ids is empty, too long or no text.
    """

    def __init__(
        self,
        session_id: str,
        store: SessionStore,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        self.session_id: str = checked_id(session_id, "session_id")
        self.session_settings: SessionSettings | None = _checked_settings(session_settings)
        self._store = checked_store(store)
        self._agent_id = checked_id(agent_id, "agent_id")
        self._user_id = optional_id(user_id, "user_id")

    def __repr__(self) -> str:
        """Show the session's id and its store."""
        return f"{type(self).__name__}({self.session_id!r}, {self._store!r})"

    def _repr_html_(self) -> str:
        """Show a notebook the end of the session's log, by one read.

        It never raises: what goes wrong is shown.
        """
        from sessionstore.notebook import stored_html  # noqa: PLC0415 - only a notebook needs it

        return stored_html(self._store, self.session_id, user_id=self._user_id)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Read the session's items.

        Args:
            limit: Only the last ``limit`` of them; ``None`` takes the limit of the settings, and
                where there is none, all. With 0 or less, none is given.

        Returns:
            The items, oldest first; ``[]`` when there is no session.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.get_messages`.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if isinstance(limit, int) and limit < 0:
            limit = 0
        messages = await self._store.aget_messages(
            self.session_id, limit=limit, user_id=self._user_id
        )
        items = to_items(messages)  # each message is one at least
        return items if limit is None else items[max(len(items) - limit, 0) :]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append items: all or none, in order, and never between another's.

        Each call adds what it is given, as with the SDK's own sessions, whatever ids the items
        have: many models give all of theirs the same. The SDK hands over what is new only, and
        looks whether a write that failed took place before it repeats it.

        Args:
            items: The items.

        Raises:
            InvalidMessageError: One of them can't be stored; none was.
            SessionStoreError: Any of the errors of `SessionStore.append_messages`.
        """
        messages = to_session_messages(items)
        if messages:
            await self._store.aappend_messages(
                self.session_id, messages, agent_id=self._agent_id, user_id=self._user_id
            )

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the newest item out of the session: each goes to exactly one caller.

        Of a message that is several items, the others stay.

        Returns:
            The item; ``None`` when there is none.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.get` and
                `SessionStore.delete_messages`.
        """
        while True:
            session = await self._with_newest()
            if session is None or not session.messages:
                return None
            [newest] = session.messages
            if await self._is_taken(session, newest):
                return of_message(newest)[-1]

    async def clear_session(self) -> None:
        """Remove all items, and their summary. The session stays, with its other metadata.

        Raises:
            SessionStoreError: Any of the errors of `SessionStore.update`, but for a session that
                is not there: it has no items already.
        """
        with suppress(SessionNotFoundError):
            await self._store.aupdate(
                self.session_id, messages=[], metadata=WITHOUT_SUMMARY, user_id=self._user_id
            )

    async def _is_taken(self, session: SessionData, newest: SessionMessage) -> bool:
        """Take the last item of the newest message, unless somebody was faster."""
        rest = without_last(newest)
        deletion = self._deletion(newest, session.version)
        try:
            if rest is None:
                return bool(await self._store.arun(deletion))
            await self._store.arun(Several([deletion, self._append(rest)]))
        except SessionConflictError:
            return False
        except OutageError:  # no version can be promised then
            return await self._is_taken_in_outage(newest, rest)
        return True

    async def _is_taken_in_outage(
        self, newest: SessionMessage, rest: SessionMessage | None
    ) -> bool:
        deletion = self._deletion(newest, None)
        try:
            if rest is None:
                return bool(await self._store.arun(deletion))
            # To replace it fails where it is gone: somebody was faster, and nothing is written.
            there = ReplaceMessage(self.session_id, newest, self._user_id)
            rest = replace(rest, id=new_id())
            await self._store.arun(Several([there, deletion, self._append(rest)]))
        except (SessionNotFoundError, StoreUnavailableError):
            session = await self._with_newest()
            if session and [newest.id] == [message.id for message in session.messages]:
                raise
            return False
        return True

    async def _with_newest(self) -> SessionData | None:
        return await self._store.aget(self.session_id, limit=1, user_id=self._user_id)

    def _deletion(self, message: SessionMessage, version: int | None) -> DeleteMessages:
        return DeleteMessages(self.session_id, [str(message.id)], self._user_id, version)

    def _append(self, message: SessionMessage) -> Append:
        return Append(self.session_id, [message], user_id=self._user_id)


def _checked_settings(given: SessionSettings | dict[str, Any] | None) -> SessionSettings | None:
    if given is None or isinstance(given, SessionSettings):
        return given
    if isinstance(given, dict):
        # The SDK takes a misspelt one for none: then a run is given the whole session.
        known = [field.name for field in fields(SessionSettings)]
        if not given.keys() <= set(known):
            raise TypeError(f"session_settings has a key that is none of: {', '.join(known)}")
        return SessionSettings(**given)
    raise TypeError(f"session_settings must be SessionSettings, not {type(given).__name__}")
