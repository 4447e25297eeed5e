"""`register_store`: the stores of this process by name, for chat stores that come out of a dump.

A dump of a chat store says where its store is to be found, in two ways. The *name* is the one under
which the store was registered: it holds in every process that registers a store under it. The
*binding* holds in this process only: an id of the store, its name and the chat store's user, signed
with a key that never leaves the process. So a workflow, which dumps its memory and loads it again
each time it runs, goes on with the store and the user that it had, and a user that somebody has
written into a dump is recognized as forged.
"""

from __future__ import annotations

import hmac
import re
import secrets
import weakref
from types import EllipsisType
from typing import NamedTuple

from sessionstore import SessionStore
from sessionstore.arguments import optional_id
from sessionstore.integration import checked_store
from sessionstore.models import new_id

__all__ = [
    "Registration",
    "binding_of",
    "bound_by",
    "is_name",
    "name_of",
    "register_store",
    "registered",
]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_key = secrets.token_bytes(32)
_registered: dict[str, Registration] = {}
_stores: weakref.WeakValueDictionary[str, SessionStore] = weakref.WeakValueDictionary()


class Registration(NamedTuple):
    """A store, and what is known of the user that a dump is loaded for.

    Attributes:
        store: The store.
        user_id: The caller, whatever a dump says; ``...`` where the registration names none.
        trust_dumps: The user that a dump names is the caller.
    """

    store: SessionStore
    user_id: str | EllipsisType | None = ...
    trust_dumps: bool = False

    @property
    def names_user(self) -> bool:
        """Whether it names a user."""
        return isinstance(self.user_id, str)


def register_store(
    name: str,
    store: SessionStore,
    *,
    user_id: str | EllipsisType | None = ...,
    trust_dumps: bool = False,
) -> None:
    """Name a store, so that chat stores that come out of a dump find it, in any process.

    Call it where the process starts, under the same name in each. The dump of a chat store of this
    store, or of a memory or a workflow's `Context` that holds one, then says the name, and what is
    loaded goes on with the store that has the name there.

    A store that is registered stays in memory until its name gets another one. What is loaded by a
    dump of this process, too, goes on with the store that has the name by then.

    Who holds a dump can write another user into it, so that is not believed: name the user here,
    hand them in with ``bind(store, user_id=...)``, or trust dumps. A dump that names no user needs
    none of it, and reaches sessions without an owner only. Who writes a dump also chooses among
    the stores that are registered.

    Example:
        >>> from llama_index.core.llms import ChatMessage
        >>> from llama_index.core.memory import ChatMemoryBuffer
        >>> from llama_index_sessionstore import SessionChatStore, register_store
        >>> from sessionstore import InMemorySessionStore
        >>> store = InMemorySessionStore()
        >>> register_store("main", store)
        >>> memory = ChatMemoryBuffer.from_defaults(
        ...     chat_store=SessionChatStore(store), chat_store_key="s1"
        ... )
        >>> loaded = ChatMemoryBuffer.from_string(memory.to_string())
        >>> loaded.put(ChatMessage("Hello!"))

    Args:
        name: Up to 100 letters, digits, dots, dashes and underscores. A name that is taken gets
            this store from now on.
        store: The store.
        user_id: The caller of every chat store that is loaded by this name: they count, whatever
            the dump says. ``None`` checks nothing, except for a user that this process has signed.
        trust_dumps: Believe the user that a dump names. Only for dumps that nobody else can write.

    Raises:
        TypeError: The store is not a `SessionStore`, or the name no string.
        ValueError: The name has other characters; or both a user and trust are given.
        InvalidSessionError: The user's id is empty, or too long.
    """
    checked_store(store)
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type(name).__name__}")
    if not is_name(name):
        raise ValueError(
            "name must be 1 to 100 ASCII letters, digits, dots, dashes and underscores"
        )
    if user_id is not ...:
        optional_id(user_id, "user_id")
        if trust_dumps:
            raise ValueError("give a user_id or trust_dumps=True: a user_id counts in any case")
    _registered[name] = Registration(store, user_id, trust_dumps)


def registered(name: str | None) -> Registration | None:
    """Give what is registered under a name."""
    return None if name is None else _registered.get(name)


def name_of(store: SessionStore) -> str | None:
    """Give the name under which a store is registered; the newest where it has several."""
    names = [name for name, known in dict(_registered).items() if known.store is store]
    return names[-1] if names else None


def binding_of(store: SessionStore, user_id: str | None) -> str:
    """Give what names a chat store's store and user to this process.

    Args:
        store: The store.
        user_id: The user.

    Returns:
        A text that can't be forged.
    """
    store_id, name = _id_of(store), name_of(store) or ""
    return f"{store_id}.{_signature(store_id, user_id, name)}.{name}"


def bound_by(binding: str | None, user_id: str | None) -> Registration | None:
    """Give the store that a binding is about, where this process has made it for this user.

    Where the store has, or had, a name, that is the one that has the name now, and the user whom
    the registration names.
    """
    store_id, _, rest = (binding or "").partition(".")
    signature, _, name = rest.partition(".")
    expected = _signature(store_id, user_id, name).encode()
    if not hmac.compare_digest(signature.encode(errors="replace"), expected):
        return None
    store = _stores.get(store_id)
    known = registered(name) or registered(name_of(store) if store else None)
    if known:
        return Registration(known.store, known.user_id if known.names_user else user_id)
    return Registration(store, user_id) if store else None


def _id_of(store: SessionStore) -> str:
    # By identity: a store of somebody's own may be equal to another one, or have no hash.
    for known in _stores.valuerefs():
        if known() is store:
            return known.key
    store_id = new_id()
    _stores[store_id] = store
    return store_id


def is_name(value: object) -> bool:
    """Tell whether a store may be registered under this."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _signature(store_id: str, user_id: str | None, name: str) -> str:
    text = repr((store_id, user_id, name)).encode()
    return hmac.digest(_key, text, "sha256").hex()
