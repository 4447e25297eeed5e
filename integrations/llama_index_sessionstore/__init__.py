"""LlamaIndex's chat stores and memory over a `SessionStore`."""

try:
    import llama_index.core as _  # noqa: F401 - told apart from what else may be missing
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise
    msg = (
        "llama_index_sessionstore needs the llama-index extra: "
        "pip install 'sessionstore[llama-index]'"
    )
    raise ImportError(msg) from error

from llama_index_sessionstore.async_chat_store import AsyncSessionChatStore
from llama_index_sessionstore.chat_store import SessionChatStore
from llama_index_sessionstore.codec import (
    to_llama_index,
    to_llama_index_messages,
    to_session,
    to_session_messages,
)

__all__ = [
    "AsyncSessionChatStore",
    "SessionChatStore",
    "to_llama_index",
    "to_llama_index_messages",
    "to_session",
    "to_session_messages",
]
