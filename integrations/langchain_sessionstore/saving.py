"""What is saved of a turn that ran: to its end, and with its answer where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from sessionstore import SessionLeasedError, SessionStoreError
from sessionstore.flow import aplay
from sessionstore.integration import StoreFlow, ended
from sessionstore.runner import Runner

__all__ = [
    "OnSaveError",
    "SessionSaveError",
    "TurnSupersededError",
    "aplay_to_its_end",
    "checked_on_save_error",
    "failed",
]

T = TypeVar("T")

_NOT_SAVED = "the turn could not be saved"
_LOST = (
    "a newer turn of the session superseded it, or its lease ran out because the process was "
    "stopped or the store away for too long"
)


class SessionSaveError(SessionStoreError):
    """What a runnable, a model or a tool gave could not be saved, or not whole: see the cause.

    Attributes:
        answer: What the runnable gave; in an agent the model's message, or what the tool gave.
        input_saved: Whether what the user said is in the session. In an agent it is; in a chain it
            is where only the answer was of no known shape, or not where its key says.
    """

    def __init__(self, answer: Any, reason: str, *, input_saved: bool = False) -> None:
        what = (
            "the answer could not be saved, but what the user said was"
            if input_saved
            else _NOT_SAVED
        )
        super().__init__(f"{what} (the answer is in error.answer): {reason}")
        self.answer = answer
        self.input_saved = input_saved
        self._reason = reason

    def __reduce__(self) -> tuple[Callable[..., SessionSaveError], tuple[Any, str]]:
        """Keep the answer where the error is sent to another process."""
        return partial(type(self), input_saved=self.input_saved), (self.answer, self._reason)


class TurnSupersededError(SessionSaveError):
    """A turn was refused its save, since it has lost its session's lease: nothing of it was saved.

    A newer turn took the lease over (``concurrent_turns="supersede"``), or it ran out because this
    process was stopped, or the store away, for longer than it lasts. Of an agent, which saves each
    step as it is made, what came before is in the session.

    Attributes:
        answer: As of `SessionSaveError`.
        input_saved: As of `SessionSaveError`.
    """


OnSaveError = Callable[[SessionSaveError], None]


def checked_on_save_error(function: OnSaveError | None) -> OnSaveError | None:
    """Give back what takes the failed saves.

    Args:
        function: A plain function, or ``None``.

    Returns:
        The same.

    Raises:
        TypeError: It is not a function, or an async one.
    """
    if function is not None and not _is_plain(function):
        raise TypeError("on_save_error must be a plain function: it is not awaited")
    return function


def _is_plain(function: Any) -> bool:
    asynchronous = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)
    return callable(function) and not asynchronous


def failed(
    on_save_error: OnSaveError | None,
    answer: Any,
    error: SessionStoreError,
    *,
    input_saved: bool,
) -> None:
    """Report that a save failed, to the function for it, or else to the caller.

    Args:
        on_save_error: The function.
        answer: What was not saved.
        error: Why.
        input_saved: Whether what the user said is in the session.

    Raises:
        SessionSaveError: There is no such function.
    """
    lost = isinstance(error, SessionLeasedError)
    kind = TurnSupersededError if lost else SessionSaveError
    failure = kind(answer, _LOST if lost else str(error), input_saved=input_saved)
    if on_save_error is None:
        raise failure from error
    failure.__cause__ = error
    on_save_error(failure)


async def aplay_to_its_end(flow: StoreFlow[T], store: Runner) -> T:
    """Play a save to its end, also where the caller is cancelled meanwhile.

    Where the loop itself ends, it cancels the save, too: `asyncio.run`, whose main function returns
    or is interrupted (Ctrl-C), waits for no turn. So await your turns first.

    Args:
        flow: The save.
        store: What carries it out.

    Returns:
        What the flow returns.

    Raises:
        CancelledError: After the save, and from its error if it failed.
    """
    saving = asyncio.ensure_future(aplay(flow, store.arun))
    try:
        return await asyncio.shield(saving)
    except asyncio.CancelledError as cancelled:
        await ended(saving)
        raise cancelled from saving.exception()
