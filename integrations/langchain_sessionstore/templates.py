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
from pydantic_core import PydanticUndefined

from sessionstore import SessionMessage

__all__ = ["CLASSES", "TEMPLATES", "Template"]

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
