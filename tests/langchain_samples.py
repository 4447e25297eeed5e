"""A message of each kind that LangChain has, for the tests of its histories' readers."""

from __future__ import annotations

from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

MESSAGES = [
    SystemMessage("Be brief.", id="m0"),
    HumanMessage("What is this? 🐈", name="alice", example=True),
    HumanMessage(["Look:", {"type": "image", "url": "https://example.com/cat.png"}], id="m2"),
    AIMessage(
        "Let me look.",
        id="m3",
        tool_calls=[
            {"name": "look", "args": {"at": [1, 2.5, None]}, "id": "c1"},
            {"name": "ask", "args": {}, "id": None},
        ],
        invalid_tool_calls=[{"name": "x", "args": "{", "id": "c2", "error": "no JSON"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        response_metadata={"model_name": "gpt"},
        additional_kwargs={"refusal": None},
    ),
    ToolMessage("A cat.", tool_call_id="c1", status="error", artifact={"ears": 2}, name="look"),
    FunctionMessage("old", name="f"),
    ChatMessage("hm", role="critic"),
    ChatMessage("hm", role="ai"),
    AIMessage([{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "A cat."}]),
]


def same(read, written):
    """Tell whether messages are equal, but for ids where the source has none."""
    assert len(read) == len(written)
    for one, other in zip(read, written, strict=True):
        if other.id is None:
            assert one.id
            other = other.model_copy(update={"id": one.id})  # noqa: PLW2901
        assert type(one) is type(other)
        assert one == other
    return True
