"""Whose turn of an agent it is: the session and the user that a call names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agent_rewinding import refuse_with_checkpointer, rewind_asked_for
from langchain_sessionstore.agent_state import TURN
from langchain_sessionstore.agent_turn import AgentTurn
from langchain_sessionstore.callers import (
    asked_for,
    caller_around,
    config_around,
    context_of,
    given,
)
from langchain_sessionstore.thread_owner import require_own
from sessionstore import InvalidSessionError
from sessionstore.arguments import checked_id

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest

__all__ = ["TurnFinder"]

_EDITED = "hitl_edited_tool_calls"


@dataclass(frozen=True)
class TurnFinder:
    """Finds the turn that a call of an agent is in, or begins one.

    Attributes:
        agent_id: The agent of the sessions that are made; ``None`` for the agent's own name.
        user_scoped: Whether each call has to name a user.
    """

    agent_id: str | None
    user_scoped: bool = field(kw_only=True)

    def of(self, state: Any, context: Any, config: RunnableConfig | None = None) -> AgentTurn:
        """Give the turn that a state is in; a new one where it goes on after a pause or a crash.

        Args:
            state: The agent's.
            context: The run's.
            config: The run's; ``None`` for the one around this call.

        Returns:
            The turn.

        Raises:
            InvalidSessionError: The call names no session, or no user where it has to.
            SessionAccessError: The checkpointer's thread is another's.
        """
        turn: AgentTurn | None = state.get(TURN)
        if turn is None:
            config = config or config_around()
            turn = self.new(config, context, resumed=True)
            refuse_with_checkpointer(rewind_asked_for(turn, config, context))
            require_own(turn, state, user_scoped=self.user_scoped)
        answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
        if answers and state.get(_EDITED):
            turn.edit_calls(answers[-1], state[_EDITED])
        return turn

    def calling(self, request: ToolCallRequest) -> tuple[AgentTurn, AIMessage, str]:
        """Give the turn of a tool call, the message that calls, and the id of the result."""
        turn = self.of(request.state, context_of(request), request.runtime.config)
        call_id = request.tool_call["id"]
        for message in reversed(request.state["messages"]):
            if isinstance(message, AIMessage) and call_id in [c["id"] for c in message.tool_calls]:
                return turn, message, turn.result_id(message, request.tool_call)
        raise InvalidSessionError(f"no message of the state makes the tool call {call_id!r}")

    def new(self, config: RunnableConfig, context: Any, *, resumed: bool = False) -> AgentTurn:
        """Begin a turn in the session that a call names, for the user that it names."""
        named = (config.get("metadata") or {}).get("lc_agent_name")
        agent_id = self.agent_id or named or "default"
        session_id = checked_id(asked_for(config, context), "session_id")
        caller = caller_around()
        if caller and session_id in caller.sessions:
            session_id = f"{caller.result_id}/{agent_id}"
        user_id = given("user_id", config, context)
        if self.user_scoped and user_id is None:
            raise InvalidSessionError(
                "the agent was called without a user, and its SessionMiddleware is user_scoped: "
                'give it config={"configurable": {"session_id": "...", "user_id": "..."}}'
            )
        return AgentTurn(session_id, agent_id, user_id, resumed)
