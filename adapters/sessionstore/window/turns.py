"""A log as its turns, in the form that models take: each tool's result right behind its call."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence
from typing import Any

import msgspec

from sessionstore.models import SYSTEM_ROLES, SessionMessage, ToolCall

__all__ = ["INTERRUPTED", "Turn", "is_made_up", "turns_behind", "turns_of", "unfinished"]

INTERRUPTED = "This tool call was interrupted: it gave no result."
"""What stands in a view for the result of a tool call that never came."""

_UNFINISHED = "This tool call has given no result yet."
_PENDING = "pending"
_INTERRUPTED = "interrupted"
_CALL_BLOCKS = ("tool_call", "tool_use")


class Turn(msgspec.Struct):
    """What is shown of a turn; of what came before the first turn, only system messages are."""

    system: list[SessionMessage]
    messages: list[SessionMessage]
    size: int


def turns_of(log: Sequence[SessionMessage]) -> list[Turn]:
    """Cut a log into its turns.

    Args:
        log: The messages, oldest first, up to the last one.

    Returns:
        What comes before the first user's message, if anything: the start of the log, or the
        rest of a turn whose start was not read. After it a turn for each user's message, which is
        the same however much of the log was read.
    """
    groups = iter(_groups([message for message in log if message.role not in SYSTEM_ROLES]))
    turns = [Turn([], [], 0)]
    for message in log:
        if message.role in SYSTEM_ROLES:
            turns[-1].system.append(message)
        elif not _is_result(message):
            group = next(groups)
            if message.role == "user":
                turns.append(Turn([], [], 0))
            turns[-1].size += len(group)
            turns[-1].messages += group if len(turns) > 1 else []
    return turns


def turns_behind(summary: SessionMessage, log: Sequence[SessionMessage]) -> list[Turn]:
    """Cut into turns what follows a summary: that may begin within a turn.

    Args:
        summary: What stands in front of it.
        log: The messages, oldest first, up to the last one.

    Returns:
        The rest of the turn that the summary ends in, and the turns behind it.
    """
    _, begun, *others = turns_of([summary, *log])
    return [Turn(begun.system, begun.messages[1:], begun.size - 1), *others]


def unfinished(id: str, call: ToolCall) -> SessionMessage:
    """Make what keeps the place in a log of a tool's result that is still to come.

    Args:
        id: The id of the result, which will replace it.
        call: The call.

    Returns:
        A message that says what is true then, and that is no result to a view.
    """
    return SessionMessage(
        "tool",
        _UNFINISHED,
        id=id,
        name=call["name"],
        tool_call_id=call["id"],
        metadata={_PENDING: True},
    )


def is_made_up(message: SessionMessage) -> bool:
    """Tell whether a tool's result is made up: it says that the call gave none.

    Args:
        message: The result.

    Returns:
        Whether it stands in a view, or keeps a place in a log, for a result that is not there.
    """
    return any(message.metadata.get(key) is True for key in (_PENDING, _INTERRUPTED))


def _is_result(message: SessionMessage) -> bool:
    # LlamaIndex's older agents give a tool's result the role "function".
    return message.role == "tool" or (
        message.role == "function" and message.tool_call_id is not None
    )


def _groups(messages: list[SessionMessage]) -> list[list[SessionMessage]]:
    """Pair each message that calls tools with their results, wherever they came in."""
    groups: list[list[SessionMessage]] = []
    asking: list[list[SessionMessage]] = []
    waiting: dict[str, list[list[SessionMessage]]] = {}
    for message in messages:
        if _is_result(message):
            takers = waiting.get(message.tool_call_id or "")
            if takers and message.metadata.get(_PENDING) is not True:
                takers.pop().append(message)
            continue
        groups.append([message])
        if message.tool_calls and message.role != "user":
            asking.append(groups[-1])
            ids = [call["id"] or "" for call in message.tool_calls]
            waiting.update((asked, [groups[-1]] * ids.count(asked)) for asked in ids)
    is_pending = bool(asking) and asking[-1][0] is messages[-1]
    _settle(asking, pending=asking.pop() if is_pending else [])
    return groups


def _settle(asking: list[list[SessionMessage]], pending: list[SessionMessage]) -> None:
    """Close what was interrupted; the newest of the calls with one id keeps it."""
    taken = {call["id"] for message in pending for call in message.tool_calls}
    for group in reversed(asking):
        group[:] = _settled(group, taken)


def _settled(group: list[SessionMessage], taken: set[str | None]) -> list[SessionMessage]:
    message, *results = group
    calls = message.tool_calls
    ids = [_own_id(message, place, call["id"], taken) for place, call in enumerate(calls)]
    answers = [_interrupted(message, calls[n]["name"], own) for n, own in enumerate(ids)]
    waiting = [call["id"] or "" for call in calls]
    places = list(range(len(calls)))
    for result in results:
        at = waiting.index(result.tool_call_id or "")
        place = places.pop(at)
        del waiting[at]
        if result.tool_call_id != ids[place]:
            result = msgspec.structs.replace(result, tool_call_id=ids[place])  # noqa: PLW2901
        answers[place] = result
    return [_with_ids(message, ids), *answers]


def _own_id(message: SessionMessage, place: int, given: str | None, taken: set[str | None]) -> str:
    """Give a call's id; where it has none, or a newer call has the same, one made from its place.

    Some models number their calls from the start in each message; others refuse two calls with
    one id.
    """
    own, tried = given, 0
    while not own or own in taken:
        own = f"call_{crc32(f'{message.id}/{place}/{tried}'.encode(errors='replace')):08x}"
        tried += 1
    taken.add(own)
    return own


def _with_ids(message: SessionMessage, ids: list[str]) -> SessionMessage:
    calls, content = message.tool_calls, message.content
    if [call["id"] for call in calls] == ids:
        return message
    new: dict[str | None, list[str]] = {}
    for call, own in zip(calls, ids, strict=True):
        new.setdefault(call["id"], []).append(own)
    if isinstance(content, list):
        content = [_block_with_id(block, new) for block in content]
    renamed: list[ToolCall] = [
        {"name": call["name"], "args": call["args"], "id": own}
        for call, own in zip(calls, ids, strict=True)
    ]
    return msgspec.structs.replace(message, content=content, tool_calls=renamed)


def _block_with_id(block: dict[str, Any], new: dict[str | None, list[str]]) -> dict[str, Any]:
    """Give a block that repeats a call in the content the call's new id.

    In OpenAI's Responses a block has an id of its own beside its call's, which is its ``call_id``.
    """
    if "call_id" in block:
        key = "call_id"
    elif block.get("type") in _CALL_BLOCKS:
        key = "id"
    else:
        return block
    own = new.get(block.get(key))
    return {**block, key: own.pop(0) if len(own) > 1 else own[0]} if own else block


def _interrupted(message: SessionMessage, name: str, id: str) -> SessionMessage:
    return SessionMessage(
        "tool",
        INTERRUPTED,
        id=f"interrupted:{id}",
        name=name,
        tool_call_id=id,
        created_at=message.created_at,
        metadata={_INTERRUPTED: True},
    )
