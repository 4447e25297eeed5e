"""Bytes, models and the fields of derived classes beside what LlamaIndex's messages say."""

import asyncio
import dataclasses
import datetime as dt
import enum
import json
import warnings

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import (
    ChatMessage,
    CitationBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field
from llama_index.core.tools import ToolOutput
from pydantic import BaseModel, ConfigDict, field_serializer

from langchain_sessionstore import to_langchain
from langchain_sessionstore import to_session as from_langchain
from llama_index_sessionstore import (
    AsyncSessionChatStore,
    SessionChatStore,
    to_llama_index,
    to_session,
)
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    SessionMessage,
    SQLiteSessionStore,
)
from sessionstore.models import decode_message, encode_message

SIGNATURE = b"\x12\xff\x00signed"


def there_and_back(message):
    return to_llama_index(decode_message(encode_message(to_session(message))))


def assistant(*blocks, **kwargs):
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=kwargs)


@pytest.fixture
def ignored():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


# -- Bytes ----------------------------------------------------------------------------------------

WITH_BYTES = {
    "Gemini's signed thoughts": assistant(
        TextBlock(text="Hi"), thought_signatures=[SIGNATURE, None]
    ),
    "a signed thought": assistant(
        ThinkingBlock(content="Hm", additional_information={"signature": SIGNATURE})
    ),
    "a redacted thought": assistant(ThinkingBlock(additional_information={"data": SIGNATURE})),
    "a call": assistant(ToolCallBlock(tool_name="f", tool_kwargs={"png": SIGNATURE})),
    "text that looks like bytes": assistant(x=SIGNATURE, y={"$bytes": "aGk="}),
    "ASCII": assistant(x=b"plain"),
    "the name of nobody": assistant(name=b"x", tool_call_id=b"y"),
}


@pytest.mark.parametrize("what", WITH_BYTES)
def test_bytes_in_a_message_come_back_equal(what):
    message = WITH_BYTES[what]
    read = there_and_back(message)
    assert read == message
    assert to_session(read) is to_session(read)  # unchanged, it is the one that is stored
    read.blocks = [*read.blocks, TextBlock(text="more")]
    changed = there_and_back(read)
    assert (changed.additional_kwargs, changed.blocks[:-1]) == (
        message.additional_kwargs,
        message.blocks,
    )


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_bytes_go_through_both_chat_stores(mode):
    messages = list(WITH_BYTES.values())

    async def through(chat_store):
        if isinstance(chat_store, AsyncSessionChatStore):
            await chat_store.add_messages("a", messages)
            await chat_store.archive_oldest_messages("a", 2)
            return await chat_store.get_messages("a", None)
        await chat_store.aset_messages("s", messages)
        return await chat_store.aget_messages("s")

    with SQLiteSessionStore() as store:
        cls = SessionChatStore if mode == "sync" else AsyncSessionChatStore
        assert asyncio.run(through(cls(store))) == messages


def test_bytes_are_bytes_in_the_other_framework():
    thought = ThinkingBlock(content="Hm", additional_information={"signature": SIGNATURE})
    call = ToolCallBlock(tool_call_id="c1", tool_name="f", tool_kwargs={"png": SIGNATURE})
    read = to_langchain(to_session(assistant(thought, call)))
    assert read.content[0]["extras"] == {"signature": SIGNATURE}
    assert read.tool_calls[0]["args"] == {"png": SIGNATURE}


def test_bytes_of_the_other_framework_are_shown_as_a_placeholder_and_kept():
    media = HumanMessage([{"type": "media", "data": SIGNATURE, "mime_type": "image/png"}])
    stored = from_langchain(media)
    read = to_llama_index(stored)
    assert read.content == "[media]"
    assert to_session(read) is stored
    called = AIMessage("", tool_calls=[{"name": "f", "args": {"x": SIGNATURE}, "id": "c1"}])
    [block] = to_llama_index(from_langchain(called)).blocks
    assert block.tool_kwargs == {"x": SIGNATURE}


def test_data_that_looks_like_tagged_bytes_comes_back_as_it_was():
    stored = SessionMessage("user", "x", extra={"llama_index": {"additional_kwargs": {"a": TAG}}})
    assert to_llama_index(stored).additional_kwargs == {"a": TAG}


TAG = {"$bytes": "aGk="}


# -- Models ---------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Usage(BaseModel):
    at: dt.datetime = dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)
    colour: Colour = Colour.RED
    tokens: int = 3


class Signed(BaseModel):
    usage: Usage = Usage()
    signature: bytes = SIGNATURE


class Pages(BaseModel):
    by_number: dict[int, bytes] = {1: SIGNATURE}
    by_day: dict[dt.date, str] = {dt.date(2026, 1, 2): "x"}


class Credentials(BaseModel):
    password: str = Field(default="hunter2")
    certificate: bytes = SIGNATURE

    @field_serializer("password", when_used="json")
    def hide(self, _):
        return "***"


@dataclasses.dataclass
class Plain:
    usage: Usage = dataclasses.field(default_factory=Usage)


USAGE = {"at": "2026-01-02T00:00:00Z", "colour": "red", "tokens": 3}
SIGNED = {"usage": USAGE, "signature": SIGNATURE}
OUTPUT = ToolOutput(content="sunny", tool_name="f", raw_input={"a": 1}, raw_output=Signed())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Usage(), USAGE),
        (Signed(), SIGNED),
        ([Usage(), (Signed(), 1)], [USAGE, [SIGNED, 1]]),
        ({"a": {"b": Usage()}}, {"a": {"b": USAGE}}),
        (Plain(), {"usage": USAGE}),
        (Credentials(), {"password": "***", "certificate": SIGNATURE}),
        (Pages(), {"by_number": {"1": SIGNATURE}, "by_day": {"2026-01-02": "x"}}),
    ],
    ids=[
        "model",
        "with bytes",
        "list",
        "dict",
        "dataclass",
        "hidden in JSON",
        "keys that are no text",
    ],
)
def test_models_come_back_as_their_json(given, kept):
    assert there_and_back(assistant(x=given)).additional_kwargs == {"x": kept}
    [thought] = there_and_back(assistant(ThinkingBlock(additional_information={"x": given}))).blocks
    assert thought.additional_information == {"x": kept}
    [call] = there_and_back(
        assistant(ToolCallBlock(tool_name="f", tool_kwargs={"x": given}))
    ).blocks
    assert call.tool_kwargs == {"x": kept}


def test_a_tools_output_comes_back_as_its_json():
    output = there_and_back(assistant(output=OUTPUT)).additional_kwargs["output"]
    assert (output["raw_output"], output["blocks"][0]["text"]) == (SIGNED, "sunny")


class Live(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    handle: object = Field(default_factory=object)
    words: str = "s3cret"


@pytest.mark.parametrize("given", [Live(), [Live()], float("nan"), {1, 2}, {"a": object()}])
def test_a_value_that_is_no_data_is_refused(given):
    with pytest.raises(InvalidMessageError) as caught:
        encode_message(to_session(assistant(x=given)))
    assert "s3cret" not in str(caught.value)


# -- Derived classes ------------------------------------------------------------------------------


class Traced(ChatMessage):
    trace: str = "t0"
    usage: Usage | None = None
    signature: bytes = b""
    secret: str = Field(default="s3cret", exclude=True)


class Spoken(TextBlock):
    language: str | None = "de"


class Priced(ToolCallBlock):
    price: float = 0.5


class Shown(ImageBlock):
    caption: str = ""


@pytest.mark.usefixtures("ignored")
def test_fields_that_a_derived_message_declares_come_back():
    message = Traced("Hello!", usage=Usage(), signature=SIGNATURE)
    read = there_and_back(message)
    assert type(read) is ChatMessage
    assert (read.content, read.trace, read.usage) == ("Hello!", "t0", USAGE)
    assert read.signature == SIGNATURE
    assert not hasattr(read, "secret")
    assert read == ChatMessage("Hello!")
    assert read.model_dump() == ChatMessage("Hello!").model_dump()  # no provider sees it
    for copied in (read.model_copy(), read.model_copy(deep=True)):
        copied.content = "Bye!"
        again = there_and_back(copied)
        assert (again.content, again.trace, again.signature) == ("Bye!", "t0", SIGNATURE)


@pytest.mark.usefixtures("ignored")
def test_fields_that_derived_blocks_declare_come_back():
    image = Shown(url="https://example.com/a.png", caption="A cat")
    cited = CitationBlock(
        cited_content=TextBlock(text="x"), source="s", title="t", additional_location_info={}
    )
    cited.cited_content = Spoken(text="cited", language="it")
    blocks = [Spoken(text="Hallo"), Spoken(text="?", language=None), Priced(tool_name="f"), image]
    message = assistant(*blocks, cited)
    for _ in range(2):
        message = there_and_back(message)
        hallo, unknown, call, shown, citation = message.blocks
        assert [type(block) for block in message.blocks] == [
            *(TextBlock, TextBlock, ToolCallBlock, ImageBlock, CitationBlock)
        ]
        assert (hallo.text, hallo.language) == ("Hallo", "de")
        assert (unknown.text, unknown.language) == ("?", None)
        assert (call.tool_name, call.price) == ("f", 0.5)
        assert (str(shown.url), shown.caption) == ("https://example.com/a.png", "A cat")
        assert (citation.cited_content.text, citation.cited_content.language) == ("cited", "it")
        assert hallo == TextBlock(text="Hallo")
        message.blocks = [*message.blocks]
        message.additional_kwargs["changed"] = True


def test_a_derived_class_warns_once():
    class Once(ChatMessage):
        trace: str = "t1"

    with pytest.warns(UserWarning, match="a Once comes back as a ChatMessage"):
        there_and_back(Once("x"))
    there_and_back(Once("x"))  # a warning would be an error


def test_a_derived_class_that_declares_nothing_raises_no_warning():
    class Same(ChatMessage):
        pass

    assert there_and_back(Same("x", role="assistant")) == ChatMessage("x", role="assistant")


def test_a_declared_field_that_is_no_data_is_left_out():
    class Holding(ChatMessage):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        handle: object = None
        trace: str = "t2"

    with pytest.warns(UserWarning, match="comes back as a ChatMessage"):
        there_and_back(Holding("x"))
    with pytest.warns(UserWarning, match="'handle' of a Holding is not kept: it holds a value of"):
        read = there_and_back(Holding("x", handle=Live()))
    assert read.trace == "t2"
    assert not hasattr(read, "handle")


@pytest.mark.usefixtures("ignored")
def test_extra_values_that_a_class_allows_come_back():
    class Open(ChatMessage):
        model_config = ConfigDict(extra="allow")

    assert there_and_back(Open("x", mood="good")).mood == "good"


def test_a_declared_field_never_replaces_a_method():
    declared = {"model_dump": 1, "role": "system", "content": "x", "_session_message": 2, "a": 3}
    read = to_llama_index(
        SessionMessage("user", "Hello!", extra={"llama_index": {"declared": declared}})
    )
    assert (read.role.value, read.content, read.a) == ("user", "Hello!", 3)
    assert read.model_dump()["blocks"][0]["text"] == "Hello!"
    assert to_session(read).content == "Hello!"


@pytest.mark.usefixtures("ignored")
def test_plain_messages_pay_nothing_for_derived_classes():
    stored = json.loads(encode_message(to_session(ChatMessage("Hello!"))))
    assert stored.keys() - {"v", "created_at"} == {"role", "content"}


# -- Roles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "read_as"), [("human", "user"), ("ai", "assistant")])
def test_roles_that_langchain_stored_are_read(role, read_as):
    store = InMemorySessionStore()
    store.append_message("s", SessionMessage(role, "Hello!"))
    assert SessionChatStore(store).get_messages("s")[0].role.value == read_as
    assert to_llama_index(SessionMessage(role, "Hello!")).role.value == read_as
