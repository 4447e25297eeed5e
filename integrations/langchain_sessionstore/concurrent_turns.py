"""What happens where a turn begins in a session in which another one runs."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

from sessionstore import InvalidSessionError
from sessionstore.arguments import checked_wait

__all__ = ["AgentTurns", "ConcurrentTurns", "TurnTerms", "checked_terms"]

AgentTurns: TypeAlias = Literal["interleave", "wait", "reject"]
"""What an agent's turn may do."""

ConcurrentTurns: TypeAlias = Literal["interleave", "wait", "reject", "supersede"]
"""What a chain's turn may do."""

_MODES = ("interleave", "wait", "reject", "supersede")
_NOT_IN_AGENTS = (
    'concurrent_turns="supersede" is for chains: an agent saves each step as it is made, so that '
    'half of a superseded turn would be in the session already. Give "wait" or "reject"'
)


class TurnTerms(NamedTuple):
    """On which terms a turn takes its session's lease.

    Attributes:
        wait: How long it waits for it, in seconds.
        takes_over: Whether it takes it from the turn that holds it.
    """

    wait: float
    takes_over: bool


def checked_terms(mode: Any, turn_wait: Any, *, of_agent: bool = False) -> TurnTerms | None:
    """Check how turns of one session go at once.

    Args:
        mode: What the caller gave as ``concurrent_turns``.
        turn_wait: What the caller gave for it.
        of_agent: Whether they are an agent's turns.

    Returns:
        The terms; ``None`` where turns need no lease.

    Raises:
        InvalidSessionError: One of the two is not valid.
    """
    wait = checked_wait(turn_wait, "turn_wait")
    if mode == "supersede" and of_agent:
        raise InvalidSessionError(_NOT_IN_AGENTS)
    if mode not in _MODES:
        modes = ", ".join(map(repr, _MODES[:3] if of_agent else _MODES))
        raise InvalidSessionError(f"concurrent_turns must be one of {modes}")
    if mode == "interleave":
        return None
    return TurnTerms(wait if mode == "wait" else 0.0, mode == "supersede")
