"""What a checkpointer's thread lacks of its session: what is done then, and what is refused."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from sessionstore import InvalidSessionError

__all__ = ["NothingToResumeError", "OnMismatch", "checked_on_mismatch"]

OnMismatch: TypeAlias = Literal["warn", "load", "ignore"]
"""What is done where a session has messages that its checkpointer's thread has never seen."""

_MODES = ("warn", "load", "ignore")


class NothingToResumeError(InvalidSessionError):
    """An agent was called without a message, and its checkpointer has no state of the thread.

    What a ``Command(resume=...)`` was to go on with is lost there, or was never there: a pause is
    in a checkpointer only. Neither the model nor a tool has run, and nothing was written. Send a
    message: the agent goes on with what the session holds, and asks for approval anew.
    """

    def __init__(self) -> None:
        """Say what is lost, and what to do."""
        super().__init__(
            "the agent was called without a message, and its checkpointer has no state of this "
            "thread: what a Command(resume=...) was to resume is lost there, or never was. Send a "
            'message, {"messages": [("user", "...")]}: the agent goes on with the session, and '
            "asks for approval anew"
        )

    def __reduce__(self) -> tuple[type[NothingToResumeError], tuple[()]]:
        """Make it anew where it is sent to another process."""
        return type(self), ()


def checked_on_mismatch(mode: Any) -> OnMismatch:
    """Check what a caller gave as ``on_mismatch``.

    Args:
        mode: What was given.

    Returns:
        The same.

    Raises:
        InvalidSessionError: It is none of the three.
    """
    if mode not in _MODES:
        modes = ", ".join(map(repr, _MODES))
        raise InvalidSessionError(f"on_mismatch must be one of {modes}")
    checked: OnMismatch = mode
    return checked
