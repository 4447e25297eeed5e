"""Who ended a pause: what another user decided is not carried out."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agents.callers import caller_around
from langchain_sessionstore.agents.origins import SaverFlow, belongs, names_caller, newest, step_of
from langchain_sessionstore.agents.turn import AgentTurn
from sessionstore import SessionAccessError

__all__ = ["require_own_decision"]


def require_own_decision(turn: AgentTurn, state: Any, config: RunnableConfig) -> SaverFlow[None]:
    """Refuse to go on from what another user's call left in a thread.

    LangGraph keeps a decision before this middleware can refuse who made it.

    Args:
        turn: The turn.
        state: The thread's.
        config: The run's. Each request is one for the checkpointer's ``get_tuple``.

    Raises:
        SessionAccessError: The thread goes on from another's call.
    """
    thread = state.get("session_thread")
    if not (turn.resumed and thread and names_caller(config)) or caller_around() is not None:
        return
    here = yield newest(config)
    metadata: dict[str, Any] = dict(here.metadata) if here else {}
    if not here or metadata.get("step", 0) + 1 != step_of(config):
        return  # this run is further than that
    if not belongs(thread, metadata.get("session_id"), metadata.get("user_id")):
        raise SessionAccessError(
            "another user's call ended this thread's pause, and what was decided there is not "
            "carried out: go on with a new message"
        )
