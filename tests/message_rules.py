"""The rules by which OpenAI and Anthropic refuse a list of messages, written down as checkers.

OpenAI, chat completions: "An assistant message with 'tool_calls' must be followed by tool messages
responding to each 'tool_call_id'", and "messages with role 'tool' must be a response to a preceding
message with 'tool_calls'" (the errors of its API, 400 invalid_request_error).

Anthropic, messages: the system prompt stands apart, and langchain-anthropic (`_format_messages`)
refuses "multiple non-consecutive system messages"; the first message is the user's; messages of one
role that follow each other are merged (`_merge_messages`, and the API itself), and a tool's results
are blocks of a user's message. "`tool_use` ids were found without `tool_result` blocks immediately
after", "unexpected `tool_use_id` found in `tool_result` blocks", "`tool_use` ids must be unique",
and "each `tool_use` must have a single result" are the API's errors. Results go before text in the
message that answers, and nothing but calls behind a call in the message that asks.

A message at the end that calls tools is pending: it is not sent before it is answered, and then no
other call may have its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from sessionstore import SessionMessage

# What LlamaIndex names otherwise, as its integrations send it. A "function" message is OpenAI's
# older form of a result, which answers no id; with an id LlamaIndex means a tool's result.
_ROLES = {"developer": "system", "chatbot": "assistant", "model": "assistant"}


class Block(NamedTuple):
    """A part of a merged message: text, a call of a tool, or its result."""

    kind: str
    id: str | None = None


def role_of(message: SessionMessage) -> str:
    if message.role == "function" and message.tool_call_id is not None:
        return "tool"
    return _ROLES.get(message.role, message.role)


def check_openai(messages: Sequence[SessionMessage]) -> None:
    """Assert that OpenAI takes these messages."""
    waiting: list[str | None] = []
    for message in _sent(messages):
        if role_of(message) == "tool":
            assert message.tool_call_id in waiting, "a tool message without a call before it"
            waiting.remove(message.tool_call_id)
            continue
        assert not waiting, "a call without its tool message"
        waiting = [call["id"] for call in _calls(message)]
        assert all(waiting), "a call without an id"
    assert not waiting, "a call without its tool message"


def check_anthropic(messages: Sequence[SessionMessage]) -> None:
    """Assert that Anthropic takes these messages, as langchain-anthropic sends them."""
    merged = _merged(_sent(messages))
    if merged and merged[0][0] == "system":
        merged = merged[1:]
    roles = [role for role, _ in merged]
    assert "system" not in roles, "system messages that do not stand together in front"
    assert not roles or roles[0] == "user", "the first message is not the user's"
    used: list[str | None] = []
    for place, (_, blocks) in enumerate(merged):
        calls = [block.id for block in blocks if block.kind == "tool_use"]
        results = [block.id for block in blocks if block.kind == "tool_result"]
        before = merged[place - 1][1] if place else []
        asked = [block.id for block in before if block.kind == "tool_use"]
        assert sorted(map(str, results)) == sorted(map(str, asked)), "calls and results differ"
        kinds = [block.kind for block in blocks]
        assert kinds[: len(results)] == ["tool_result"] * len(results), "text before a result"
        assert set(kinds[kinds.index("tool_use") :] if calls else []) <= {"tool_use"}, "calls last"
        used += calls
    assert len(set(used)) == len(used), "two calls with one id"
    assert all(used), "a call without an id"
    assert not merged or "tool_use" not in [block.kind for block in merged[-1][1]], "no result"
    pending = messages[len(_sent(messages)) :]
    assert not {call["id"] for message in pending for call in _calls(message)} & set(used), (
        "two calls with one id"
    )


def _merged(messages: Sequence[SessionMessage]) -> list[tuple[str, list[Block]]]:
    sent = [(_anthropic_role(message), _blocks(message)) for message in messages]
    return [
        (role, [block for _, blocks in run for block in blocks])
        for role, run in groupby(sent, key=lambda one: one[0])
    ]


def _anthropic_role(message: SessionMessage) -> str:
    role = role_of(message)
    return role if role in ("system", "assistant") else "user"


def _blocks(message: SessionMessage) -> list[Block]:
    if role_of(message) == "tool":
        return [Block("tool_result", message.tool_call_id)]
    return [Block("text"), *(Block("tool_use", call["id"]) for call in _calls(message))]


def _calls(message: SessionMessage) -> list:
    return message.tool_calls if role_of(message) == "assistant" else []


def _sent(messages: Sequence[SessionMessage]) -> Sequence[SessionMessage]:
    return messages[:-1] if messages and _calls(messages[-1]) else messages
