"""A fresh message of each class of LangChain's: one that is read from a store only fills it in."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sessionstore import SessionMessage

__all__ = ["CLASSES", "TEMPLATES", "Template", "made"]

CLASSES: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "ai": AIMessage,
    "system": SystemMessage,
    "tool": ToolMessage,
    "function": FunctionMessage,
    "remove": RemoveMessage,
    "chat": ChatMessage,
}
# A message's fields go into those of SessionMessage; the rest goes under extra["langchain"].
_CARRIED = frozenset({"type", "role", "content", "id", "name", "tool_calls", "tool_call_id"})


class Template:
    """What a fresh message of one class looks like, so that decoding only fills in."""

    def __init__(self, cls: type[BaseMessage]) -> None:
        fields = cls.model_fields
        self.cls = cls
        self.values: dict[str, Any] = {}
        self.dicts: list[str] = []
        self.lists: list[str] = []
        for name, field in fields.items():
            default = field.get_default(call_default_factory=True)
            self.values[name] = None if default is PydanticUndefined else default
            if isinstance(default, dict):
                self.dicts.append(name)
            if isinstance(default, list):
                self.lists.append(name)
        self.rest: list[str] = [name for name in fields if name not in _CARRIED]
        # What a stored value of each may be: what no codec wrote is not to pass for a message.
        self.types: dict[str, Any] = {name: _type_of(self.values[name]) for name in self.rest}
        if "usage_metadata" in self.types:
            self.types["usage_metadata"] = (dict, type(None))
        if "role" in self.values:
            self.types["role"] = str  # another name of the one that a store keeps

    def filled_in(self, message: SessionMessage) -> dict[str, Any]:
        """Give a new message's fields: its content, its id, and what all of its class have."""
        values = self.values.copy()
        for name in self.dicts:
            values[name] = {}
        for name in self.lists:
            values[name] = []
        values["content"] = message.content
        values["id"] = message.id
        return values


def _type_of(default: object) -> type:
    return object if default is None else type(default)


TEMPLATES = {kind: Template(cls) for kind, cls in CLASSES.items()}

# A model of pydantic keeps its state in these. To set them one by one, past its own way to be made,
# is what most of the time to read a history goes into.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def made(
    cls: type[BaseMessage], values: dict[str, Any], given: set[str], unknown: dict[str, Any]
) -> BaseMessage:
    """Make a message of what is known to be valid, in a tenth of the time that it takes to check.

    Args:
        cls: Its class.
        values: All of its fields.
        given: Which of them were not left at their defaults.
        unknown: What its class has no field for.

    Returns:
        The message, which keeps them all.
    """
    message: BaseMessage = _new(cls)
    _set_fields(message, values)
    _set_given(message, given)
    _set_extra(message, unknown)
    _set_private(message, None)
    return message
