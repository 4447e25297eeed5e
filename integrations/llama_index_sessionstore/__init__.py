"""LlamaIndex's chat stores over a `SessionStore`."""

from llama_index_sessionstore.codec import (
    to_llama_index,
    to_llama_index_messages,
    to_session,
    to_session_messages,
)

__all__ = ["to_llama_index", "to_llama_index_messages", "to_session", "to_session_messages"]
