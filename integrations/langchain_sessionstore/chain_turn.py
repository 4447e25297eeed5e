"""A turn of a runnable that remembers: what it began with, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from langchain_core.messages import BaseMessage
from msgspec.structs import replace

from langchain_sessionstore.codec import to_session_messages
from langchain_sessionstore.echo import what_is_new
from langchain_sessionstore.edits import EDIT, SentAgain, marked, recalling
from langchain_sessionstore.rewinding import saving_rewound
from sessionstore import SessionMessage, SessionNotFoundError
from sessionstore.integration import StoreFlow
from sessionstore.models import new_id
from sessionstore.operations import Append, DeleteMessages, ReplaceMessage, Rewind

__all__ = ["ChainTurn"]


class ChainTurn(msgspec.Struct, frozen=True):
    """A turn that has begun.

    Attributes:
        session_id: The session.
        agent_id: The agent of the session, if this makes it.
        user_id: The caller.
        value: What the runnable gets.
        new: What the user said, each with an id.
        shown: What the session held, as far as the runnable sees it.
        answer_id: What answered the turn when it was sent before.
        again: What of it is an edit, or was edited before.
        known: How many of the user's messages the session was seen to hold.
        made_ids: Whether none of them had an id.
        rewind: What the log is to be rewound by as the turn is saved.
    """

    session_id: str
    agent_id: str
    user_id: str | None
    value: Any
    new: list[BaseMessage]
    shown: list[BaseMessage]
    answer_id: str | None
    again: SentAgain | None
    known: int
    made_ids: bool
    rewind: Rewind | None = None

    def keeping(self, answers: list[BaseMessage]) -> StoreFlow[None]:
        """Save a turn that was answered.

        Args:
            answers: The messages of the output.
        """
        yield from saving_rewound(self._keeping(answers), self.rewind)

    def _keeping(self, answers: list[BaseMessage]) -> StoreFlow[None]:
        said = what_is_new(answers, self.new, self.shown)
        takes_place = self.answer_id if len(said) == 1 else None
        if self.again:
            yield from self.again.correcting(self.session_id, self.user_id, except_for=takes_place)
        stored = [replace(one, id=one.id or new_id()) for one in marked(said, self.again)]
        if takes_place:
            with suppress(SessionNotFoundError):  # somebody deleted it meanwhile
                answer = replace(stored[0], id=takes_place)
                yield ReplaceMessage(self.session_id, answer, self.user_id)
                return
        added = yield self.appending(self.new, stored)
        missing = len(self.new) - self.known + len(stored) - added
        if not missing:
            return
        if self.made_ids or self.again:
            is_lost = missing == 1  # the session holds its id
        else:
            is_lost = yield from self._making_up(stored)
        if len(stored) == 1 and is_lost:
            # A cached answer that was given before the window.
            yield self.appending([], [replace(stored[0], id=new_id())])

    def _making_up(self, stored: list[SessionMessage]) -> StoreFlow[bool]:
        """Apply edits of what is older than the window; return whether the answer is missing."""
        ids = [message.id for message in self.new]
        log = yield from recalling(self.session_id, self.user_id, ids)
        again = SentAgain(log, self.new)
        old = again.answer_id()
        yield from again.correcting(self.session_id, self.user_id)
        places = {message.id: place for place, message in enumerate(log)}
        if not stored:
            return False
        last = max(places.get(id, 0) for id in ids)  # noqa: A001
        if places.get(stored[-1].id, -1) < last:
            return True
        linked = stored
        if again.token:  # so that an edit of what is behind it leaves them
            mark = {EDIT: [again.token, []]}
            linked = [replace(one, metadata={**one.metadata, **mark}) for one in stored]
        if not again.is_edited and old and len(stored) == 1 and old != stored[0].id:
            yield from self._replacing(replace(linked[0], id=old))
            new = [stored[0].id or ""]
            yield DeleteMessages(self.session_id, new, self.user_id)
        elif again.token:
            for one in linked:
                yield from self._replacing(one)
        return False

    def _replacing(self, message: SessionMessage) -> StoreFlow[None]:
        with suppress(SessionNotFoundError):  # somebody deleted it meanwhile
            yield ReplaceMessage(self.session_id, message, self.user_id)

    def appending(
        self,
        asked: Sequence[BaseMessage],
        stored: Sequence[SessionMessage] = (),
    ) -> Append:
        """Ask for messages to be appended to the session.

        Args:
            asked: What the user said.
            stored: What was answered.

        Returns:
            The operation, which gives how many were added.
        """
        messages = [*to_session_messages(asked), *stored]
        return Append(self.session_id, messages, self.agent_id, self.user_id)
