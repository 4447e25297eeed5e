"""Which messages of an answer are new: some runnables give back what they were given."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from langchain_sessionstore.summaries import is_summary
from sessionstore.models import new_id

__all__ = ["gives_all_back", "turn_of", "what_is_new"]


def what_is_new(
    answers: Sequence[BaseMessage], asked: Sequence[BaseMessage], shown: Sequence[BaseMessage]
) -> list[BaseMessage]:
    """Leave out of an answer what the runnable was given.

    A graph gives back the whole conversation, or the end of it that it kept. What comes back is
    known by its id; where a graph drops ids or makes others, by standing at the answer's start as
    it stood at the end of what was given.

    A model's cached answer has the id that it had the first time: it is given one of its own. A
    summary that an agent made within the turn is none of its answers.

    Args:
        answers: The messages of the output.
        asked: The messages of the input.
        shown: The history that came before them.

    Returns:
        The new messages, in order.
    """
    if not answers:
        return []
    known = _said_before(answers, asked, shown)
    if _is_said_again(answers, asked, known):
        return [*answers[:-1], answers[-1].model_copy(update={"id": new_id()})]
    known |= {message.id for message in asked if message.id}
    rest = answers[_echoed(answers, asked, shown) :]
    return [message for message in rest if message.id not in known and not is_summary(message)]


def gives_all_back(
    answers: Sequence[BaseMessage], asked: Sequence[BaseMessage], shown: Sequence[BaseMessage]
) -> bool:
    """Tell whether an answer begins with what the runnable was asked, or with more before it.

    Args:
        answers: The messages of the output.
        asked: The messages of the input.
        shown: The history that came before them.

    Returns:
        Whether it does.
    """
    return bool(asked) and _echoed(answers, asked, shown) >= len(asked)


def turn_of(messages: Sequence[BaseMessage], shown: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Give the new messages of a turn whose input and output come as one list.

    So does `RunnableWithMessageHistory` hand them over. Where the output begins with the input
    again, the input is taken to be what is repeated.

    Args:
        messages: The turn's input, and after it its output.
        shown: The history that the turn began with.

    Returns:
        The messages to append.
    """
    for size in range(1, len(messages) // 2 + 1):
        asked, answers = messages[:size], messages[size:]
        if gives_all_back(answers, asked, shown):
            return [*asked, *what_is_new(answers, asked, shown)]
    return what_is_new(messages, (), shown)


def _said_before(
    answers: Sequence[BaseMessage], asked: Sequence[BaseMessage], shown: Sequence[BaseMessage]
) -> set[str]:
    """Give the ids of a turn's messages that stood in its history, if an answer's can be one."""
    if not any(message.id for message in answers):
        return set()
    ids = {message.id for message in (*asked, *answers) if message.id}
    return ids.intersection([message.id for message in shown])


def _is_said_again(
    answers: Sequence[BaseMessage], asked: Sequence[BaseMessage], known: set[str]
) -> bool:
    """Tell whether of a turn's messages the last one alone was there before."""
    there = [message for message in (*asked, *answers) if message.id in known]
    return len(there) == 1 and there[0] is answers[-1]


def _echoed(
    answers: Sequence[BaseMessage], asked: Sequence[BaseMessage], shown: Sequence[BaseMessage]
) -> int:
    """Count the messages at the start of an answer that ended what was given."""
    if not asked or len(answers) < 2:  # noqa: PLR2004 - one message alone is an answer
        return 0
    given = [*shown, *asked]
    for size in range(min(len(given), len(answers)), 0, -1):
        if all(map(_same, given[-size:], answers)):
            return size
    return 0


def _same(one: BaseMessage, other: BaseMessage) -> bool:
    if one.id and one.id == other.id:
        return True
    return one.type == other.type and all(
        getattr(one, name, None) == getattr(other, name, None)
        for name in ("content", "tool_calls", "tool_call_id")
    )
