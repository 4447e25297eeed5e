"""What providers are sent of a reloaded history equals what they were sent of the original.

A converter is a function of the messages; those of six providers were held against these histories
when the codec last changed. Here LangChain's own run, in which each provider's blocks are known.
"""

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
    get_buffer_string,
)

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore import SQLiteSessionStore

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
CALL = {"name": "weather", "args": {"city": "Paris"}, "id": "c1"}
RESULT = ToolMessage("sunny", tool_call_id="c1", name="weather")


def from_provider(name, content, **fields):
    return AIMessage(content, response_metadata={"model_provider": name}, **fields)


HISTORIES: dict[str, list[BaseMessage]] = {
    "text": [SystemMessage("Be kind."), HumanMessage("Hi.", name="alice"), AIMessage("Hello.")],
    "tools": [
        HumanMessage("Where is it warm?"),
        AIMessage("", tool_calls=[CALL, {**CALL, "id": "c2"}]),
        RESULT,
        ToolMessage("no such city", tool_call_id="c2", status="error"),
    ],
    "invalid tool calls": [
        AIMessage(
            "",
            invalid_tool_calls=[
                {"name": "weather", "args": "{oops", "id": "c1", "error": "no JSON"}
            ],
        )
    ],
    "OpenAI's Responses": [
        from_provider(
            "openai",
            [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"},
                {
                    "type": "function_call",
                    "name": "weather",
                    "arguments": '{"city":"Paris"}',
                    "call_id": "c1",
                    "id": "fc_1",
                },
                {"type": "text", "text": "So:", "annotations": [], "id": "msg_1"},
            ],
            tool_calls=[CALL],
        ),
        RESULT,
    ],
    "Anthropic's thinking": [
        from_provider(
            "anthropic",
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
            ],
            tool_calls=[CALL],
        ),
        RESULT,
    ],
    "Bedrock's redacted reasoning": [
        from_provider(
            "bedrock_converse",
            [
                {"type": "reasoning_content", "reasoning_content": {"redacted_content": PNG}},
                {
                    "type": "reasoning_content",
                    "reasoning_content": {"text": "Hm.", "signature": "s"},
                },
                {"type": "text", "text": "Paris."},
            ],
        )
    ],
    "Bedrock's documents": [
        HumanMessage(
            [
                {"type": "text", "text": "Read this."},
                {
                    "type": "document",
                    "document": {"format": "pdf", "name": "a", "source": {"bytes": PNG}},
                },
            ]
        ),
        from_provider("bedrock_converse", [{"type": "tool_use", "id": "c1", "name": "weather"}]),
        ToolMessage(
            [{"type": "text", "text": "a"}, {"type": "image", "source": {"bytes": PNG}}],
            tool_call_id="c1",
        ),
    ],
    "Google's media": [
        HumanMessage([{"type": "media", "mime_type": "image/png", "data": PNG}]),
        from_provider(
            "google_genai",
            [
                {"type": "thinking", "thinking": "Hm.", "signature": PNG},
                {"type": "text", "text": "A dot.", "extras": {"signature": PNG}},
            ],
            additional_kwargs={"__gemini_function_call_thought_signatures__": {"c1": PNG}},
        ),
    ],
    "standard blocks": [
        AIMessage(
            [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "x"}],
            response_metadata={"output_version": "v1"},
        )
    ],
}


def outcome(convert, messages):
    try:
        return convert(messages)
    except (KeyError, TypeError, ValueError) as error:  # no converter knows each provider's blocks
        return repr(error)


CONVERTERS = [
    convert_to_openai_messages,
    lambda messages: convert_to_openai_messages(messages, text_format="block"),
    lambda messages: [message.content_blocks for message in messages],
    lambda messages: [message.model_dump() for message in messages],
    get_buffer_string,
]


@pytest.mark.parametrize("messages", HISTORIES.values(), ids=HISTORIES)
def test_a_reloaded_history_gives_the_payloads_of_the_original(messages, tmp_path):
    messages = [m.model_copy(update={"id": f"m{place}"}) for place, m in enumerate(messages)]
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        SessionChatMessageHistory("s", store).add_messages(messages)
        reloaded = SessionChatMessageHistory("s", store).messages
    assert reloaded == messages
    for convert in CONVERTERS:
        assert outcome(convert, reloaded) == outcome(convert, messages)
