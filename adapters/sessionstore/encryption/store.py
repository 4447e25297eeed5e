"""`EncryptedSessionStore`: what is said is sealed before any store has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar, overload

from msgspec.structs import replace

from sessionstore._runtime.frames import hides_arguments
from sessionstore.arguments import checked_flag
from sessionstore.bounds import StoreBounds
from sessionstore.encryption.keys import Keyring, Keys, KeysGiven, KeysOfACall
from sessionstore.encryption.records import is_plain, opened_messages, opened_metadata
from sessionstore.encryption.resealing import resealed
from sessionstore.encryption.rotating import Rotation, RotationReport
from sessionstore.encryption.sealing import NAME_THE_OWNER, SEALED, says_anything
from sessionstore.errors import (
    CorruptMessageError,
    DecryptionError,
    InvalidSessionError,
    OutageError,
    SessionAccessError,
    SessionExistsError,
    SessionNotFoundError,
)
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    encode_metadata,
)
from sessionstore.operations import (
    AcquireLease,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    Reseal,
    Rewind,
    Scrub,
    Setup,
    Several,
    unknown_operation,
)
from sessionstore.store import SessionStore
from sessionstore.transfer.reports import OnProgress
from sessionstore.transfer.requests import arun_transfer, run_transfer
from sessionstore.wrapper import WrapperSessionStore, as_operation

__all__ = ["EncryptedSessionStore"]

T = TypeVar("T")
S = TypeVar("S", SessionData, SessionInfo)
_StoreFlow: TypeAlias = Flow[Operation[Any], Any, T]

_logger = logging.getLogger("sessionstore")

# What nobody says anything in: it goes to the store within as it is.
_WITHOUT_WORDS = frozenset(
    {
        AcquireLease,
        Delete,
        DeleteMessages,
        Fence,
        Ping,
        Prune,
        ReleaseLease,
        RenewLease,
        Rewind,
        Scrub,
        Setup,
    }
)
# What is only asked for; the answer is opened.
_READS = frozenset({Get, GetMessages, ListSessions})

_FRAME = 4096  # bytes: what a sealed message has beside its record, at most, with the longest id
_NAME_THE_USER = "where each user has keys of their own, every call names its user: give user_id"


class EncryptedSessionStore(WrapperSessionStore):
    """A store around another one, which is given nothing that can be read without a key.

    Sealed with AES-256-GCM, each message and each value of a session's metadata by itself, are a
    message's content, name, tool calls, metadata and extras, and the values of the session's
    metadata. A record opens only in the session, and as the message, that it was made for. What a
    store finds and orders by stays readable: ids, roles, times, owners, agents, the keys of
    metadata; and how long each record is.

    A key that is missing or wrong, and a record that was changed or moved, is a `DecryptionError`
    with the key's id: never an empty history, never a part of one. In a list, such a session has
    empty metadata and no last messages.

    Put it outside of a fallback, whose journal and cache hold what they are given. A ``fork`` is
    read, sealed anew, and created. What uses the store within, and that store's own commands, sees
    sealed messages. Closing it closes the store within.

    Example:
        >>> import os
        >>> from sessionstore import InMemorySessionStore
        >>> from sessionstore.encryption import EncryptedSessionStore
        >>> store = EncryptedSessionStore(InMemorySessionStore(), os.urandom(32))
        >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
        1
        >>> store.get_messages("s1")[0].content
        'Hello!'
        >>> store.wrapped.get_messages("s1")[0].content
        ''

    Args:
        store: The store to wrap.
        keys: A key of 32 bytes; or several, by their ids or in a list: the first seals, all open.
            Or a function that is given a ``user_id`` and gives any of these, or ``None`` or a
            ``KeyError`` where the user's key was destroyed. Each call asks it once, a list once
            for each owner, on the event loop too, so that it should remember what it looked up.
            Then each call names its user; ``get``, and what is made for nobody, goes by the
            session's owner, and so do lists.
        allow_plain: Read what is not encrypted, too: while a store is moved over. Whoever can write
            to it can slip in a plain message so long.

    Raises:
        TypeError: ``store`` is not a store, or a key has the wrong type.
        InvalidSessionError: A key is not 32 bytes long, or its id is not 1 to 64 characters.
        ImportError: ``cryptography`` is not installed: the extra ``encryption`` brings it.
    """

    @hides_arguments
    def __init__(self, store: SessionStore, keys: KeysGiven, *, allow_plain: bool = False) -> None:
        """Wrap a store."""
        super().__init__(store)
        self._keys = Keys(keys)
        self._allow_plain = bool(checked_flag(allow_plain, "allow_plain"))

    @property
    def bounds(self) -> StoreBounds:
        """The largest write whose sealed form the wrapped store takes."""
        inner = self._wrapped.bounds
        messages, write = inner.messages, inner.write_bytes
        if write is not None:
            messages = min(messages or write, max(1, write // (2 * _FRAME)))
            write = _within(write - messages * _FRAME)
        longest = inner.message_bytes
        longest = None if longest is None else _within(longest - _FRAME)
        return StoreBounds(messages=messages, message_bytes=longest, write_bytes=write)

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Seal an operation, hand it on, and open the answer."""
        return play(self._carried_out(operation), self._wrapped.run)

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await aplay(self._carried_out(operation), self._wrapped.arun)

    def rotate(
        self,
        *,
        user_id: str | None = None,
        batch: int = 500,
        progress: OnProgress | None = None,
    ) -> RotationReport:
        """Seal anew what is stored under another key than the first, so that the others can go.

        With ``allow_plain`` it also seals what is not encrypted yet. It goes through all sessions
        while others use them: what they write is not lost, and neither times nor versions change.
        First give every process the new key, as the first of its keys: what one without it reads or
        writes meanwhile it can't open, or is under the old key again. It is safe to run again, also
        after it was killed: it reads all, and seals what is left.

        Args:
            user_id: Only the sessions of this user.
            batch: How many messages are read in one step at most, 1 or more.
            progress: Called after each session, and after each page of a long one.

        Returns:
            What became of the sessions.

        Raises:
            StoreUnavailableError: The store can't be reached, or does without its primary. Run it
                again.
            InvalidSessionError: ``batch`` or ``user_id`` is not valid.
        """
        return run_transfer(self._rotation(user_id, batch, progress).carried_out())

    async def arotate(
        self,
        *,
        user_id: str | None = None,
        batch: int = 500,
        progress: OnProgress | None = None,
    ) -> RotationReport:
        """Async twin of `rotate`."""
        return await arun_transfer(self._rotation(user_id, batch, progress).carried_out())

    def _rotation(self, user_id: str | None, batch: int, progress: OnProgress | None) -> Rotation:
        return Rotation(
            self._wrapped,
            self._keys,
            allow_plain=self._allow_plain,
            user_id=user_id,
            batch=batch,
            progress=progress,
        )

    # -- Each operation ---------------------------------------------------------------------------

    def _carried_out(self, operation: Any) -> _StoreFlow[Any]:
        operation = as_operation(operation)
        kind = type(operation)
        if kind in _WITHOUT_WORDS:
            return (yield operation)
        keys = KeysOfACall(self._keys)
        if kind is Fork:
            return (yield from self._forked(operation, keys))
        if kind is Reseal:
            return (yield from self._resealed(operation))
        if kind is Several:
            return (yield from self._several(operation, keys))
        if kind is GetMessages and operation.user_id is None and self._keys.are_of_users:
            return (yield from self._messages_of_owner(operation, keys))
        reply = yield self._sealed(operation, keys)
        return self._opened(operation, reply, keys)

    def _several(self, several: Several, keys: KeysOfACall) -> _StoreFlow[list[Any]]:
        parts = several.operations
        sealed: list[Any] = [self._sealed(part, keys) for part in parts]
        replies: list[Any] = yield Several(sealed)
        error: DecryptionError | None = None
        pairs = zip(parts, replies, strict=True)
        try:
            return [self._opened(part, reply, keys) for part, reply in pairs]
        except DecryptionError as refused:
            error = refused
        if several.is_write:
            done = DecryptionError(f"what was to be written is written, but {error}")
            done.key_id, error = error.key_id, done
        try:
            raise error
        finally:
            error = None

    def _messages_of_owner(
        self, read: GetMessages, keys: KeysOfACall
    ) -> _StoreFlow[list[SessionMessage]]:
        session, messages = yield Several([Get(read.session_id, 0), read])
        if session is None:
            return []
        return self._open(messages, session.id, session.user_id, keys)

    def _resealed(self, asked: Reseal) -> _StoreFlow[int]:
        asked.swaps()  # what can't be stored is refused first
        session: SessionData | None = yield Get(asked.session_id, None, asked.user_id)
        if session is None:
            return 0
        ring = self._keys.of(session.user_id if asked.user_id is None else asked.user_id)
        swapped: int = yield resealed(asked, session, ring, allow_plain=self._allow_plain)
        return swapped

    def _forked(self, fork: Fork, keys: KeysOfACall) -> _StoreFlow[SessionInfo]:
        encode_metadata(fork.metadata or {})
        source: SessionData | None = yield Get(fork.session_id, None, fork.user_id)
        if source is None and not self._wrapped.is_degraded():
            raise SessionNotFoundError(f"there is no session {fork.session_id!r}")
        if source is None or len(source.messages) < source.message_count:
            raise OutageError(_NOT_ALL)
        create = self._new_session(fork, self._opened(fork, source, keys))
        made = yield from self._created(create, fork, keys)
        made = self._opened(create, replace(made, messages=[]), keys)
        fields = set(SessionInfo.__struct_fields__) - {"messages"}
        return SessionInfo(**{name: getattr(made, name) for name in fields})

    def _created(self, create: Create, fork: Fork, keys: KeysOfACall) -> _StoreFlow[SessionData]:
        made: SessionData | None = None
        with suppress(SessionExistsError, SessionAccessError):  # as the owner's
            made = yield self._sealed(create, keys)
        if made is not None:
            return made
        yield Get(str(create.session_id), 0, fork.user_id)
        raise SessionExistsError(f"session {create.session_id!r} is already there")

    def _new_session(self, fork: Fork, source: SessionData) -> Create:
        messages = source.messages
        if fork.at is not None:
            ids = [message.id for message in messages]
            if fork.at not in ids:
                raise SessionNotFoundError(f"the session has no message {fork.at!r}")
            messages = messages[: ids.index(fork.at) + 1]
        last = messages[-1].id if messages else None
        return Create(
            fork.new_session_id,
            messages,
            source.agent_id,
            source.user_id,
            fork.new_metadata(source.metadata, last),
        )

    # -- On the way in ----------------------------------------------------------------------------

    def _sealed(self, operation: Any, keys: KeysOfACall) -> Operation[Any]:
        kind = type(operation)
        if kind in _READS or kind in _WITHOUT_WORDS:
            if kind is GetMessages and operation.user_id is None and self._keys.are_of_users:
                raise InvalidSessionError(_NAME_THE_USER)
            return operation  # type: ignore[no-any-return]
        if kind not in SEALED:  # not handed on: nobody knows what is said in it
            raise unknown_operation(type(self).__name__, operation)
        if not says_anything(operation):
            return operation  # type: ignore[no-any-return]
        if operation.user_id is None and self._keys.are_of_users and kind not in NAME_THE_OWNER:
            raise InvalidSessionError(_NAME_THE_USER)
        return SEALED[kind](operation, keys.of(operation.user_id))

    # -- On the way out ---------------------------------------------------------------------------

    def _opened(self, operation: Any, reply: Any, keys: KeysOfACall) -> Any:
        if type(operation) is GetMessages:
            return self._open(reply, operation.session_id, operation.user_id, keys)
        if isinstance(reply, SessionData):
            user_id = operation.user_id
            return self._session(reply, reply.user_id if user_id is None else user_id, keys)
        if isinstance(reply, SessionInfo):
            return self._told(reply, operation.user_id, keys)
        if isinstance(reply, SessionPage):
            return replace(reply, sessions=[self._listed(info, keys) for info in reply.sessions])
        return reply

    def _open(
        self,
        messages: list[SessionMessage],
        session_id: str,
        user_id: str | None,
        keys: KeysOfACall,
    ) -> list[SessionMessage]:
        if not messages or (self._allow_plain and is_plain(messages, {})):
            return messages
        ring = keys.of(user_id)
        return opened_messages(messages, session_id, ring, allow_plain=self._allow_plain)

    def _session(self, session: S, user_id: str | None, keys: KeysOfACall) -> S:
        if not (session.messages or session.metadata):
            return session
        if self._allow_plain and is_plain(session.messages, session.metadata):
            return session
        return self._opened_by(session, keys.of(user_id))

    def _opened_by(self, session: S, ring: Keyring) -> S:
        plain = self._allow_plain
        return replace(
            session,
            messages=opened_messages(session.messages, session.id, ring, allow_plain=plain),
            metadata=opened_metadata(session.metadata, session.id, ring, allow_plain=plain),
        )

    def _listed(self, info: SessionInfo, keys: KeysOfACall) -> SessionInfo:
        """Open a session of a list, where it can be opened."""
        with suppress(DecryptionError, CorruptMessageError):
            return self._session(info, info.user_id, keys)
        return replace(info, messages=[], metadata={})

    def _told(self, info: SessionInfo, user_id: str | None, keys: KeysOfACall) -> SessionInfo:
        """Open what a write tells of a session: it took effect, whatever else is stored there."""
        try:
            return self._session(info, info.user_id if user_id is None else user_id, keys)
        except (DecryptionError, CorruptMessageError) as error:
            _logger.warning("written, but what else is there can't be opened: %s", error)
        except Exception as error:  # noqa: BLE001 - of the function that gives keys
            kind = type(error).__name__
            _logger.warning("written, but the keys of what else is there were not given: %s", kind)
        return replace(info, metadata={})


def _within(size: int) -> int:
    """Give how long what is sealed may be, for its Base64 to have that size."""
    return max(1, size * 3 // 4)


_NOT_ALL = "not all messages of this session are known: it can't be forked until the store is back"
