"""What hypothesis makes: JSON, messages, and how many of them it tries."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sessionstore.models import ROLE_NAMES, SessionMessage, ToolCall

__all__ = ["MODEST", "json_objects", "messages", "texts"]

MODEST = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    # How long an example takes is the backend's matter.
    suppress_health_check=[HealthCheck.too_slow],
)

texts: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

_json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(texts, _json_values, max_size=3)


def _tool_call(id: str | None, name: str, args: dict[str, Any]) -> ToolCall:
    return {"id": id, "name": name, "args": args}


_tool_calls = st.builds(_tool_call, st.none() | texts, texts, json_objects)


def messages(*, max_size: int = 4) -> st.SearchStrategy[list[SessionMessage]]:
    """Give a strategy for batches of messages whose ids differ."""
    message = st.builds(
        SessionMessage,
        # By its other name a role doesn't come back equal.
        role=st.sampled_from(["user", "assistant", "tool", "system"])
        | texts.filter(lambda text: text not in ROLE_NAMES),
        content=texts | st.lists(json_objects, max_size=3),
        id=texts.filter(bool),
        name=st.none() | texts,
        tool_calls=st.lists(_tool_calls, max_size=2),
        tool_call_id=st.none() | texts,
        metadata=json_objects,
        extra=st.dictionaries(texts, json_objects, max_size=2),
    )
    return st.lists(message, max_size=max_size, unique_by=lambda made: made.id)
