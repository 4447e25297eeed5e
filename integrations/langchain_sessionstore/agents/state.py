"""The state of an agent that remembers in a session."""

from __future__ import annotations

from typing import Annotated, Any

from langchain.agents.middleware.types import AgentState, PrivateStateAttr
from langchain_core.messages import AnyMessage
from langgraph.channels.untracked_value import UntrackedValue
from typing_extensions import NotRequired

from langchain_sessionstore.agents.turn import AgentTurn

__all__ = [
    "LEASE",
    "MARK",
    "OUTAGE",
    "OWN",
    "SEEN",
    "STEPS",
    "THREAD",
    "TURN",
    "SessionAgentState",
    "behind_mark",
]

LEASE = "session_lease"
MARK = "session_mark"
OUTAGE = "session_outage"
OWN = "session_own"
SEEN = "session_seen"
STEPS = "session_steps"
THREAD = "session_thread"
TURN = "session_turn"


def _joined(known: list[str], more: list[str]) -> list[str]:
    """Add ids to those that are known; an empty one in front begins anew."""
    return more[1:] if more[:1] == [""] else [*known, *more]


class SessionAgentState(AgentState[Any]):
    """An agent's state, with the turn that is running and the last message that is in the log.

    A checkpointer's has the session and the user that its thread belongs to, too, the steps at
    which a turn ended, so that the next one sees whether others were there, and by what a message
    is known, so that it sees what was edited. Where turns take leases, it has who held the last.
    One that began in an outage, with what the fallback knew of the session, says so until it has
    the rest. And it has what to read the log by after a pause: the message in it behind which the
    turn began, and then what the turn said itself, or was told of. Tools at once may add to that.
    """

    session_turn: NotRequired[Annotated[AgentTurn, UntrackedValue, PrivateStateAttr]]
    session_lease: NotRequired[Annotated[str, PrivateStateAttr]]
    session_mark: NotRequired[Annotated[str, PrivateStateAttr]]
    session_outage: NotRequired[Annotated[bool, PrivateStateAttr]]
    session_own: NotRequired[Annotated[list[str], PrivateStateAttr, _joined]]
    session_seen: NotRequired[Annotated[list[int], PrivateStateAttr]]
    session_steps: NotRequired[Annotated[list[int], PrivateStateAttr]]
    session_thread: NotRequired[Annotated[list[str | None], PrivateStateAttr]]


def behind_mark(state: SessionAgentState) -> list[AnyMessage]:
    """Give the messages that came since the last turn.

    Args:
        state: The agent's.

    Returns:
        Those behind the last one that is known to be in the log.
    """
    messages = state.get("messages") or []
    places = [place for place, message in enumerate(messages) if message.id == state.get(MARK)]
    return messages[places[-1] + 1 :] if places else messages
