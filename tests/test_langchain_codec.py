import json
import math
import warnings
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
    message_chunk_to_message,
    message_to_dict,
)
from langchain_messages import any_message, texts, values
from msgspec.structs import replace
from pydantic import BaseModel

from langchain_sessionstore import to_langchain, to_session, to_session_messages
from sessionstore import (
    CorruptMessageError,
    InMemorySessionStore,
    InvalidMessageError,
    SessionMessage,
)
from sessionstore.models import decode_message, encode_message

CLASSES = (
    HumanMessage,
    AIMessage,
    SystemMessage,
    ToolMessage,
    FunctionMessage,
    RemoveMessage,
    ChatMessage,
)


def there_and_back(message: BaseMessage) -> BaseMessage:
    return to_langchain(decode_message(encode_message(to_session(message))))


def same(left: BaseMessage, right: BaseMessage) -> bool:
    return (
        type(left) is type(right)
        and left == right
        and repr(left) == repr(right)
        and message_to_dict(left) == message_to_dict(right)
        and left.__dict__.keys() == right.__dict__.keys()
    )


@given(any_message())
def test_every_message_comes_back_equal(message):
    assert same(there_and_back(message), message)


@pytest.mark.parametrize("role", ["human", "ai", "user", "assistant"])
def test_a_chat_message_of_any_role_comes_back_equal_from_a_store(role):
    """Which takes `human` and `ai` for `user` and `assistant`."""
    message = ChatMessage(role=role, content="Hello!", id="m1")
    with InMemorySessionStore() as store:
        store.append_message("s", to_session(message))
        [stored] = store.get_messages("s")
    assert stored.role in ("user", "assistant")
    assert same(to_langchain(stored), message)


@pytest.mark.parametrize("role", ["human", "ai"])
def test_what_was_stored_by_langchains_name_of_a_role_is_still_read(role):
    old = decode_message(
        f'{{"role":"{role}","content":"Hello!","id":"m","created_at":"2026-01-02T03:04:05Z"}}'
    )
    assert old.role == role
    assert same(to_langchain(old), ChatMessage(role=role, content="Hello!", id="m"))


def test_a_removal_comes_back_equal():
    assert same(there_and_back(RemoveMessage(id="1")), RemoveMessage(id="1"))


@pytest.mark.parametrize(
    "chunk",
    [
        HumanMessageChunk("a", id="1", x_provider=1),
        SystemMessageChunk("a", id="1"),
        ToolMessageChunk(content="a", tool_call_id="c", artifact={"a": [1]}, status="error"),
        FunctionMessageChunk(name="f", content="a"),
        ChatMessageChunk(role="critic", content="a"),
        AIMessageChunk(
            content=[{"type": "text", "text": "a", "index": 0}],
            id="lc_run--1",
            tool_call_chunks=[{"name": "f", "args": '{"a": 1}', "id": "c", "index": 0}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            chunk_position="last",
        ),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_a_chunk_comes_back_as_its_full_message(chunk):
    full = message_chunk_to_message(chunk)
    back = there_and_back(chunk)
    unknown_fields = back.__pydantic_extra__
    assert unknown_fields == chunk.__pydantic_extra__
    assert type(back) is type(full)
    assert back.__dict__ == full.__dict__


def test_a_class_of_another_kind_is_refused():
    class Alien(BaseMessage):
        type: str = "alien"

    with pytest.raises(InvalidMessageError, match="Alien"):
        to_session(Alien(content="hm"))
    with pytest.raises(InvalidMessageError, match="str"):
        to_session("hello")


def test_decoding_refuses_what_is_no_stored_message():
    with pytest.raises(InvalidMessageError, match="must be a SessionMessage, not str"):
        to_langchain("x")


known = st.dictionaries(
    st.sampled_from(
        [
            *("type", "strings", "call_extras", "model_extra", "additional_kwargs", "artifact"),
            *("status", "usage_metadata", "invalid_tool_calls", "id", "content", "role"),
            *("tool_calls", "tool_call_id", "example", "name", "__class__", "lc"),
        ]
    ),
    values | st.just([{"lc": 1, "type": "constructor", "id": ["os", "system"]}]),
    max_size=3,
)


@given(
    st.sampled_from(["user", "assistant", "tool", "function", "critic", "remove", "developer"]),
    st.just("x") | st.lists(st.dictionaries(texts, values, max_size=2), max_size=2),
    st.sampled_from([[], [{"name": "f", "args": {}, "id": None}]]),
    known,
    st.sampled_from([{}, {"sessionstore": {"bytes": True}}, {"sessionstore": {"bytes": [1]}}]),
)
def test_hostile_data_is_decoded_as_data_or_refused(role, content, calls, extra, mark):
    raw = {"role": role, "content": content, "id": "1", "tool_calls": calls}
    raw |= {"created_at": "2026-01-01T00:00:00Z", "extra": {"langchain": extra, **mark}}
    stored = decode_message(msgspec.json.encode(raw))
    try:
        read = to_langchain(stored)
    except CorruptMessageError:
        return
    assert type(read) in CLASSES
    back = there_and_back(read)
    assert back == read
    assert repr(back) == repr(read)


@pytest.mark.parametrize(
    "extra",
    [
        {"type": ["human"]},
        {"strings": 5},
        {"call_extras": [5]},
        {"model_extra": "secret"},
        {"additional_kwargs": "secret"},
        {"usage_metadata": ["secret"]},
        {"invalid_tool_calls": ["secret"]},
        {"content": "secret"},
        {"tool_calls": "secret"},
    ],
    ids=str,
)
def test_data_that_no_codec_wrote_raises_corrupt_message_error(extra):
    call = {"name": "f", "args": {}, "id": "c"}
    content = [{"type": "text", "text": "secret"}]
    stored = SessionMessage("assistant", content, id="m1", tool_calls=[call])
    with pytest.raises(CorruptMessageError, match=r"message 'm1' .*extra\['langchain'\]") as caught:
        to_langchain(replace(stored, extra={"langchain": extra}))
    assert "secret" not in f"{caught.value}{caught.value.__context__}"


def test_odd_tool_calls_are_kept_as_they_are():
    message = AIMessage("", id="1")
    message.tool_calls = [{"name": "f", "args": {}, "id": "c", "extras": {"signature": "s"}}]
    assert there_and_back(message).tool_calls == message.tool_calls
    assert to_session(message).tool_calls == [{"name": "f", "args": {}, "id": "c"}]


def test_content_that_was_replaced_since_is_shown_in_its_new_form():
    call = {"name": "pay", "args": {"card": "4111"}, "id": "c", "extras": {"signature": "s"}}
    message = AIMessage(["a secret", {"type": "text", "text": "b"}], id="1")
    message.tool_calls = [call]
    stored = to_session(message)
    redacted = to_langchain(replace(stored, content="[removed]", tool_calls=[]))
    assert (redacted.content, redacted.tool_calls) == ("[removed]", [])
    assert to_langchain(replace(stored, content=[])).content == []
    assert to_langchain(replace(stored, content=[{"type": "image"}])).content == [{"type": "image"}]


def test_a_plain_message_has_no_extra():
    stored = json.loads(encode_message(to_session(HumanMessage("hi", id="1"))))
    assert stored.keys() == {"role", "content", "id", "created_at"}


def test_a_decoded_message_is_a_message_like_any_other():
    message = there_and_back(AIMessage("hi", id="1"))
    message.content = "ho"
    assert message.model_copy(update={"id": "2"}).id == "2"
    assert AIMessage.model_validate(message.model_dump()) == message
    assert message.model_dump(exclude_unset=True)["content"] == "ho"
    first, second = there_and_back(AIMessage("a")), there_and_back(AIMessage("b"))
    first.additional_kwargs["x"] = 1
    assert second.additional_kwargs == {}


# -- What is not JSON -----------------------------------------------------------------------------


@pytest.mark.parametrize("artifact", [object(), {1, 2}, {"at": math.nan}, {b"x": 1}, {1: 2}])
def test_an_artifact_that_is_not_json_is_left_out_with_a_warning(artifact):
    message = ToolMessage("ok", tool_call_id="c", artifact=artifact, id="1")
    with pytest.warns(UserWarning, match="artifact") as caught:
        back = there_and_back(message)
    assert len(caught) == 1
    assert back == ToolMessage("ok", tool_call_id="c", id="1")


class Opaque(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    inside: object


def around_itself() -> dict[str, Any]:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    return ring


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("a secret", additional_kwargs={"at": datetime.now(timezone.utc)}),
        AIMessage("a secret", response_metadata={"score": math.nan}),
        AIMessage("a secret", tool_calls=[{"name": "f", "args": {"x": {1, 2}}, "id": "c"}]),
        HumanMessage([{"type": "image", "base64": {b"a secret": b"x"}}]),
        HumanMessage("a secret", additional_kwargs={1: 2}),
        HumanMessage("a secret \ud800"),
        AIMessage("a secret", additional_kwargs={"parsed": Opaque(inside=object())}),
        AIMessage("a secret", additional_kwargs=around_itself()),
    ],
)
def test_anything_else_that_is_not_json_is_refused_before_anything_is_written(message):
    store = InMemorySessionStore()
    with pytest.raises(InvalidMessageError) as caught:
        store.append_messages("s", [to_session(HumanMessage("fine")), to_session(message)])
    assert store.get("s") is None
    assert "secret" not in str(caught.value)


def test_messages_that_are_kept_whole_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there_and_back(ToolMessage("ok", tool_call_id="c", artifact={"rows": [1, 2.5, None]}))


# -- Another framework's messages ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "cls"),
    [
        ("user", HumanMessage),
        ("assistant", AIMessage),
        ("system", SystemMessage),
        ("tool", ToolMessage),
        ("developer", SystemMessage),
        ("critic", ChatMessage),
    ],
)
def test_a_message_of_another_framework_is_decoded_to_the_class_of_its_role(role, cls):
    raw = json.dumps(
        {
            "role": role,
            "content": "hi",
            "id": "1",
            "created_at": "2026-01-01T00:00:00Z",
            "extra": {"another": {"x": 1}},
        }
    )
    message = to_langchain(decode_message(raw))
    assert type(message) is cls
    assert message.content == "hi"


def test_fields_of_a_newer_langchain_are_kept():
    stored = to_session(HumanMessage("hi", id="1"))
    newer = {"role": "user", "content": "hi", "id": "1", "created_at": "2026-01-01T00:00:00Z"}
    newer["extra"] = {"langchain": {"mood": "fine"}}
    message = to_langchain(decode_message(json.dumps(newer)))
    assert message.mood == "fine"
    assert to_session(message).extra == {"langchain": {"model_extra": {"mood": "fine"}}}
    assert stored.extra == {}


def test_a_langchain_message_given_to_a_store_is_refused_with_how_to_convert_it():
    words = r"not HumanMessage: langchain_sessionstore.to_session\(message\) makes one of it"
    with InMemorySessionStore() as store, pytest.raises(InvalidMessageError, match=words):
        store.append_message("s", HumanMessage("Hello!"))
    with (
        InMemorySessionStore() as store,
        pytest.raises(InvalidMessageError, match=r"give \[message\]$"),
    ):
        store.append_messages("s", HumanMessage("Hello!"))
    with pytest.raises(InvalidMessageError, match=r"give \[message\]$"):
        to_session_messages(HumanMessage("Hello!"))
