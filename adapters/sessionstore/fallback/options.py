"""The options of a `FallbackSessionStore`: checked, and its fallback store opened."""

from __future__ import annotations

import inspect

from sessionstore.arguments import checked_flag
from sessionstore.backends import open_backend
from sessionstore.memory import InMemorySessionStore
from sessionstore.store import SessionStore

__all__ = ["check_options", "not_a", "opened"]


def check_options(
    *,
    on_fallback: object,
    on_recover: object,
    retry_after: float,
    retry_cap: float,
    max_pending: int,
    max_sessions: int,
    max_messages: int,
    unknown: str,
) -> None:
    """Refuse options of a `FallbackSessionStore` that are not valid.

    Raises:
        ValueError: See `FallbackSessionStore`.
        TypeError: The same.
    """
    if unknown not in ("empty", "raise"):
        raise ValueError('unknown must be "empty" or "raise"')
    for name, callback in (("on_fallback", on_fallback), ("on_recover", on_recover)):
        _require_callback(name, callback)
    for name, seconds in (("retry_after", retry_after), ("retry_cap", retry_cap)):
        if type(seconds) not in (int, float):
            raise TypeError(f"{name} must be a number of seconds, {not_a(seconds)}")
    counts = {
        "max_pending": max_pending,
        "max_sessions": max_sessions,
        "max_messages": max_messages,
    }
    for name, count in counts.items():
        if type(count) is not int:
            raise TypeError(f"{name} must be a whole number, {not_a(count)}")
        if count < 1:
            raise ValueError(f"{name} must be 1 or more")
    if not 0 <= retry_after <= retry_cap:
        raise ValueError("retry_after must be 0 or more seconds, and no more than retry_cap")


def opened(fallback: SessionStore | str, *, create_parents: bool = False) -> SessionStore:
    """Give the store in which a fallback keeps its journal.

    Args:
        fallback: What the caller gave.
        create_parents: Make the folder of its file where that is missing.

    Raises:
        ValueError: It is neither ``"in-memory"``, nor a store, nor the URL of one.
        SessionStoreError: The folder of its file does not exist, or can't be made.
        TypeError: ``create_parents`` is not a ``bool``.
    """
    checked_flag(create_parents, "create_parents")
    if isinstance(fallback, SessionStore):
        return fallback
    if fallback == "in-memory":
        return InMemorySessionStore()
    try:
        return open_backend(fallback, create_parents=create_parents)
    except ValueError as error:
        msg = f'fallback must be "in-memory", a store, or the URL of one: {error}'
        raise ValueError(msg) from None


def _require_callback(name: str, callback: object) -> None:
    if callback is None:
        return
    if not callable(callback):
        raise TypeError(f"{name} must be a function or None, {not_a(callback)}")
    called = callback if inspect.isroutine(callback) else getattr(callback, "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(called):
        raise TypeError(f"{name} can't be async: sync calls call it, too, where no loop may run")


def not_a(value: object) -> str:
    """Name the type of what an argument is, for the error that says what it is not."""
    return f"not {type(value).__name__}"
