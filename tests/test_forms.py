"""Other libraries' messages as data: what the codecs give of the messages themselves."""

from __future__ import annotations

import json

import msgspec
from hypothesis import assume, given
from langchain_core.messages import AIMessage, message_to_dict, messages_from_dict
from langchain_messages import any_message
from langchain_samples import MESSAGES
from llama_index.core.base.llms.types import ChatMessage
from llama_index_messages import any_message as any_llama_message
from msgspec.structs import replace
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter
from read_in import foreign

from langchain_sessionstore import to_langchain, to_langchain_messages, to_session
from llama_index_sessionstore import to_session as of_llama_index
from sessionstore import InMemorySessionStore, SessionMessage
from sessionstore.forms import langchain, llama_index
from sessionstore.models import encode_message
from sessionstore.transfer.writers import WRITERS


def equal(one, other):
    """Tell whether two messages are stored as the same, but for their times."""
    one = replace(one, created_at=other.created_at)
    return msgspec.json.decode(encode_message(one)) == msgspec.json.decode(encode_message(other))


@given(any_message())
def test_the_json_of_any_message_of_langchain_is_read_as_the_codec_reads_the_message(message):
    try:
        stored = json.loads(json.dumps(message_to_dict(message)))
    except (TypeError, ValueError):
        assume(False)
    with foreign():
        [known] = messages_from_dict([stored])
        expected = to_session(known)
    read = langchain.message_of(stored["type"], stored["data"])
    assert equal(read, expected)
    assert to_langchain(read) == to_langchain(expected)


@given(any_llama_message)
def test_the_json_of_any_message_of_llama_index_is_read_as_the_codec_reads_the_message(message):
    with foreign():
        try:
            stored = json.loads(message.model_dump_json())
            known = ChatMessage.model_validate(stored)
        except ValueError:
            assume(False)
        expected = of_llama_index(known)
    assert equal(llama_index.message_of(stored), expected)


def session_of(messages):
    return InMemorySessionStore().create("s", messages=messages)


def test_lines_for_langchain_are_read_by_it():
    session = session_of(list(map(to_session, MESSAGES)))
    [line, again] = WRITERS["langchain-jsonl"]([session, session])
    assert line == again
    written = json.loads(line)
    assert written["session_id"] == "s"
    with foreign():
        read = messages_from_dict(written["messages"])
    assert read == to_langchain_messages(session.messages)
    assert list(map(type, read)) == list(map(type, MESSAGES))


@given(any_message())
def test_any_message_of_langchain_is_written_as_langchain_does(message):
    assume("sessionstore" not in to_session(message).extra)  # no bytes: JSON has no word for them
    session = session_of([to_session(message)])
    [line] = WRITERS["langchain-jsonl"]([session])
    with foreign():
        read = messages_from_dict(json.loads(line)["messages"])
    assert read == to_langchain_messages(session.messages)


PARTS = [
    {"type": "text", "text": "Look:"},
    {"type": "image", "url": "https://example.com/cat.png"},
    {"type": "image", "base64": "aGk=", "mime_type": "image/png"},
    {"type": "audio", "base64": "aGk=", "mime_type": "audio/mpeg"},
    {"type": "file", "base64": "aGk=", "mime_type": "application/pdf", "extras": {}},
    {"type": "file", "url": "https://example.com/cat.pdf"},
    {"type": "video", "url": "https://example.com/cat.mp4"},
]


def test_lines_for_openai_are_valid_chat_messages():
    calls = [
        {"name": "look", "args": {"at": [1]}, "id": "c1"},
        {"name": "ask", "args": {}, "id": None},
    ]
    thought = [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Look."}]
    session = session_of(
        [
            SessionMessage("system", "Be brief."),
            SessionMessage("developer", [{"type": "text", "text": "Be kind."}]),
            SessionMessage("user", PARTS, name="alice"),
            SessionMessage("assistant", thought, id="m1", tool_calls=calls),
            SessionMessage("assistant", "", tool_calls=calls[:1]),
            SessionMessage("tool", [{"type": "text", "text": "A cat."}], tool_call_id="c1"),
            SessionMessage("critic", "Hm."),
        ]
    )
    [line] = WRITERS["openai-jsonl"]([session])
    written = json.loads(line)["messages"]
    adapter = TypeAdapter(ChatCompletionMessageParam)
    for message in written:
        adapter.validate_python(message)
    assert [it["role"] for it in written] == [
        *("system", "developer", "user", "assistant", "assistant", "tool", "user")
    ]
    assert written[3]["content"] == "Look."
    assert written[3]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":[1]}'}},
        {"id": "call_m1_1", "type": "function", "function": {"name": "ask", "arguments": "{}"}},
    ]
    assert written[4]["content"] is None
    assert written[5] == {"role": "tool", "tool_call_id": "c1", "content": "A cat."}
    kinds = [part["type"] for part in written[2]["content"]]
    assert kinds == ["text", "image_url", "image_url", "input_audio", "file", "text", "text"]


def test_what_langchain_wrote_is_valid_for_openai():
    session = session_of(list(map(to_session, [*MESSAGES, AIMessage("")])))
    [line] = WRITERS["openai-jsonl"]([session])
    adapter = TypeAdapter(ChatCompletionMessageParam)
    for message in json.loads(line)["messages"]:
        adapter.validate_python(message)
