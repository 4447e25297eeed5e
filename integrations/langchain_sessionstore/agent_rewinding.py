"""What an agent's call says of a rewind, in its config or its context."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agent_turn import AgentTurn
from langchain_sessionstore.callers import given
from langchain_sessionstore.rewinding import REWIND_TO, rewind_of
from sessionstore import InvalidSessionError
from sessionstore.operations import Rewind

__all__ = ["refuse_with_checkpointer", "rewind_asked_for"]


def rewind_asked_for(turn: AgentTurn, config: RunnableConfig, context: Any) -> Rewind | None:
    """Give the rewind that a call asks for.

    Args:
        turn: The turn of the call.
        config: The run's.
        context: The runtime's.

    Returns:
        The operation; ``None`` where none is asked for.

    Raises:
        InvalidMessageError: It is no id of a message.
        InvalidSessionError: Config and context each name another.
    """
    return rewind_of(turn.session_id, turn.user_id, given(REWIND_TO, config, context))


def refuse_with_checkpointer(rewind: Rewind | None) -> None:
    """Refuse to rewind the log of an agent that has its memory from a checkpointer.

    Args:
        rewind: What was asked for.

    Raises:
        InvalidSessionError: Something was.
    """
    if rewind is not None:
        raise InvalidSessionError(
            f"{REWIND_TO} rewinds a session, but this agent has its messages from a checkpointer: "
            "leave it out, and name the checkpoint to go on from by its checkpoint_id"
        )
