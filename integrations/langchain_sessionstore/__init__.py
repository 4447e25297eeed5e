"""LangChain's memory on a `sessionstore.SessionStore`.

`with_session_history` wraps a chain; `SessionChatMessageHistory` and `session_history_factory`
fit `RunnableWithMessageHistory` as it stands.
"""

from langchain_sessionstore.codec import (
    to_langchain,
    to_langchain_messages,
    to_session,
    to_session_messages,
)
from langchain_sessionstore.history import SessionChatMessageHistory, session_history_factory
from langchain_sessionstore.runnable import (
    SessionHistoryRunnable,
    SessionSaveError,
    with_session_history,
)

__all__ = [
    "SessionChatMessageHistory",
    "SessionHistoryRunnable",
    "SessionSaveError",
    "session_history_factory",
    "to_langchain",
    "to_langchain_messages",
    "to_session",
    "to_session_messages",
    "with_session_history",
]
