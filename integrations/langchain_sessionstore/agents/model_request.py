"""What a model is asked with in an agent: calls that are left open are closed for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from langchain.agents.middleware.types import ModelResponse
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.pending import closed
from langchain_sessionstore.threads import NothingToResumeError
from sessionstore import InvalidSessionError

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest

__all__ = ["given_before", "with_closed_calls"]


@contextmanager
def with_closed_calls(request: ModelRequest[Any]) -> Iterator[ModelRequest[Any]]:
    """Close the calls that a state has left open, in what the model is sent.

    What other middleware changes in place in the request's list is in the agent's state when the
    model has answered: so it is changed in the list that was handed in, too.

    Args:
        request: The request.

    Yields:
        The same request, where there is nothing to close.
    """
    handed_in: list[Any] = request.messages
    shown: list[Any] = closed(handed_in, [HumanMessage("")])
    if len(shown) == len(handed_in) and all(map(is_, shown, handed_in)):
        yield request
        return
    before, stand_in_for = list(shown), _originals(shown, handed_in)
    try:
        yield request.override(messages=cast("list[AnyMessage]", shown))
    finally:
        if len(shown) != len(before) or not all(map(is_, shown, before)):
            handed_in[:] = [
                original
                for message in shown
                if (original := stand_in_for.get(id(message), message)) is not None
            ]


def _originals(shown: list[BaseMessage], handed_in: list[BaseMessage]) -> dict[int, Any]:
    """Map each message that only the model sees to the one that it replaces, if any."""
    stand_in_for: dict[int, Any] = {}
    place = 0
    for message in shown:
        original = handed_in[place] if place < len(handed_in) else None
        if message is not original and isinstance(message, ToolMessage):
            stand_in_for[id(message)] = None
            continue
        if message is not original:
            stand_in_for[id(message)] = original
        place += 1
    return stand_in_for


def given_before(turn: AgentTurn, request: ModelRequest[Any]) -> ModelResponse[Any] | None:
    """Give the answer of a turn that is sent again after its end, as when its reply was lost.

    Args:
        turn: The turn, with what answered it before.
        request: The request.

    Returns:
        The answer; ``None`` where the model is to be asked.

    Raises:
        InvalidSessionError: Nothing was said in the session, and nothing is sent.
        NothingToResumeError: Nothing is sent, and what was to go on has no state.
    """
    if not request.messages and turn.resumed:  # as by Command(goto="model")
        raise NothingToResumeError
    if not request.messages:
        raise InvalidSessionError(
            "the agent was called without a message, and nothing was said before: give it "
            '{"messages": [("user", "...")]}, or the id of a session that was begun'
        )
    last = request.messages[-1]
    known = turn.answer_id is not None and last.id == turn.answer_id
    if not known or request.response_format is not None:
        return None
    return ModelResponse([last])
