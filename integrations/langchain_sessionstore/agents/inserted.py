"""What other middleware puts among the messages that a model is asked with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import is_
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, convert_to_messages

from langchain_sessionstore.summaries import is_summary
from sessionstore.models import new_id

__all__ = ["Inserted", "is_as_in_state", "is_said", "made_messages"]


class Inserted:
    """Messages that a model was asked with and that its agent's state did not hold.

    What was put into the request's list will be in the state, in front of the answer; what is only
    in another list, made for the model, will not. Nobody knows which before the model has
    answered, so they are in the log, and leave it if the next step finds the answer without them.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.ids: list[str] = []
        self.answer_id: str | None = None
        self.for_model_only = False
        self._answers: list[str | None] = []
        self._asked_with: Sequence[BaseMessage] = ()

    def note_answers(self, ids: Sequence[str | None], state: Sequence[BaseMessage]) -> None:
        """Take note of what the log has for an answer: middleware around may give another.

        Args:
            ids: The answer's messages.
            state: The state that the model was asked with.
        """
        self._answers += ids
        self._asked_with = state

    def replaced(self, state: Sequence[BaseMessage]) -> list[str]:
        """Give the answers that the state has replaced by others, rather than trimmed.

        Args:
            state: The state since.

        Returns:
            Their ids.
        """
        if not self._answers or state is self._asked_with:  # it is asked once more
            return []
        answers, self._answers = self._answers, []
        last = self._asked_with[-1].id if self._asked_with else None
        backwards = range(len(state) - 1, -1, -1)
        place = next((n for n in backwards if state[n].id == last), len(state))
        behind = state[place + 1 :]
        if not any(isinstance(message, AIMessage) for message in behind):
            return []
        kept = {message.id for message in behind}
        return [id for id in answers if id and id not in kept]  # noqa: A001

    def note(self, ids: Sequence[str], answer_id: str | None) -> None:
        """Take note of what stands in the log in front of an answer.

        Args:
            ids: The messages.
            answer_id: The answer.
        """
        self.ids, self.answer_id = list(ids), answer_id

    def left_out(self, state_ids: Collection[str | None]) -> list[str]:
        """Give those that the state turned out not to hold; what was trimmed since is not known.

        Args:
            state_ids: The messages of the state.

        Returns:
            Their ids.
        """
        gone = [id for id in self.ids if id not in state_ids]  # noqa: A001
        return gone if self.answer_id in state_ids else []


def is_as_in_state(shown: Sequence[Any], state: Sequence[Any]) -> bool:
    """Tell whether a request shows a model the state's messages, and no others.

    Args:
        shown: The request's.
        state: The state's.

    Returns:
        Whether it does.
    """
    return len(shown) == len(state) and all(map(is_, shown, state))


def is_said(message: BaseMessage) -> bool:
    """Tell whether a message is one for the log: a summary stands for messages that it keeps.

    Args:
        message: A message of a state.

    Returns:
        Whether it is.
    """
    return not isinstance(message, RemoveMessage) and not is_summary(message)


def made_messages(shown: list[Any]) -> bool:
    """Make messages with ids, in place, of what was put into a request, as LangGraph will do.

    Args:
        shown: The request's messages.

    Returns:
        Whether all of them are messages now.
    """
    for place, given in enumerate(shown):
        if not isinstance(given, BaseMessage):
            try:
                [shown[place]] = convert_to_messages([given])
            except (TypeError, ValueError, NotImplementedError, KeyError):
                return False
        if (
            shown[place].id is None and shown[place].type != "tool"
        ):  # a result's is made of its call's
            shown[place] = shown[place].model_copy(update={"id": new_id()})
    return True
