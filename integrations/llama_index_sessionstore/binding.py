"""`StoreBinding`: what both chat stores have in common: a store, a user, and dumps without them."""

from __future__ import annotations

import secrets
from contextlib import suppress
from types import EllipsisType
from typing import Any, ClassVar

from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic import ModelWrapValidatorHandler, computed_field, model_validator
from typing_extensions import Self

from llama_index_sessionstore.registry import (
    binding_of,
    bound_by,
    is_name,
    name_of,
    registered,
)
from sessionstore import (
    InvalidSessionError,
    SessionExistsError,
    SessionInfo,
    SessionStore,
    SessionStoreError,
)
from sessionstore.arguments import checked_id, optional_id
from sessionstore.integration import StoreFlow, checked_store
from sessionstore.operations import Create, Get

__all__ = ["StoreBinding"]

_NAME, _BINDING = "store_name", "binding"
_UNBOUND = {"_store": None, "_origin": (None, None), "_is_anonymous": False}
_NOBODY = f"nobody {secrets.token_hex(16)}"  # owns no session, so that each with an owner refuses
_UNTRUSTED = (
    "this chat store was loaded from a dump that names a user, which anybody may have written "
    "there: hand in the user, too, with bind(store, user_id=...); or register the store with the "
    "user, or with trust_dumps=True where nobody else can write your dumps"
)


class StoreBinding(BaseModel):
    """A chat store's store and user, which outlive a dump of it: see `bind`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    agent_id: str = Field(default="default", description="The agent of the sessions made here.")
    user_id: str | None = Field(default=None, description="The caller.")
    _store: SessionStore | None = PrivateAttr(default=None)
    # The name and the binding in the dump that this came out of; anybody may have written them.
    _origin: tuple[str | None, str | None] = PrivateAttr(default=(None, None))
    # Nobody has said who calls, and the dump, which anybody may have written, names no user.
    _is_anonymous: bool = PrivateAttr(default=False)

    def __init__(
        self,
        store: SessionStore | None = None,
        *,
        agent_id: str = "default",
        user_id: str | None = None,
    ) -> None:
        agent_id = checked_id(agent_id, "agent_id")
        super().__init__(agent_id=agent_id, user_id=optional_id(user_id, "user_id"))
        if store is not None:  # LlamaIndex makes what it loads from a dump without one
            self.bind(store, user_id=user_id)

    def bind(self, store: SessionStore, *, user_id: str | EllipsisType | None = ...) -> None:
        """Set the store, and the user, after this or a memory was loaded from its dump.

        Within the process that made the dump, and where the store is registered under the dump's
        name (see `register_store`), what is loaded finds its store without this.

        Example:
            >>> from llama_index.core.memory import ChatMemoryBuffer
            >>> from sessionstore import InMemorySessionStore
            >>> store = InMemorySessionStore()
            >>> from llama_index_sessionstore import SessionChatStore
            >>> memory = ChatMemoryBuffer.from_defaults(
            ...     chat_store=SessionChatStore(store), chat_store_key="s1"
            ... )
            >>> loaded = ChatMemoryBuffer.from_string(memory.to_string())
            >>> loaded.chat_store.bind(store)

        Args:
            store: Where the sessions are.
            user_id: The caller; ``None`` checks nothing. It counts, whatever the dump says. Where
                it is left out, and the dump names no user either, sessions without an owner are
                all that is reached.

        Raises:
            TypeError: The store is not a `SessionStore`.
            InvalidSessionError: The user's id is empty or too long; or the dump names a user, and
                none is given here.
        """
        checked_store(store)
        if user_id is not ...:
            self.user_id, self._is_anonymous = optional_id(user_id, "user_id"), False
        elif self._store is None and self.user_id is not None:
            raise InvalidSessionError(_UNTRUSTED)
        elif self._store is None:
            self._is_anonymous = True
        self._store = store

    # -- Dumps, pickles and copies ----------------------------------------------------------------

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def store_name(self) -> str | None:
        """The name under which the store is registered."""
        return self._origin[0] if self._store is None else name_of(self._store)

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def binding(self) -> str | None:
        """What names its store and user to the process that made it."""
        if self._store is None:
            return self._origin[1]
        return binding_of(self._store, self._caller)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Give the dump that `from_dict` reads: no address, no password, no message."""
        return self.model_dump(**kwargs)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Load a dump.

        Args:
            data: What `to_dict` gave.
            kwargs: Fields that count in place of the dump's. With ``store``, it is bound to that,
                and to ``user_id``: see `bind`.

        Returns:
            The chat store.
        """
        store = kwargs.pop("store", None)
        loaded = cls.model_validate({**data, **kwargs})
        if store is not None:
            loaded.bind(store, user_id=kwargs.get("user_id", ...))
        return loaded

    @model_validator(mode="wrap")
    @classmethod
    def _load(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        loaded = handler({name: data[name] for name in cls.model_fields if name in data})
        name, binding = data.get(_NAME), data.get(_BINDING)
        loaded._origin = (  # noqa: SLF001 - its own class sets it
            name if is_name(name) else None,
            binding if isinstance(binding, str) else None,
        )
        return loaded

    def __getstate__(self) -> dict[Any, Any]:
        """Give what a pickle holds: all but the store."""
        origin = (self.store_name, self.binding)
        private = {**(self.__pydantic_private__ or {}), "_store": None, "_origin": origin}
        return {**BaseModel.__getstate__(self), "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take what a pickle holds; LlamaIndex's own way would make a new chat store."""
        # An older version's pickle says nothing of the store.
        private = {**_UNBOUND, **(state.get("__pydantic_private__") or {})}
        BaseModel.__setstate__(self, {**state, "__pydantic_private__": private})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Give a copy that shares the store, as a workflow does that edits its state."""
        return self.__copy__()

    # -- Finding the store ------------------------------------------------------------------------

    @property
    def _bound(self) -> SessionStore:
        if self._store is None:
            self._find()
        if self._store is None:
            raise SessionStoreError(_unknown(self._origin[0]))
        return self._store

    @property
    def _caller(self) -> str | None:
        """The user whose sessions these are to be; to be asked for once the store was found."""
        return _NOBODY if self._is_anonymous and self.user_id is None else self.user_id

    def _made(self, key: str) -> StoreFlow[None]:
        """Have the session made without an owner, where it is not there.

        An append without a user would make it with an owner that no other process knows.
        """
        if self._caller is self.user_id or (yield Get(key, 0, self._caller)):
            return
        with suppress(SessionExistsError):  # somebody made it just now
            yield Create(key, [], self.agent_id, self.user_id)

    def _visible(self, infos: list[SessionInfo]) -> list[SessionInfo]:
        is_open = self._caller is self.user_id
        return [info for info in infos if is_open or info.user_id is None]

    def _find(self) -> None:
        """Bind this to the store of its dump, and to its user, where they are known here."""
        name, binding = self._origin
        known = bound_by(binding, self.user_id) or bound_by(binding, _NOBODY) or registered(name)
        if known is not None and known.user_id is _NOBODY:
            self.bind(known.store)
        elif known is not None and known.user_id is not ...:
            self.bind(known.store, user_id=known.user_id)
        elif known is not None and known.trust_dumps:
            self.bind(known.store, user_id=self.user_id)
        elif known is not None:
            self.bind(known.store)


def _unknown(name: str | None) -> str:
    if name is None:
        return (
            "this chat store has no store, and its dump names none: hand it in with bind(store), "
            "or register the store with register_store(name, store) before dumps are made"
        )
    return (
        f"this chat store was loaded from a dump, and no store is registered as {name!r} in this "
        f"process: call register_store({name!r}, store), or hand the store in with bind(store)"
    )
