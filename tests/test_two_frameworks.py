"""A session that one framework began is gone on with in the other."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_messages import any_message as any_langchain_message
from langchain_messages import values
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index_messages import any_message as any_llama_index_message
from msgspec.structs import replace

from langchain_sessionstore import SessionChatMessageHistory, to_langchain
from langchain_sessionstore import to_session as from_langchain
from llama_index_sessionstore import SessionChatStore, to_llama_index
from llama_index_sessionstore import to_session as from_llama_index
from sessionstore import InMemorySessionStore
from sessionstore.models import decode_message, encode_message


def stored(message):
    return decode_message(encode_message(message))


def in_llama_index(message):
    return to_llama_index(stored(from_langchain(message)))


def in_langchain(message):
    return to_langchain(stored(from_llama_index(message)))


# -- There and back -------------------------------------------------------------------------------

keys = st.sampled_from(
    [
        "text",
        "url",
        "base64",
        "data",
        "source",
        "file",
        "file_id",
        "image_url",
        "input_audio",
        "reasoning",
        "thinking",
        "summary",
        "signature",
        "extras",
        "id",
        "call_id",
        "name",
        "title",
        "mime_type",
        "media_type",
        "format",
        "annotations",
    ]
)
kinds = st.sampled_from(
    [
        "text",
        "text-plain",
        "reasoning",
        "thinking",
        "image",
        "image_url",
        "audio",
        "input_audio",
        "video",
        "file",
        "document",
        "tool_call",
        "tool_use",
        "non_standard",
        "server_tool_call",
        "search_result",
    ]
)
odd_blocks = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    kinds,
    st.dictionaries(keys, st.dictionaries(keys, values, max_size=3) | values, max_size=4),
)


@given(any_langchain_message())
def test_what_langchain_wrote_comes_back_from_llama_index(message):
    assert to_langchain(stored(from_llama_index(in_llama_index(message)))) == message


@example([{"type": "image", "url": "0"}])  # which LlamaIndex takes for no address
@given(st.lists(odd_blocks, max_size=4))
def test_whatever_a_provider_gave_comes_back_from_llama_index(content):
    message = AIMessage(content)
    read = in_llama_index(message)
    ChatMessage.model_validate(read.model_dump())
    assert to_langchain(stored(from_llama_index(read))) == message


@given(any_llama_index_message)
def test_what_llama_index_wrote_comes_back_from_langchain(message):
    there = stored(from_llama_index(message))
    back = stored(from_langchain(to_langchain(there)))
    assert to_llama_index(back) == to_llama_index(there)
    assert replace(back, created_at=there.created_at) == there


# -- What is carried as what ----------------------------------------------------------------------

CARRIED = {
    "text": ({"type": "text", "text": "Hello!"}, TextBlock(text="Hello!")),
    "image": (
        {"type": "image", "base64": "aGk=", "mime_type": "image/png"},
        ImageBlock(image=b"aGk=", image_mimetype="image/png"),
    ),
    "image elsewhere": (
        {"type": "image", "url": "https://example.com/a", "mime_type": "image/png"},
        ImageBlock(url="https://example.com/a", image_mimetype="image/png"),
    ),
    "audio": (
        {"type": "audio", "base64": "aGk=", "mime_type": "audio/mpeg"},
        AudioBlock(audio=b"aGk=", format="mp3"),
    ),
    "video": (
        {"type": "video", "base64": "aGk=", "mime_type": "video/mp4"},
        VideoBlock(video=b"aGk=", video_mimetype="video/mp4"),
    ),
    "file": (
        {
            "type": "file",
            "base64": "aGk=",
            "mime_type": "application/pdf",
            "extras": {"filename": "a.pdf"},
        },
        DocumentBlock(data=b"aGk=", document_mimetype="application/pdf", title="a.pdf"),
    ),
    "reasoning": (
        {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "x"}},
        ThinkingBlock(content="Hm.", additional_information={"signature": "x"}),
    ),
}


@pytest.mark.parametrize(("standard", "block"), CARRIED.values(), ids=CARRIED)
def test_content_blocks_are_the_same_to_both_frameworks(standard, block):
    assert in_langchain(ChatMessage(blocks=[block, block])).content == [standard, standard]
    assert in_llama_index(HumanMessage([standard])).blocks == [block]


PROVIDERS = {
    "OpenAI image": (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"url": "https://example.com/a.png", "detail": "low"},
    ),
    "OpenAI inline image": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"image": b"aGk=", "image_mimetype": "image/png"},
    ),
    "OpenAI audio": (
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"audio": b"aGk=", "format": "wav"},
    ),
    "OpenAI file": (
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
        },
        {"data": b"aGk=", "title": "a.pdf", "document_mimetype": "application/pdf"},
    ),
    "OpenAI reasoning": (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"content": "Hm."},
    ),
    "Anthropic image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"image": b"aGk=", "image_mimetype": "image/png"},
    ),
    "Anthropic thinking": (
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"content": "Hm.", "additional_information": {"signature": "x"}},
    ),
}


@pytest.mark.parametrize(("block", "fields"), PROVIDERS.values(), ids=PROVIDERS)
def test_llama_index_reads_what_providers_give_langchain(block, fields):
    [read] = in_llama_index(AIMessage([block])).blocks
    dump = read.model_dump(exclude_unset=True, exclude={"block_type"})
    assert {key: str(v) if key == "url" else v for key, v in dump.items()} == fields


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (
            {"type": "server_tool_call", "name": "web_search", "id": "1"},
            "[server_tool_call: web_search]",
        ),
        ({"type": "non_standard", "value": {}}, "[non_standard]"),
        ({"type": "file", "file_id": "f1"}, "[file]"),
    ],
)
def test_llama_index_shows_a_placeholder_for_unknown_blocks(block, text):
    assert in_llama_index(AIMessage([block])).blocks == [TextBlock(text=text)]


def test_langchain_shows_a_placeholder_for_unknown_blocks(tmp_path):
    path = tmp_path / "cat.png"
    path.touch()
    citation = CitationBlock(
        cited_content="x", source="s", title="Cats", additional_location_info={}
    )
    cache = CachePoint(cache_control=CacheControl(type="ephemeral"))
    read = in_langchain(ChatMessage(blocks=[citation, cache, ImageBlock(path=path)]))
    assert [block["text"] for block in read.content] == ["[citation: Cats]", "[image: cat.png]"]


@pytest.mark.parametrize(
    ("role", "cls"),
    [
        ("user", HumanMessage),
        ("assistant", AIMessage),
        ("model", AIMessage),
        ("chatbot", AIMessage),
        ("system", SystemMessage),
        ("developer", SystemMessage),
        ("tool", ToolMessage),
        ("function", FunctionMessage),
    ],
)
def test_each_role_is_read_by_the_other_framework(role, cls):
    assert type(in_langchain(ChatMessage("x", role=role))) is cls


def test_calls_and_results_keep_their_order():
    calls = [
        {"name": "weather", "args": {"city": "Paris"}, "id": "c1", "type": "tool_call"},
        {"name": "time", "args": {}, "id": "c2", "type": "tool_call"},
    ]
    content = [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "text", "text": "And:"},
    ]
    read = in_llama_index(AIMessage(content, tool_calls=calls))
    assert [block.block_type for block in read.blocks] == ["text", "tool_call", "text", "tool_call"]
    result = in_llama_index(ToolMessage("sunny", tool_call_id="c1", name="weather"))
    assert result.additional_kwargs == {"tool_call_id": "c1", "name": "weather"}
    call = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Paris"})
    assert in_langchain(ChatMessage(role="assistant", blocks=[call])).tool_calls == calls[:1]


# -- A conversation in both -----------------------------------------------------------------------


def test_a_conversation_goes_on_in_the_other_framework():
    store = InMemorySessionStore()
    history = SessionChatMessageHistory("s1", store)
    chat_store = SessionChatStore(store)
    history.add_messages(
        [HumanMessage("I am Alice.", id="m1"), AIMessage("Hello, Alice!", id="m2")]
    )
    chat_store.add_message("s1", ChatMessage("Who am I?"))
    chat_store.add_message(
        "s1",
        ChatMessage(
            role="assistant", blocks=[ThinkingBlock(content="Hm."), TextBlock(text="Alice.")]
        ),
    )
    messages = history.messages
    assert [type(message) for message in messages] == [HumanMessage, AIMessage] * 2
    assert [message.text for message in messages][-2:] == ["Who am I?", "Alice."]
    before = store.get_messages("s1")
    chat_store.set_messages("s1", chat_store.get_messages("s1"))
    assert store.get_messages("s1") == before
    history.add_messages(history.messages)
    assert store.get_messages("s1") == before


def test_models_are_told_that_the_blocks_are_standard():
    message = ChatMessage(
        role="assistant", blocks=[ThinkingBlock(content="Hm."), TextBlock(text="x")]
    )
    read = in_langchain(message)
    assert read.response_metadata == {"output_version": "v1"}
    assert [block["type"] for block in read.content_blocks] == ["reasoning", "text"]
