"""Whose a checkpointer's thread is: another session's or user's is refused."""

from __future__ import annotations

from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agents.callers import caller_around
from langchain_sessionstore.agents.origins import Origins, belongs
from langchain_sessionstore.agents.state import MARK, SessionAgentState
from langchain_sessionstore.agents.turn import AgentTurn
from sessionstore import InvalidMessageError, SessionAccessError
from sessionstore.integration import StoreFlow
from sessionstore.operations import Get, GetMessages

__all__ = ["require_begun", "require_own", "verifying"]

_NOT_OWN = (
    "this thread of the checkpointer belongs to another session or user: "
    "give each session a thread of its own"
)


def require_own(turn: AgentTurn, state: SessionAgentState, *, user_scoped: bool) -> None:
    """Refuse a checkpointer's thread that belongs to another session or user.

    Args:
        turn: The caller's turn.
        state: The thread's.
        user_scoped: Whether each call names a user.

    Raises:
        SessionAccessError: It is another's.
    """
    thread = state.get("session_thread")
    if not thread:
        # An older version of this package only said how far its session's log goes.
        turn.unverified = state.get("session_mark") if user_scoped else None
        return
    # An agent in a tool has the thread of the one around it, but a session for each call.
    session_id = turn.session_id if caller_around() is None else None
    if not belongs(thread, session_id, turn.user_id):
        raise SessionAccessError(_NOT_OWN)


def require_begun(
    turn: AgentTurn,
    state: SessionAgentState,
    config: RunnableConfig,
    origins: Origins,
) -> StoreFlow[None]:
    """Refuse a thread that names no owner, but that somebody else began.

    Args:
        turn: The caller's turn.
        state: The thread's.
        config: The run's.
        origins: Who put the thread's messages there.

    Raises:
        SessionAccessError: It is another's.
    """
    if origins.thread and not belongs(origins.thread, turn.session_id, turn.user_id):
        raise SessionAccessError(_NOT_OWN)
    known = origins.runs.keys() - origins.own
    earlier = [message.id for message in state.get("messages") or [] if message.id in known]
    if state.get("session_thread") or state.get(MARK) or not earlier:
        return
    if earlier[0] in origins.others([turn.session_id, turn.user_id]):
        raise SessionAccessError(_NOT_OWN)
    thread_id = (config.get("configurable") or {}).get("thread_id")
    unnamed = origins.unnamed()
    if earlier[0] not in unnamed or turn.user_id is None or turn.session_id == thread_id:
        return
    saved = yield GetMessages(turn.session_id, user_id=turn.user_id)
    if not unnamed <= {message.id for message in saved}:
        raise SessionAccessError(_NOT_OWN)


def verifying(turn: AgentTurn) -> StoreFlow[None]:
    """Refuse a thread of which nothing is known but a message, if the session lacks that.

    Args:
        turn: The caller's turn.

    Raises:
        SessionAccessError: It is another's.
    """
    mark = turn.unverified
    if mark is None or caller_around() is not None:
        return
    there = yield Get(turn.session_id, 0, turn.user_id)
    try:
        yield GetMessages(turn.session_id, 0, after=mark, user_id=turn.user_id)
    except InvalidMessageError:
        there = None
    if there is None:
        raise SessionAccessError(_NOT_OWN)
    turn.unverified = None
