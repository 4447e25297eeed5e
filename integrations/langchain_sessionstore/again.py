"""A turn that is sent again: what it began with, and what answered it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from sessionstore import SessionMessage

__all__ = ["answer_id", "comes_again", "end_of_turn", "sent_again"]


def comes_again(asked: Sequence[BaseMessage], stored: Sequence[SessionMessage]) -> bool:
    """Tell whether a turn says something that was said before.

    Args:
        asked: What the turn says.
        stored: What its session holds.

    Returns:
        Whether one of its ids is there.
    """
    ids = {message.id for message in asked if message.id}
    return bool(ids) and not ids.isdisjoint([message.id for message in stored])


def sent_again(
    shown: Sequence[BaseMessage], asked: Sequence[BaseMessage]
) -> tuple[list[BaseMessage], str | None]:
    """Give the history that a turn began with, also where the session has the turn already.

    Args:
        shown: The history, as the session holds it now.
        asked: What the turn says. It is sent again if the history has all of it, by id.

    Returns:
        What stood before it, and the id of the message that answered it, if one did. For a turn
        that is new the whole history, but for what comes with the turn, and ``None``.
    """
    ids = {message.id for message in asked if not isinstance(message, SystemMessage)}
    if not ids or None in ids:
        return list(shown), None
    places = [place for place, message in enumerate(shown) if message.id in ids]
    known = {message.id for message in asked if message.id}
    if not places and len(known) == len(ids):
        return list(shown), None
    if len(places) < len(ids):
        return [message for message in shown if message.id not in known], None
    before = [message for message in shown[: places[0]] if message.id not in known]
    end = end_of_turn(shown, places[-1])
    return before, answer_id(shown[end - 1])


def end_of_turn(shown: Sequence[BaseMessage], place: int) -> int:
    """Give the place where the turn of a message ends: behind it a user speaks again.

    Args:
        shown: The history.
        place: The place of the message in it.

    Returns:
        The place behind the turn's last message; a system message stands in no turn.
    """
    if isinstance(shown[place], SystemMessage):
        return len(shown)
    later = range(place + 1, len(shown))
    return next((n for n in later if isinstance(shown[n], HumanMessage)), len(shown))


def answer_id(last: BaseMessage) -> str | None:
    """Give the id of a turn's last message, if that is its answer.

    Args:
        last: The message.

    Returns:
        The id; ``None`` where the turn was left unfinished.
    """
    return last.id if isinstance(last, AIMessage) and not last.tool_calls else None
