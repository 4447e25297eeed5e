"""The items that call tools as tool calls, and tool calls as such items."""

from __future__ import annotations

from typing import Any

import msgspec

from sessionstore.forms.openai_agents.parts import Block
from sessionstore.models import ToolCall

__all__ = ["FUNCTION", "call_item", "is_call", "is_result", "to_call"]

FUNCTION = "function_call"

# The kinds of items that call a tool which this program runs, and where each has its arguments.
_ARGUMENTS = {
    FUNCTION: "arguments",
    "custom_tool_call": "input",
    "computer_call": "action",
    "shell_call": "action",
    "local_shell_call": "action",
    "apply_patch_call": "operation",
}
_NAMED = (FUNCTION, "custom_tool_call")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def is_call(item: Block) -> bool:
    """Tell whether an item calls a tool in a way that a tool call can say."""
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _ARGUMENTS:
        return False
    if not isinstance(item.get("call_id"), str):
        return False
    if kind in _NAMED:
        return isinstance(item.get("name"), str) and isinstance(item.get(_ARGUMENTS[kind]), str)
    return isinstance(item.get(_ARGUMENTS[kind]), dict)


def is_result(item: Block) -> bool:
    """Tell whether an item is the result of a call."""
    kind = item.get("type")
    return (
        isinstance(kind, str)
        and kind.endswith("_call_output")
        and isinstance(item.get("call_id"), str)
    )


def to_call(item: Block) -> ToolCall:
    """Give the tool call that an item is: one for which `is_call` holds."""
    kind = item["type"]
    given = item[_ARGUMENTS[kind]]
    name = item["name"] if kind in _NAMED else kind.removesuffix("_call")
    return {"name": name, "args": _args(kind, given), "id": item["call_id"]}


def call_item(call: ToolCall, call_id: str, kind: str = FUNCTION) -> Block:
    """Give the item that a tool call is.

    Args:
        call: The tool call.
        call_id: Its id.
        kind: The kind of the item.

    Returns:
        The item, with what each of its kind has and no more.

    Raises:
        KeyError: There is no such kind, or the call is no longer one of it.
    """
    args = call["args"]
    given = args if kind not in _NAMED else args["input"] if kind != FUNCTION else _json(args)
    item: Block = {"type": kind, "call_id": call_id, _ARGUMENTS[kind]: given}
    return {**item, "name": call["name"]} if kind in _NAMED else item


def _args(kind: str, given: Any) -> dict[str, Any]:
    if kind == "custom_tool_call":
        return {"input": given}
    if kind != FUNCTION:
        return dict(given)
    try:
        args = _decode(given or "{}")
    except (msgspec.DecodeError, RecursionError):
        args = given
    return args if isinstance(args, dict) else {"arguments": args}


def _json(args: Any) -> str:
    return _encode(args).decode()
