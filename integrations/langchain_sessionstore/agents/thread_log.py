"""How a turn begins where a checkpointer is an agent's memory: the log takes over what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    RemoveMessage,
    ToolMessage,
)

from langchain_sessionstore.again import answer_id
from langchain_sessionstore.agents.changes import Changes
from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.codec import to_langchain
from langchain_sessionstore.edits import SentAgain, recalling
from langchain_sessionstore.sameness import as_given
from sessionstore.integration import StoreFlow

__all__ = ["TakenOver", "needed_of", "taking_over"]


@dataclass
class TakenOver:
    """What became of a thread's messages at the start of a turn.

    Attributes:
        kept: Those that the turn goes on from.
        update: What changes the state so.
        is_new: Whether the log has something that it had not.
    """

    kept: Sequence[BaseMessage]
    update: list[BaseMessage] = field(default_factory=list)
    is_new: bool = True


def taking_over(
    turn: AgentTurn,
    messages: list[AnyMessage],
    new: Sequence[AnyMessage],
    changes: Changes,
) -> StoreFlow[TakenOver]:
    """Save what the thread holds and the log does not, and what was edited in it.

    Args:
        turn: The turn.
        messages: The thread's, but for what others said in it.
        new: Those that came since the last turn.
        changes: What became of the others.

    Returns:
        What the turn goes on from.
    """
    suspects, answered = list(changes.edited), False
    if new:
        there = yield from turn.saving(
            new, correct=False, needed=needed_of(new), behind=messages[: -len(new)]
        )
        suspects += new if there else []
        # A turn that was broken off behind its answer has not noted how far it got.
        answered = there and all(isinstance(m, (AIMessage, ToolMessage)) for m in new)
    elif not suspects:
        yield turn.checking()
    kept = messages
    if suspects:
        kept = yield from _up_to_edit(turn, messages, suspects, new)
    is_new = bool(new) or len(kept) < len(messages)
    if not is_new or (answered and kept is messages):  # a turn that is sent again, maybe
        turn.answer_id = answer_id(messages[-1]) if messages else None
    restored = yield from _restored(turn, changes.foreign)
    removed = [RemoveMessage(id=message.id or "") for message in messages[len(kept) :]]
    shown = as_given(kept, {message.id: message for message in restored})
    return TakenOver(shown, [*restored, *removed], is_new)


def needed_of(new: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Give those of new messages that must be saved, or the turn does not run.

    Args:
        new: The messages.

    Returns:
        The last one, where a user says it. What stands before it was refused in a turn before.
    """
    return [] if isinstance(new[-1], (AIMessage, ToolMessage)) else new[-1:]


def _restored(turn: AgentTurn, foreign: list[BaseMessage]) -> StoreFlow[list[BaseMessage]]:
    """Give what the log holds in the place of what a refused caller put there."""
    if not foreign:
        return []
    ids = {message.id for message in foreign}
    log = yield from recalling(turn.session_id, turn.user_id, ids)
    return [to_langchain(message) for message in log if message.id in ids]


def _up_to_edit(
    turn: AgentTurn,
    messages: list[AnyMessage],
    suspects: list[BaseMessage],
    new: Sequence[AnyMessage],
) -> StoreFlow[list[AnyMessage]]:
    """Take over what was edited, and give the state up to where the model is asked again."""
    ids = [message.id for message in suspects]
    log = yield from recalling(turn.session_id, turn.user_id, ids)
    again = SentAgain(log, suspects, new)
    yield from turn.editing(again)
    if again.question is None or not again.token:
        return messages
    place = next(n for n, m in enumerate(messages) if m.id == again.question.id)
    steps = {message.id for message in again.steps()}
    if steps.intersection(message.id for message in messages[place + 1 :]):
        return messages  # the state has its answer
    return messages[: place + 1]
