"""What an agent's turn says: its answers, its tools' results, its edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from msgspec.structs import replace

from langchain_sessionstore.agents.inserted import (
    is_as_in_state,
    is_said,
    made_messages,
)
from langchain_sessionstore.agents.results import (
    numbered_calls,
    result_id,
    unanswered_before,
)
from langchain_sessionstore.agents.turn_log import Named, TurnLog
from langchain_sessionstore.edits import SentAgain
from sessionstore import (
    InvalidMessageError,
    SessionMessage,
)
from sessionstore.integration import StoreFlow
from sessionstore.models import new_id
from sessionstore.operations import DeleteMessages, GetMessages

__all__ = ["AgentTurn"]


@dataclass(eq=False, repr=False)
class AgentTurn(TurnLog):
    """One turn of an agent in one session."""

    def result_id(self, message: AIMessage, call: Mapping[str, Any]) -> str:
        """Give the id of the result of a call that is about to run."""
        calls = [
            one for one in numbered_calls(self.session_id, message) if one[0]["id"] == call["id"]
        ]
        alike = [own for each, own in calls if _is_the_same(each, call)]
        ids = alike if len(calls) > 1 and alike else [own for _, own in calls]
        if not ids:
            return result_id(self.session_id, message, call["id"])
        free = self._running.setdefault(ids[0], ids)  # of calls that are alike each takes one
        return free.pop(0) if len(free) > 1 else free[0]

    def edit_calls(self, message: AIMessage, calls: Mapping[str, Mapping[str, Any]]) -> None:
        """Note the tool calls, by id, that run with other arguments than the model asked for."""
        for call_id, call in calls.items():
            self._edits[result_id(self.session_id, message, call_id)] = call

    def give_ids(self, answers: Sequence[BaseMessage]) -> None:
        """Give ids to what a model answered, and to the results that came with it."""
        results: dict[str | None, str] = {}
        for message in answers:
            if isinstance(message, AIMessage):
                message.id = message.id or new_id()
                calls = numbered_calls(self.session_id, message)
                results = {call["id"]: own for call, own in calls}
            elif isinstance(message, ToolMessage) and message.id is None:
                message.id = results.get(message.tool_call_id)

    def rename_repeated(self, answers: list[BaseMessage], state: Sequence[BaseMessage]) -> bool:
        """Give an answer that was given before, as by a cache, an id of its own.

        Returns whether there was one. What has the id of a message and says something else is to
        take its place.
        """
        repeated = any(
            isinstance(message, AIMessage) and self._is_repeated(message, state)
            for message in answers
        )
        if repeated:
            self._rename(answers)
        return repeated

    def _is_repeated(self, answer: AIMessage, state: Sequence[BaseMessage]) -> bool:
        there = [message for message in state if message.id == answer.id] if answer.id else []
        if there:
            return _says_the_same(answer, there[-1])
        return answer.id in self._written

    def _rename(self, answers: list[BaseMessage]) -> None:
        for place, message in enumerate(answers):
            kept = not isinstance(message, (AIMessage, ToolMessage))
            answers[place] = message if kept else message.model_copy(update={"id": None})
        self.give_ids(answers)

    # -- Flows: each request is an operation -------------------------------------------------------

    def mirroring(self, state: Sequence[BaseMessage]) -> StoreFlow[None]:
        """Bring the log up to a state: what came behind is appended, what was changed replaced.

        What stands in front of what is known is history, or a summary of it. What is gone from the
        state stays in the log.
        """
        yield from self._taking_back(state)
        named = self._named(self._since_known(state))
        replaced = self.inserted.replaced(state)
        yield from self._writing(named[self._first_of_turn(named) :], in_order=True)
        if replaced:
            yield DeleteMessages(self.session_id, replaced, self.user_id)
        yield from self._summarizing(state)

    def answering(
        self,
        shown: list[Any],
        state: Sequence[BaseMessage],
        answers: list[BaseMessage],
    ) -> StoreFlow[None]:
        """Save a model's answer, behind what will come into the state in front of it.

        Where the log holds the answer's id already, as after a cached one, and not as its last
        message, the answer is given another.
        """
        tried = {answer.id for answer in answers} <= self._tried
        self._tried.update(answer.id for answer in answers)
        inserted = [] if is_as_in_state(shown, state) else self._inserted(shown, state)
        repairs = [pair for pair in inserted if pair[1] in self._places]
        for message, id in repairs:  # noqa: A001
            yield from self._replacing(self._stored(message, id))
        new = [] if self.inserted.for_model_only else [p for p in inserted if p not in repairs]
        said = [(answer, answer.id) for answer in answers if is_said(answer)]
        there = yield from self._writing([*new, *said], correct=False)
        if there:
            yield from self._distinguishing(there, answers, tried=tried)
        self.inserted.note_answers([answer.id for answer in answers], state)
        guessed = [id or "" for message, id in new if message.type != "tool"]  # noqa: A001
        self.inserted.note(guessed, answers[-1].id if answers else None)

    def _distinguishing(
        self,
        there: list[SessionMessage],
        answers: list[BaseMessage],
        *,
        tried: bool,
    ) -> StoreFlow[None]:
        """Distinguish the same answer, saved before, from another turn's with its id."""
        own = {answer.id for answer in answers}
        if not tried:
            last = yield GetMessages(self.session_id, 1, user_id=self.user_id)
            tried = bool(last) and last[-1].id in own
        if tried:
            for message in there:
                if message.id in own:
                    yield from self._replacing(message)
            return
        self._rename(answers)
        self._tried.update(answer.id for answer in answers)
        yield from self._writing([(answer, answer.id) for answer in answers])

    def editing(self, again: SentAgain) -> StoreFlow[None]:
        """Put edits in the place of what was said, and take out what answered that."""
        self.edit: str | None = again.token if again.question else None
        yield from again.correcting(self.session_id, self.user_id)
        for given, corrected in again.corrections():
            self._know(replace(self._stored(given), created_at=corrected.created_at))

    def _taking_back(self, state: Sequence[BaseMessage]) -> StoreFlow[None]:
        if not self.inserted.ids:
            return
        left_out = self.inserted.left_out({message.id for message in state})
        if left_out:
            yield DeleteMessages(self.session_id, left_out, self.user_id)
            self.inserted.for_model_only = True
            for id in left_out:  # noqa: A001
                self._written.pop(id, None)
        self.inserted.ids = []

    def saving_result(
        self,
        state: Sequence[BaseMessage],
        call_message: AIMessage,
        id: str,
        result: ToolMessage,
    ) -> StoreFlow[None]:
        """Save what a tool gave, in the place of its call among those that run beside it.

        A call before it that still runs gets its place, with a message that says that there is no
        result yet, in the same atomic step. Whoever writes a result writes those places: one that
        adds nothing has found its own place taken, and fills it.
        """
        try:
            yield from self._putting_result(state, call_message, id, result)
        except InvalidMessageError as error:
            self._storable([(result, id)], error)

    def _putting_result(
        self,
        state: Sequence[BaseMessage],
        call_message: AIMessage,
        id: str,
        result: ToolMessage,
    ) -> StoreFlow[None]:
        stored = self._stored(result, id)
        places = unanswered_before(self.session_id, state, call_message, id)
        added = yield self._appending([*places, stored])
        self._places.update(place.id for place in places)
        self._know(stored)
        if not added:
            yield from self._replacing(stored)

    def checking(self) -> GetMessages:
        """Ask for nothing but `SessionAccessError` where the session is another user's."""
        return GetMessages(self.session_id, 0, user_id=self.user_id)

    def _inserted(self, shown: list[Any], state: Sequence[BaseMessage]) -> list[Named]:
        """Give what a model was asked with and the state does not hold, behind what is known."""
        if not made_messages(shown):
            return []
        messages = self._since_known(shown)
        for message, id in self._named(messages):  # noqa: A001
            message.id = message.id or id or new_id()
        named = self._named(messages)
        # What stands before a known message is put there when the state turns out to have it.
        written = [place for place, (_, own) in enumerate(named) if own in self._written]
        first = written[-1] if written else self._first_of_turn(named)
        known = {*self._written, *self._given_up, *(message.id for message in state)}
        return [
            (message, own)
            for place, (message, own) in enumerate(named)
            if own in self._places or (place >= first and not known.intersection((own, message.id)))
        ]


def _is_the_same(call: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (call["name"], call["args"]) == (other["name"], other["args"])


def _says_the_same(answer: AIMessage, other: BaseMessage) -> bool:
    calls = getattr(other, "tool_calls", None)
    return (answer.content, answer.tool_calls) == (other.content, calls)
