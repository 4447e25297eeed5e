"""What is saved of an agent's turn as it runs, and who gets the error where that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    RemoveMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from langchain_sessionstore.agents.state import OWN
from langchain_sessionstore.agents.thread_owner import verifying
from langchain_sessionstore.agents.tool_results import messages_of
from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.saving import OnSaveError, SessionSaveError, failed
from sessionstore import SessionStoreError, StoreUnavailableError
from sessionstore.integration import StoreFlow

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest

__all__ = ["TurnSaver", "hide_from_streams", "log_given_up"]

_logger = logging.getLogger("sessionstore")


@dataclass
class TurnSaver:
    """Saves what an agent's turns say, each step as it is made.

    Attributes:
        on_save_error: Takes each failed save; ``None`` where it is raised.
        inserted_for_model_only: Whether what other middleware puts in front of a model is seen to
            come into no state, until now.
    """

    on_save_error: OnSaveError | None
    inserted_for_model_only: bool = False

    def keeping(
        self, turn: AgentTurn, request: ModelRequest[Any], response: ModelResponse[Any]
    ) -> StoreFlow[None]:
        """Save what a model answered, and give it its ids."""
        state, answers = request.state["messages"], response.result
        turn.rename_repeated(answers, state)
        turn.give_ids(answers)
        turn.inserted.for_model_only = self.inserted_for_model_only
        said = [message for message in answers if isinstance(message, AIMessage)]
        ids = [message.id for message in answers]
        save = partial(turn.answering, request.messages, state, answers)
        yield from self.saving_or_reporting(turn, state, said[-1] if said else None, save)
        if ids != [message.id for message in answers]:
            with suppress(RuntimeError):  # on Python 3.10 LangGraph has no config here
                hide_from_streams(get_config(), answers)

    def keeping_again(
        self, turn: AgentTurn, request: ModelRequest[Any], response: ModelResponse[Any]
    ) -> StoreFlow[None]:
        """Save an answer that the state has already, where the log may not."""

        def save() -> StoreFlow[None]:
            yield from turn.saving(response.result, correct=False)

        yield from self.saving_or_reporting(
            turn, request.state["messages"], response.result[-1], save
        )

    def answering(
        self,
        turn: AgentTurn,
        call_message: AIMessage,
        result_id: str,
        request: ToolCallRequest,
        result: Any,
    ) -> StoreFlow[None]:
        """Save what a tool gave.

        Args:
            turn: The turn.
            call_message: The message that calls the tool.
            result_id: The id of the call's result in the log.
            request: The call.
            result: What the tool gave.
        """
        call_id, state = request.tool_call["id"], request.state["messages"]
        said = messages_of(result)
        answers = [m for m in said if isinstance(m, ToolMessage) and m.tool_call_id == call_id]
        others = [m for m in said if m not in answers[-1:] and not isinstance(m, RemoveMessage)]
        for number, message in enumerate(others):
            message.id = message.id or f"{result_id}-{number}"
        for last in answers[-1:]:
            last.id = last.id or result_id
        if others and request.state.get(OWN):
            _add_own(result, [message.id or "" for message in others])

        def save() -> StoreFlow[None]:
            for last in answers[-1:]:
                yield from turn.saving_result(state, call_message, result_id, last)
            yield from turn.saving(others)

        yield from self.saving_or_reporting(turn, state, result, save)

    def catching_up(
        self, turn: AgentTurn, state: list[AnyMessage], *, whole: bool = False
    ) -> StoreFlow[None]:
        """Bring the log up to the state, which is the whole of it where no tool runs beside."""
        yield from verifying(turn)
        save = partial(turn.mirroring, state)
        if turn.behind:  # what the caller went on without may wait
            with suppress(SessionStoreError):
                yield from save()
                turn.behind = not whole
            self.report_given_up(turn)
        elif turn.has_run(state):
            yield from self.saving_or_reporting(turn, state, state[-1], save)
        else:
            yield from save()
            self.report_given_up(turn)
        self.inserted_for_model_only |= turn.inserted.for_model_only

    def saving_or_reporting(
        self,
        turn: AgentTurn,
        state: list[AnyMessage],
        answer: Any,
        save: Callable[[], StoreFlow[None]],
    ) -> StoreFlow[bool]:
        """Save what was paid for or can't be undone; if that fails, give it to the caller.

        The result is whether it was saved.
        """
        saved = True
        try:
            try:
                yield from self._in_order(turn, state, save)
            except StoreUnavailableError:  # to append an id again adds nothing
                yield from self._in_order(turn, state, save)
        except SessionStoreError as error:
            failed(self.on_save_error, answer, error, input_saved=True)
            turn.behind = True
            saved = False
        self.report_given_up(turn, answer)
        return saved

    def report_given_up(
        self, turn: AgentTurn, answer: Any = None, *, or_else: OnSaveError | None = None
    ) -> None:
        """Report what can't be stored: to the function for it, or else to the caller.

        Args:
            turn: The turn that gave it up.
            answer: What the caller is given with the error, where there is no such function.
            or_else: Takes it where the caller named no function.
        """
        on_save_error = self.on_save_error or or_else
        for message, error in turn.take_given_up():
            said = message if on_save_error or answer is None else answer
            failed(on_save_error, said, error, input_saved=True)

    def _in_order(
        self, turn: AgentTurn, state: list[AnyMessage], save: Callable[[], StoreFlow[None]]
    ) -> StoreFlow[None]:
        if turn.behind:
            yield from turn.mirroring(state)
        yield from save()


def _add_own(result: Any, ids: list[str]) -> None:
    """Have a thread know what a tool says beside its result: it may soon be gone from there."""
    given = result if isinstance(result, list) else [result]
    commands = [one for one in given if isinstance(one, Command) and isinstance(one.update, dict)]
    for command in [one for one in commands if one.graph is None and one.update][:1]:
        cast("dict[str, Any]", command.update)[OWN] = ids


def log_given_up(error: SessionSaveError) -> None:
    """Log that a message can't be stored, where no caller is there to take the error."""
    _logger.error("a message of the agent's state is not in its session: %s", error.__cause__)


def hide_from_streams(config: RunnableConfig, shown: list[BaseMessage]) -> None:
    """Keep what was said earlier out of ``stream_mode="messages"``, which shows what is new."""
    for handler in getattr(config.get("callbacks"), "handlers", ()):
        seen = getattr(handler, "seen", None)
        if isinstance(seen, set):
            seen.update([REMOVE_ALL_MESSAGES, *(message.id for message in shown)])
