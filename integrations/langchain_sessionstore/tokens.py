"""A window's tokens, counted as LangChain counts them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from langchain_core.messages.utils import count_tokens_approximately

from langchain_sessionstore.codec import to_langchain_messages
from sessionstore import SessionMessage, Window
from sessionstore.window.tokens import is_counter

if TYPE_CHECKING:
    from sessionstore.window.tokens import LanguageModel

__all__ = ["langchain_token_counter", "langchain_window"]

_METHOD = "get_num_tokens_from_messages"


def langchain_token_counter(
    counter: LanguageModel | Callable[[list[Any]], float],
) -> Callable[[list[SessionMessage]], float]:
    """Make a `Window.token_counter` of what counts the tokens of LangChain's messages.

    Example:
        >>> from langchain_sessionstore import langchain_token_counter
        >>> from sessionstore import SessionMessage
        >>> count = langchain_token_counter(lambda messages: sum(len(m.text) for m in messages))
        >>> count([SessionMessage("user", "Hello!")])
        6

    Args:
        counter: A LangChain model, whose ``get_num_tokens_from_messages`` is asked, or a function
            of a list of `BaseMessage`.

    Returns:
        A function of a list of `SessionMessage`.

    Raises:
        TypeError: It is neither.
    """
    if not is_counter(counter):
        raise TypeError(f"counter must be a function or a model, not {type(counter).__name__}")
    count: Any = getattr(counter, _METHOD, None) or counter

    def count_stored(messages: list[SessionMessage]) -> Any:
        return count(to_langchain_messages(messages))

    return count_stored


def langchain_window(window: Window | None) -> Window | None:
    """Give a window whose token counter takes stored messages.

    A counter is given LangChain's messages if it is a model (it has a
    ``get_num_tokens_from_messages``), that method of a model, or LangChain's
    `count_tokens_approximately`, a `functools.partial` of it included. Any other function is given
    a list of `SessionMessage`, here as everywhere.

    Args:
        window: A window, or ``None``.

    Returns:
        The window to read with.

    Raises:
        TypeError: It is not a `Window`.
    """
    if window is None:
        return None
    if not isinstance(window, Window):
        raise TypeError(f"window must be a Window, not {type(window).__name__}")
    counter = window.token_counter
    if counter is None or not _is_langchain(counter):
        return window
    return msgspec.structs.replace(window, token_counter=langchain_token_counter(counter))


def _is_langchain(counter: object) -> bool:
    function = counter.func if isinstance(counter, partial) else counter
    return (
        hasattr(function, _METHOD)
        or getattr(function, "__name__", "") == _METHOD
        or function is count_tokens_approximately
    )
