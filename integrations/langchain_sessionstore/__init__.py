"""LangChain's memory on a `sessionstore.SessionStore`.

`SessionMiddleware` is an agent's memory, `with_session_history` a chain's;
`SessionChatMessageHistory` and `session_history_factory` fit `RunnableWithMessageHistory` as it
stands. Each is imported at its first use, with what it needs of LangChain. Without the package
langchain `SessionMiddleware` raises an `ImportError` that says so, and `dir` and a star leave it
out.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_sessionstore.codec import (
        to_langchain,
        to_langchain_messages,
        to_session,
        to_session_messages,
    )
    from langchain_sessionstore.history import SessionChatMessageHistory, session_history_factory
    from langchain_sessionstore.middleware import SessionMiddleware
    from langchain_sessionstore.runnable import SessionHistoryRunnable, with_session_history
    from langchain_sessionstore.saving import SessionSaveError, TurnSupersededError
    from langchain_sessionstore.threads import NothingToResumeError
    from langchain_sessionstore.tokens import langchain_token_counter

__all__ = [
    "NothingToResumeError",
    "SessionChatMessageHistory",
    "SessionHistoryRunnable",
    "SessionMiddleware",
    "SessionSaveError",
    "TurnSupersededError",
    "langchain_token_counter",
    "session_history_factory",
    "to_langchain",
    "to_langchain_messages",
    "to_session",
    "to_session_messages",
    "with_session_history",
]

if not TYPE_CHECKING:
    del __all__  # asked for as the others are: what a star can't import is not among them

if find_spec("langchain_core") is None:
    raise ImportError(
        "langchain_sessionstore needs the langchain extra: pip install 'sessionstore[langchain]'"
    )

_MODULES = {
    "NothingToResumeError": "threads",
    "SessionChatMessageHistory": "history",
    "SessionHistoryRunnable": "runnable",
    "SessionMiddleware": "middleware",
    "SessionSaveError": "saving",
    "TurnSupersededError": "saving",
    "langchain_token_counter": "tokens",
    "session_history_factory": "history",
    "to_langchain": "codec",
    "to_langchain_messages": "codec",
    "to_session": "codec",
    "to_session_messages": "codec",
    "with_session_history": "runnable",
}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return list(filter(_can_be_had, _MODULES))
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    # help and inspect read each of these names: none may raise.
    dunders = {name for name in globals() if name.startswith("__")}
    return sorted({*dunders, "__all__", *filter(_can_be_had, _MODULES)})


def _can_be_had(name: str) -> bool:
    return name != "SessionMiddleware" or find_spec("langchain") is not None
