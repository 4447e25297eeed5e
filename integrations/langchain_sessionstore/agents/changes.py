"""Who changed a message of a checkpointer's thread: this run's input, or somebody before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agents.origins import (
    SaverFlow,
    belongs,
    has_landed,
    names_caller,
    newest,
    was_refused,
)
from langchain_sessionstore.sameness import says_the_same

__all__ = ["Changes"]


class Changes:
    """What became of a thread's earlier messages since its last turn.

    Attributes:
        edited: The messages that this run's input changed, or that somebody updated in the thread.
        foreign: Those that came with a call that was refused.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.edited: list[BaseMessage] = []
        self.foreign: list[BaseMessage] = []

    def tracing(
        self,
        config: RunnableConfig,
        changed: Sequence[BaseMessage],
        steps: Sequence[int] | None,
        thread: Sequence[str | None],
    ) -> SaverFlow[None]:
        """Look at the thread before this run's input and behind it.

        What other middleware changed since, for the model maybe, is no edit.

        Args:
            config: The run's. Each request is one for the checkpointer's ``get_tuple``.
            changed: The messages that are otherwise than they were.
            steps: What is known of the turns' steps.
            thread: The session and the user that the thread belongs to.
        """
        owner = thread if names_caller(config) else (None, None)
        applied: Any = None
        before = yield newest(config)
        landed = has_landed(before, config, steps)
        while landed and before and before.metadata.get("source") == "loop":
            applied, before = before, (yield before.parent_config) if before.parent_config else None
        for message in changed:
            was, became = _said(before, message), _said(applied, message) or message
            if was is None or not says_the_same(was, became):
                self.edited.append(message)
            elif was.content == message.content:
                foreign = yield from self._is_foreign(before, message, owner)
                (self.foreign if foreign else self.edited).append(message)

    def _is_foreign(
        self, here: Any, message: BaseMessage, owner: Sequence[str | None]
    ) -> SaverFlow[bool]:
        """Tell whether an earlier change came with a call that was refused, or is another's."""
        first: Any = None
        while here and (was := _said(here, message)) and says_the_same(was, message):
            first = here
            here = (yield here.parent_config) if here.parent_config else None
        if first is None or first.metadata.get("source") == "update":
            return False
        caller = first.metadata.get("session_id"), first.metadata.get("user_id")
        return was_refused(first) or not belongs(owner, *caller)


def _said(here: Any, message: BaseMessage) -> BaseMessage | None:
    messages = here.checkpoint["channel_values"].get("messages") if here else None
    return next((one for one in messages or () if one.id == message.id), None)
