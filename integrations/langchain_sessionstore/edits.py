"""A message that comes again with its id: a retry where it says the same, else an edit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
)
from msgspec.structs import replace

from langchain_sessionstore.codec import to_langchain, to_session
from langchain_sessionstore.sameness import SAID, repeats
from sessionstore import InvalidMessageError, SessionData, SessionMessage, SessionNotFoundError
from sessionstore.integration import StoreFlow
from sessionstore.models import SYSTEM_ROLES, WITHOUT_SUMMARY, encode_message, new_id, summary_of
from sessionstore.operations import DeleteMessages, Get, GetMessages, ReplaceMessage, Update

__all__ = ["EDIT", "SentAgain", "edited_in", "marked", "recalling"]

EDIT = "sessionstore_edit"
"""Marks, in their metadata, a message that was edited and those that answer it since.

With an edited one is kept what answered it before: what was broken off is brought to its end.
"""

_PAGE = 50


def recalling(
    session_id: str, user_id: str | None, ids: Iterable[str | None]
) -> StoreFlow[list[SessionMessage]]:
    """Read a log from its end back to the first of some messages.

    Args:
        session_id: The session.
        user_id: The caller.
        ids: The messages.

    Returns:
        The messages, oldest first.
    """
    missing, size = set(ids), _PAGE
    log: list[SessionMessage] = yield GetMessages(session_id, size, user_id=user_id)
    found = len(log)
    while found == size and not missing <= {message.id for message in log}:
        size *= 2
        try:
            page = yield GetMessages(session_id, size, before=log[0].id, user_id=user_id)
        except InvalidMessageError:  # it was deleted between two pages
            whole: list[SessionMessage] = yield GetMessages(session_id, user_id=user_id)
            return whole
        found, log = len(page), page + log
    return log


class SentAgain:
    """Messages that the log holds already, as a caller sends them now.

    Attributes:
        question: What the user asks again; ``None`` where it asks something new, or nothing.
        behind: What the log holds behind it.
        is_edited: Whether it asks something else now.
        token: What marks the messages of the turn, if it answers an edit.
    """

    def __init__(
        self,
        log: Sequence[SessionMessage],
        given: Sequence[BaseMessage],
        new: Sequence[BaseMessage] = (),
    ) -> None:
        """Find the messages in the log.

        Args:
            log: The session's messages, from the first of those that are sent again.
            given: What is sent.
            new: Messages behind them: where a user says something new, nothing is asked again.
        """
        self._held = {message.id: message for message in log}
        self._given = given
        self.changes: list[BaseMessage] = [
            message for message in given if self._is_changed(message)
        ]
        asked = [message for message in given if isinstance(message, HumanMessage)]
        goes_on = any(isinstance(m, HumanMessage) and m not in self.changes for m in new)
        question = self._held.get(asked[-1].id) if asked and not goes_on else None
        places = [place for place, message in enumerate(log) if message is question]
        self.behind: list[SessionMessage] = list(log[places[0] + 1 :]) if places else []
        self.is_edited: bool = question is not None and asked[-1] in self.changes
        answered = {message.id for message in self.behind} - {message.id for message in given}
        self._old_token, self._left = _mark_of(question) if question else (None, [])
        self.token: str | None = new_id() if self.is_edited else self._old_token
        again = self.is_edited or self.token or answered
        self.question: SessionMessage | None = question if again else None
        self._passed_by = [] if question or goes_on else self._answers_to_an_edit(log)

    def _answers_to_an_edit(self, log: Sequence[SessionMessage]) -> list[str]:
        """Give what answered a last turn that is edited as something new is asked behind it.

        A client that sends it along takes it for an answer to the new text.
        """
        changed = {message.id for message in self.changes}
        given = {message.id for message in self._given}
        users = [place for place, message in enumerate(log) if _is_users(message)]
        if not users or log[users[-1]].id not in changed:
            return []
        own = (None, _mark_of(log[users[-1]])[0])  # others answer the edit of an earlier turn
        behind = [message for message in log[users[-1] + 1 :] if _mark_of(message)[0] in own]
        ids = [message.id or "" for message in behind if message.role not in SYSTEM_ROLES]
        return [] if given.intersection(ids) else ids

    def _is_changed(self, message: BaseMessage) -> bool:
        held = self._held.get(message.id)
        return held is not None and not repeats(held, message)

    def corrections(self) -> list[tuple[BaseMessage, SessionMessage]]:
        """Give what was edited, as it was sent, and as it is to stand in the log."""
        return [(message, self._corrected(message)) for message in self.changes]

    def _corrected(self, message: BaseMessage) -> SessionMessage:
        held = self._held[message.id]
        if isinstance(message, AIMessage):  # its calls stay, and what a client knows nothing of
            message = to_langchain(held).model_copy(update={"content": message.content})
        metadata = {
            key: held.metadata[key] for key in held.metadata if key not in (EDIT, SAID, "pending")
        }
        if self.question is not None and held.id == self.question.id:
            metadata[EDIT] = [self.token, self.obsolete()]
        elif EDIT in held.metadata:  # its answer stays
            metadata[EDIT] = held.metadata[EDIT]
        return replace(to_session(message), created_at=held.created_at, metadata=metadata)

    @property
    def ids(self) -> set[str | None]:
        """The ids of the messages in the log, from the first of those that are sent again."""
        return set(self._held)

    def correcting(
        self,
        session_id: str,
        user_id: str | None,
        *,
        except_for: str | None = None,
    ) -> StoreFlow[None]:
        """Put the edits into the log, and take out what answered the old text, but for one.

        A summary of the old text is taken away first.
        """
        if self.changes:
            session: SessionData | None = yield Get(session_id, 0, user_id)
            if session is not None and self._is_summed_up(session):
                yield Update(session_id, None, WITHOUT_SUMMARY, user_id)
        if self._passed_by:  # before its question is changed: that is not done twice
            for _, corrected in self.corrections():
                encode_message(corrected)
            yield DeleteMessages(session_id, self._passed_by, user_id)
        for _, corrected in self.corrections():
            with suppress(SessionNotFoundError):  # somebody deleted it meanwhile
                yield ReplaceMessage(session_id, corrected, user_id)
        obsolete = [id for id in self.obsolete() if id != except_for]  # noqa: A001
        if obsolete and not self._passed_by:
            yield DeleteMessages(session_id, obsolete, user_id)

    def _is_summed_up(self, session: SessionData) -> bool:
        summary, ids = summary_of(session.metadata), list(self._held)
        if summary is None or summary.until not in ids:
            return False
        covered = ids[: ids.index(summary.until) + 1]
        return any(message.id in covered for message in self.changes)

    def obsolete(self) -> list[str]:
        """Give what answered the question before its edit, as far as nothing was said since."""
        if self.question is None:
            return self._passed_by
        if not self.is_edited:  # of an edit that was broken off, maybe
            left = [message for message in self.behind if message.id in self._left]
            return [m.id or "" for m in left if _mark_of(m)[0] != self.token]  # none of its own
        own = self._own(self.behind)
        said = [message for message in own if message.role not in SYSTEM_ROLES]
        old = self._linked(self._old_token) if self._is_left() else said
        if old is said and len(list(filter(_is_final, said))) > 1:
            return []  # one may be the answer of a turn that ran beside this one
        ids = [message.id or "" for message in old]
        places = [place for place, message in enumerate(self.behind) if message.id in ids]
        said_since = places and any(_is_users(m) for m in self.behind[places[0] :])
        return [] if said_since else ids

    def answer_id(self) -> str | None:
        """Give the id of the message whose place a new answer takes, if there is one."""
        if self.question is None:
            return None
        held = {message.id: message for message in self.behind}
        old = [held[id] for id in self.obsolete()] if self.is_edited else self.steps()  # noqa: A001
        last = old[-1] if old else None
        return last.id if last and last.role == "assistant" and not last.tool_calls else None

    def steps(self) -> list[SessionMessage]:
        """Give what the log holds of the turn behind its question, as the question is now."""
        if self.is_edited:
            return []
        if self.token:
            return self._linked(self.token)
        users = [place for place, message in enumerate(self.behind) if _is_users(message)]
        return self._own(self.behind[: users[0]] if users else self.behind)

    def _is_left(self) -> bool:
        return any(map(_is_users, self.behind))

    def _own(self, behind: list[SessionMessage]) -> list[SessionMessage]:
        """Leave out what answers the edit of another turn, which goes on at the log's end."""
        return [m for m in behind if _mark_of(m)[0] in (None, self._old_token)]

    def _linked(self, token: Any) -> list[SessionMessage]:
        if token is None:
            return []
        return [message for message in self.behind if _mark_of(message)[0] == token]


def marked(answers: Iterable[BaseMessage], again: SentAgain | None) -> list[SessionMessage]:
    """Give the answers to an edit as they are stored, so that the next one knows them.

    Args:
        answers: What was answered.
        again: The edit, if it was one.

    Returns:
        The messages to store.
    """
    stored = [to_session(answer) for answer in answers]
    if again is None or again.question is None or not again.token:
        return stored
    return [replace(one, metadata={**one.metadata, EDIT: [again.token, []]}) for one in stored]


def edited_in(
    loaded: Sequence[SessionMessage], messages: Sequence[BaseMessage]
) -> list[str | None] | None:
    """Find what is sent again of a view, if it was edited, now or before.

    Args:
        loaded: The view.
        messages: What is sent.

    Returns:
        The ids of what is sent again; ``None`` where all of it is as it was said first.
    """
    ids = {message.id for message in messages if message.id}
    held: dict[str | None, SessionMessage] = {}
    if ids:
        held = {message.id: message for message in loaded if message.id in ids}
    again = [message for message in messages if message.id in held]
    if not again:
        return None
    # What answers an edit of an earlier turn stands behind others' questions.
    changed = any(EDIT in message.metadata for message in loaded) or not all(
        repeats(held[message.id], message) for message in again
    )
    return [message.id for message in again] if changed else None


def _mark_of(message: SessionMessage) -> tuple[str | None, list[str]]:
    mark = message.metadata.get(EDIT)
    return (mark[0], mark[1]) if mark else (None, [])


def _is_final(message: SessionMessage) -> bool:
    return message.role == "assistant" and not message.tool_calls


def _is_users(message: SessionMessage) -> bool:
    return message.role == "user"
