"""How a command ends: its exit status, and the one line that says why."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Any

from sessionstore.errors import SessionStoreError, StoreUnavailableError

__all__ = [
    "INTERRUPTED",
    "Ending",
    "Status",
    "UsageError",
    "plainly_ended",
    "status_of",
    "words_of",
]


INTERRUPTED = "interrupted: what was done is kept; run the same command again to go on"


class Status(IntEnum):
    """The exit statuses of the command line.

    Attributes:
        OK: All was done.
        FAILED: It was not done, or what was checked is not well.
        USAGE: The command line is not valid, or needs an answer that nobody is there to give.
        UNAVAILABLE: A store can't be reached, is busy or gave no answer: try again.
        INCOMPLETE: What could be done is done; the error output says what is left.
        INTERRUPTED: Ctrl-C.
        BROKEN_PIPE: Whoever read the output has stopped reading.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INCOMPLETE = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class UsageError(Exception):
    """The command line is not valid; the text says what to write in its place."""


class Ending(Exception):  # noqa: N818 - it is no error by itself
    """Ends a command with a status, and the line that says why.

    Args:
        status: The exit status.
        why: What is said on the error output.
    """

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status: Status = status


def plainly_ended(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command end by an error of ours where Typer would end it by a status of its own."""

    @wraps(command)
    def ended(*args: Any, **named: Any) -> None:
        try:
            command(*args, **named)
        except KeyboardInterrupt:
            raise Ending(Status.INTERRUPTED, INTERRUPTED) from None
        except BrokenPipeError:
            raise Ending(Status.BROKEN_PIPE, "") from None

    return ended


def status_of(error: BaseException) -> Status:
    """Give the exit status that an error ends a command with."""
    if isinstance(error, Ending):
        return error.status
    if isinstance(error, UsageError):
        return Status.USAGE
    if isinstance(error, BrokenPipeError):  # as the last of the output was written
        return Status.BROKEN_PIPE
    return Status.UNAVAILABLE if isinstance(error, StoreUnavailableError) else Status.FAILED


def words_of(error: BaseException) -> str:
    """Say what went wrong, and what to do.

    An error that is none of ours may quote what nobody should see: only its class is named.
    """
    if isinstance(error, (Ending, UsageError, SessionStoreError, ValueError, ImportError)):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or type(error).__name__}"
    return (
        f"a fault of this command, {type(error).__name__}: run it again with SESSIONSTORE_DEBUG=1 "
        "for where it is, and report it"
    )
