"""LlamaIndex's memory on a `sessionstore.SessionStore`.

`SessionChatStore` is a chat store for `ChatMemoryBuffer`, chat engines and agents;
`AsyncSessionChatStore` is one for `Memory`; `register_store` names a store, so that what is loaded
from a dump finds it. Each is imported at its first use, with what it needs
of llama-index-core.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_index_sessionstore.async_chat_store import AsyncSessionChatStore
    from llama_index_sessionstore.chat_store import SessionChatStore, register_store
    from llama_index_sessionstore.codec import (
        to_llama_index,
        to_llama_index_messages,
        to_session,
        to_session_messages,
    )

__all__ = [
    "AsyncSessionChatStore",
    "SessionChatStore",
    "register_store",
    "to_llama_index",
    "to_llama_index_messages",
    "to_session",
    "to_session_messages",
]

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise ImportError(
        "llama_index_sessionstore needs the llama-index extra: "
        "pip install 'sessionstore[llama-index]'"
    )

_MODULES = {
    "AsyncSessionChatStore": "async_chat_store",
    "SessionChatStore": "chat_store",
    "register_store": "chat_store",  # to find a store, a dump must find the class first
    "to_llama_index": "codec",
    "to_llama_index_messages": "codec",
    "to_session": "codec",
    "to_session_messages": "codec",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
