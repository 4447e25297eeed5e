"""The turn before, in a checkpointer's thread: whether it was left, and what it said since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from langchain_sessionstore.agent_state import LEASE, MARK, SessionAgentState
from langchain_sessionstore.agent_turn import AgentTurn
from langchain_sessionstore.codec import to_langchain_messages
from langchain_sessionstore.edits import recalling
from langchain_sessionstore.origins import SaverFlow, newest
from sessionstore.integration import StoreFlow

__all__ = ["caught_up", "is_left"]


def is_left(config: RunnableConfig, holder: str) -> SaverFlow[bool]:
    """Tell whether a turn of the thread pauses or has failed, so that nothing of it runs.

    Args:
        config: The run's. Each request is one for the checkpointer's ``get_tuple``.
        holder: Who held the turn's lease.

    Returns:
        Whether it does. Of one whose process was killed nothing says so.
    """
    here, end = (yield newest(config)), None
    while here and here.checkpoint["channel_values"].get(LEASE) == holder:
        is_input = here.metadata.get("source") == "input"  # of this run, or of a refused one
        end = None if is_input else end or here
        here = (yield here.parent_config) if here.parent_config else None
    channels = {channel for _, channel, _ in (end.pending_writes if end else None) or ()}
    return bool(channels & {INTERRUPT, ERROR}) and RESUME not in channels


def caught_up(turn: AgentTurn, state: SessionAgentState) -> StoreFlow[SessionAgentState]:
    """Put what was said while a turn waited into its state, which LangGraph has read before.

    Args:
        turn: The turn.
        state: The thread's, with what the turn says at its end.

    Returns:
        The state as it would be had the turn come later.
    """
    messages = state.get("messages") or []
    first = cast("str | None", state.get(MARK)) or (messages[0].id if messages else None)
    if first is None:
        return state
    log = yield from recalling(turn.session_id, turn.user_id, [first])
    held = [message.id for message in log]
    common = [place for place, message in enumerate(messages) if message.id in held]
    if not common:
        return state
    known, said = messages[: common[-1] + 1], messages[common[-1] + 1 :]
    missing = _without_known(to_langchain_messages(log[held.index(known[-1].id) + 1 :]), known)
    if not missing:
        return state
    now: dict[str, Any] = {"messages": [*known, *missing, *said], MARK: missing[-1].id}
    return cast("SessionAgentState", {**state, **now})


def _without_known(missing: list[BaseMessage], known: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Leave out the results of calls that have one: in the log it may have another id."""
    answered = {message.tool_call_id for message in known if isinstance(message, ToolMessage)}
    return [
        message
        for message in missing
        if not (isinstance(message, ToolMessage) and message.tool_call_id in answered)
    ]
