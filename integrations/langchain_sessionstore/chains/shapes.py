"""Where the inputs and outputs of runnables have their messages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, cast

import msgspec
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    convert_to_messages,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import AddableDict

from sessionstore import InvalidMessageError

__all__ = ["Keys", "Outcome", "added_up", "heard_of"]

_HINTS = {
    "input": "its input_messages_key",
    "output": "its output_messages_key; to stream a chain around a graph, make it "
    "graph.bind(stream_mode='values')",
}


class Keys(msgspec.Struct, frozen=True):
    """Where inputs and outputs have their messages, as `RunnableWithMessageHistory` reads them."""

    input: str | None
    output: str | None
    history: str | None

    def new(self, input: Any) -> list[BaseMessage]:
        """Give the messages that an input brings."""
        return _messages(_picked(input, self.input, "input"), HumanMessage, "input")

    def answers(self, output: Any) -> list[BaseMessage]:
        """Give the messages that an output holds."""
        if output is None:
            raise InvalidMessageError("the runnable gave None, which is no answer")
        return _messages(_picked(output, self.output, "output"), AIMessage, "output")

    def given(self, input: Any, history: list[BaseMessage], new: list[BaseMessage]) -> Any:
        """Give what the runnable gets."""
        if self.history is not None:
            return {**_dict(input), self.history: history}
        if self.input is not None:
            return {**_dict(input), self.input: history + new}
        return history + new


def _dict(input: Any) -> dict[str, Any]:
    if isinstance(input, dict):
        return input
    raise InvalidMessageError(f"the input must be a dict with messages, not {_class_name(input)}")


def _picked(value: Any, key: str | None, default: str) -> Any:
    if not isinstance(value, dict):
        return value
    do = "name" if key is None else "correct"
    if key is None:
        key = next(iter(value)) if len(value) == 1 else default
    if key not in value:
        raise InvalidMessageError(f"the {default} has no key {key!r}: {do} {_HINTS[default]}")
    return value[key]


def _messages(value: Any, text: type[BaseMessage], what: str) -> list[BaseMessage]:
    if isinstance(value, str):
        return [text(content=value)]
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, (list, tuple)):
        if len(value) == 1 and isinstance(value[0], list):  # as chat models batch their input
            value = value[0]
        try:
            return convert_to_messages(list(value))
        except (TypeError, ValueError, NotImplementedError, KeyError) as error:
            raise InvalidMessageError(
                f"the {what} holds something that is not a message: see the cause"
            ) from error
    raise InvalidMessageError(
        f"the {what} must be a string, a message or a list of messages, not {_class_name(value)}"
    )


def _class_name(value: object) -> str:
    """Name a value's class: all that an error may say about it."""
    return type(value).__name__


def added_up(chunks: Sequence[Any]) -> Any:
    """Add up what a stream gave, in one step where all are of one kind; ``None`` for nothing."""
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks) and len(chunks) > 1:
        return chunks[0] + list(chunks[1:])
    if all(isinstance(chunk, str) for chunk in chunks) and chunks:
        return "".join(chunks)
    return reduce(_sum, chunks) if chunks else None


def _sum(answer: Any, chunk: Any) -> Any:
    if isinstance(chunk, BaseMessage) and not isinstance(chunk, BaseMessageChunk):
        return [*(answer if isinstance(answer, list) else [answer]), chunk]
    total: Any = AddableDict(answer) if isinstance(answer, dict) else answer
    try:
        return total + chunk
    except (TypeError, ValueError):
        return chunk


def heard_of(answers: list[BaseMessage]) -> list[BaseMessage]:
    """Give what was said of an unfinished answer: a tool call in the making is no tool call."""
    heard: list[BaseMessage] = []
    for answer in answers:
        if not isinstance(answer, BaseMessageChunk):
            heard.append(answer)
        elif answer.text:
            kind: Any = type(answer)
            heard.append(kind(content=str(answer.text), id=answer.id, name=answer.name))
    return heard


class Outcome(BaseCallbackHandler):
    """Hears what a runnable's own run says that it gave, and nothing of the runs inside it."""

    run_inline = True

    def __init__(self) -> None:
        self.value: Any = None
        self.input: Any = None

    @property
    def ignore_llm(self) -> bool:
        """A model's own run gives its chunks, and nothing else."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """A chat model's too."""
        return True

    def heeding(self, config: RunnableConfig) -> RunnableConfig:
        """Give the config with which a run is heard."""
        callbacks = cast("BaseCallbackManager", config.get("callbacks")).copy()
        callbacks.add_handler(self, inherit=False)
        return {**config, "callbacks": callbacks}

    def on_chain_start(self, serialized: Any, inputs: Any, **_: Any) -> None:  # noqa: ARG002
        """Hear what a run was given: a runnable without a run of its own lets others be heard."""
        self.input = inputs

    def on_chain_end(self, outputs: Any, **_: Any) -> None:
        """Hear the outcome."""
        self.value = outputs
