"""Adding a turn to a session, whose answer may have the id of an older one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sessionstore import InvalidMessageError, SessionMessage
from sessionstore.integration import StoreFlow
from sessionstore.models import new_id
from sessionstore.operations import Append, GetMessages

__all__ = ["adding"]


def adding(
    session_id: str,
    messages: Sequence[SessionMessage],
    *,
    agent_id: str,
    user_id: str | None,
) -> StoreFlow[None]:
    """Append a turn in one step; an answer that was given before is added with an id of its own.

    A cache, or a model that gives one message again and again, gives its id again, too: the store
    takes it for the older one, and leaves it out. Only then a second step adds it.

    Args:
        session_id: Its id.
        messages: The turn: what was said, and behind it the answer.
        agent_id: The agent of the session, if this makes it.
        user_id: The caller.

    Returns:
        A flow of operations.
    """
    named = [message if message.id else replace(message, id=new_id()) for message in messages]
    added = yield Append(session_id, named, agent_id, user_id)
    given = len({message.id for message in named})
    if given <= 1 or added not in (0, given - 1) or named[-1].role != "assistant":
        return
    *_, asked, answer = named
    try:
        # A question that is asked again has its new answer behind it; one that is new has nothing.
        behind = yield GetMessages(session_id, after=asked.id, user_id=user_id)
    except InvalidMessageError:
        return  # somebody deleted the question meanwhile
    # Where all were there, a retry finds the first step of a turn that was cut short before this.
    if all(message.id != answer.id for message in behind) and (added or not behind):
        again = replace(answer, id=new_id())
        yield Append(session_id, [again], agent_id, user_id)
