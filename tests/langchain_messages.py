"""What hypothesis makes for LangChain: any message of any class, with any of its fields."""

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.content import KNOWN_BLOCK_TYPES

# Lone surrogates are no Unicode text, and refused.
texts = st.text(max_size=20)
ids = st.none() | st.text(min_size=1, max_size=20)
names = texts | st.sampled_from(["$bytes", "$$bytes"])  # what the tag of bytes is, and escaped
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=20)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=3)
block_types = st.sampled_from([*sorted(KNOWN_BLOCK_TYPES), "image_url", "tool_use", "a_future_one"])
blocks = st.builds(lambda kind, rest: {**rest, "type": kind}, block_types, objects)
contents = texts | st.lists(texts | blocks, max_size=4)
tool_calls = st.lists(
    st.fixed_dictionaries({"name": texts, "args": objects, "id": st.none() | texts}), max_size=3
)
invalid_tool_calls = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | texts,
            "args": st.none() | texts,
            "id": st.none() | texts,
            "error": st.none() | texts,
        }
    ),
    max_size=2,
)
counts = st.integers(0, 10**6)
usage = st.none() | st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts, "total_tokens": counts},
    optional={"input_token_details": st.fixed_dictionaries({"cache_read": counts})},
)
common = {
    "content": contents,
    "id": ids,
    "name": st.none() | texts,
    "additional_kwargs": objects.filter(lambda kwargs: "tool_calls" not in kwargs),
    "response_metadata": objects,
}
unknown = st.dictionaries(st.sampled_from(["x_provider", "x_trace"]), values, max_size=2)


FIELDS = {
    HumanMessage: {},
    SystemMessage: {},
    AIMessage: {
        "tool_calls": tool_calls,
        "invalid_tool_calls": invalid_tool_calls,
        "usage_metadata": usage,
    },
    ToolMessage: {
        "tool_call_id": texts,
        "artifact": values,
        "status": st.sampled_from(["success", "error"]),
    },
    ChatMessage: {
        "role": st.sampled_from(
            ["user", "assistant", "tool", "critic", "developer", "remove", "human", "ai"]
        )
    },
    FunctionMessage: {"name": texts},
}


@st.composite
def any_message(draw):
    cls = draw(st.sampled_from(list(FIELDS)))
    fields = {name: draw(value) for name, value in {**common, **FIELDS[cls]}.items()}
    return cls(**draw(unknown), **fields)
