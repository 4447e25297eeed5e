"""The Agents SDK's items come back as they were, and are words to other frameworks."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from agents.models.chatcmpl_converter import Converter
from agents_sdk import called, given, items, said, thought
from hypothesis import given as for_any
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_messages import any_message as any_langchain_message
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index_messages import any_message as any_llama_index_message
from msgspec.structs import replace
from openai.types.responses import ResponseFunctionToolCall

from langchain_sessionstore import to_langchain, to_langchain_messages
from langchain_sessionstore import to_session as from_langchain
from llama_index_sessionstore import to_llama_index
from llama_index_sessionstore import to_session as from_llama_index
from openai_agents_sessionstore import to_items, to_session_messages
from openai_agents_sessionstore.codec import without_last
from sessionstore import CorruptMessageError, InvalidMessageError, SessionMessage
from sessionstore.arguments import checked_messages
from sessionstore.models import decode_message, encode_message


def stored(message):
    [message] = checked_messages([message])
    return decode_message(encode_message(message))


def kept(given):
    return [stored(message) for message in to_session_messages(given)]


# -- There and back -------------------------------------------------------------------------------


@for_any(items)
def test_items_come_back_as_they_were(given):
    before = deepcopy(given)
    assert to_items(kept(given)) == before == given


@for_any(items)
def test_items_go_one_by_one_from_the_end(given):
    messages = kept(given)
    while messages:
        rest = without_last(messages.pop())
        messages += [stored(rest)] if rest else []
        given = given[:-1]
        assert to_items(messages) == given


@for_any(items)
def test_items_come_back_from_langchain_and_llama_index(given):
    messages = kept(given)
    through = [stored(from_langchain(to_langchain(message))) for message in messages]
    assert to_items(through) == given
    through = [stored(from_llama_index(to_llama_index(message))) for message in messages]
    assert to_items(through) == given


def for_chat(found):
    """Give items whose files are not at a URL: OpenAI takes those, other models' API does not."""
    text = json.dumps(found).replace('"file_url"', '"file_data"')
    return json.loads(text)


def require_items(message, found):
    assert found
    json.dumps(found)  # no bytes
    Converter.items_to_messages(for_chat(found))  # which raises where it knows no such part
    while (rest := without_last(message)) is not None:
        found = found[:-1]
        assert to_items([rest]) == found
        message = rest
    assert len(found) == 1


@for_any(any_langchain_message())
def test_whatever_langchain_wrote_is_items(message):
    message = stored(from_langchain(message))
    require_items(message, to_items([message]))


@for_any(any_llama_index_message)
def test_whatever_llama_index_wrote_is_items(message):
    message = stored(from_llama_index(message))
    require_items(message, to_items([message]))


# -- What is stored -------------------------------------------------------------------------------


def test_plain_words_and_results_cost_nothing():
    plain = [
        {"role": "user", "content": "Hello!"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "developer", "content": "Be brief."},
        given("c1", "sunny"),
    ]
    assert [message.extra for message in to_session_messages(plain)] == [{}] * 5
    [message] = to_session_messages([said("Hello!", "msg_1")])
    assert message.content == "Hello!"
    assert message.extra == {"openai_agents": {"items": [{"as": "output", "and": {"id": "msg_1"}}]}}


def test_a_response_is_one_message_and_each_result_another():
    response = [thought("Hm."), said("Let me look."), called("c1", word="a"), called("c2")]
    results = [given("c1", "one"), given("c2", "two")]
    end = [said("Done.", "msg_2"), {"role": "user", "content": "Bye."}]
    messages = to_session_messages([*response, *results, *end])
    assert [message.role for message in messages] == [
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
    ]
    assert messages[0].content == [
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "text", "text": "Let me look."},
    ]
    assert messages[0].tool_calls == [
        {"name": "look_up", "args": {"word": "a"}, "id": "c1"},
        {"name": "look_up", "args": {}, "id": "c2"},
    ]
    assert [message.tool_call_id for message in messages] == [None, "c1", "c2", None, None]


@pytest.mark.parametrize(
    "order",
    [
        [called("c1"), said("Let me look."), called("c2")],
        [thought("a"), called("c1"), thought("b", id="rs_2"), called("c2")],
    ],
)
def test_calls_that_run_at_once_are_of_one_message(order):
    first, *_ = to_session_messages([*order, given("c1", ""), given("c2", "")])
    assert [call["id"] for call in first.tool_calls] == ["c1", "c2"]


def test_two_messages_of_a_model_stay_two():
    assert len(to_session_messages([said("One."), said("Two.", "msg_2")])) == 2


def test_a_call_that_is_no_json_keeps_its_words():
    call = {**called("c1"), "arguments": '{"word": '}
    [message] = kept([call])
    assert message.tool_calls[0]["args"] == {"arguments": '{"word": '}
    assert to_items([message]) == [call]


def test_other_tools_calls_are_calls_and_hosted_ones_are_named():
    shell = {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}}
    patch = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "-a +b"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    mcp = {"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{}"}
    [message] = to_session_messages([search, mcp, shell, patch])
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [
        ("shell", {"commands": ["ls"]}),
        ("patch", {"input": "-a +b"}),
    ]
    assert [block["text"] for block in message.content] == ["[web_search_call]", "[mcp_call: roll]"]


def test_models_of_pydantic_are_kept_as_data():
    call = ResponseFunctionToolCall(call_id="c1", name="f", arguments="{}", type="function_call")
    plain = {"call_id": "c1", "name": "f", "arguments": "{}", "type": "function_call"}
    assert to_items(kept([call])) == [plain]


def test_what_was_taken_out_of_a_message_does_not_come_back():
    [message] = kept([{"type": "web_search_call", "id": "ws_1", "query": "secret"}, said("secret")])
    without = replace(message, content=[{"type": "text", "text": "gone"}] * 2)
    assert to_items([without]) == [{"role": "assistant", "content": "gonegone"}]
    [result] = kept([{"type": "shell_call_output", "call_id": "c1", "output": [{"out": "secret"}]}])
    assert to_items([replace(result, content="gone")]) == [given("c1", "gone")]
    [call] = kept([{**called("c1"), "arguments": '{"a":  1}'}])
    changed = replace(call, tool_calls=[{"name": "f", "args": {"a": 2}, "id": "c1"}])
    assert to_items([changed])[0]["arguments"] == '{"a":2}'


# -- What others read, and wrote ------------------------------------------------------------------

RESPONSE = [thought("Hm."), said("Let me look."), called("c1", word="a")]


def test_langchain_reads_a_response():
    answer, result = to_langchain_messages(kept([*RESPONSE, given("c1", "one")]))
    assert isinstance(answer, AIMessage)
    assert answer.text == "Let me look."
    assert answer.content[0] == {"type": "reasoning", "reasoning": "Hm."}
    assert answer.tool_calls == [
        {"name": "look_up", "args": {"word": "a"}, "id": "c1", "type": "tool_call"}
    ]
    assert isinstance(result, ToolMessage)
    assert (result.content, result.tool_call_id) == ("one", "c1")


def test_llama_index_reads_a_response():
    [message] = kept(RESPONSE)
    assert to_llama_index(message).blocks == [
        ThinkingBlock(content="Hm."),
        TextBlock(text="Let me look."),
        ToolCallBlock(tool_call_id="c1", tool_name="look_up", tool_kwargs={"word": "a"}),
    ]


CALLS = [{"name": "look_up", "args": {"word": w}, "id": f"c{n}"} for n, w in enumerate("ab")]


def test_an_answer_of_langchain_is_a_message_and_its_calls():
    answer = AIMessage("Let me look.", id="m1", tool_calls=CALLS)
    first = {"role": "assistant", "content": "Let me look."}
    calls = [
        {
            "type": "function_call",
            "call_id": f"c{n}",
            "name": "look_up",
            "arguments": f'{{"word":"{w}"}}',
        }
        for n, w in enumerate("ab")
    ]
    assert to_items([stored(from_langchain(answer))]) == [first, *calls]
    blocks = [
        TextBlock(text="Let me look."),
        *[
            ToolCallBlock(tool_call_id=c["id"], tool_name=c["name"], tool_kwargs=c["args"])
            for c in CALLS
        ],
    ]
    written = from_llama_index(ChatMessage(role="assistant", blocks=blocks))
    assert to_items([stored(written)]) == [first, *calls]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "base64": "aGk=", "mime_type": "image/png"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a"}},
            {"type": "input_image", "image_url": "https://example.com/a", "detail": "auto"},
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
            },
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        ),
        (
            {
                "type": "file",
                "base64": "aGk=",
                "mime_type": "application/pdf",
                "extras": {"filename": "a.pdf"},
            },
            {
                "type": "input_file",
                "file_data": "data:application/pdf;base64,aGk=",
                "filename": "a.pdf",
            },
        ),
        (
            {"type": "audio", "base64": "aGk=", "mime_type": "audio/mpeg"},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        ),
        ({"type": "video", "url": "s3://a"}, {"type": "input_text", "text": "[video]"}),
    ],
)
def test_what_a_user_showed_is_shown_to_the_agents_sdk(block, part):
    [item] = to_items([stored(from_langchain(HumanMessage([block])))])
    assert item == {"role": "user", "content": [part]}


# -- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["Hello!", {"role": "user", "content": "x"}, [7], None])
def test_what_is_no_list_of_items_is_refused(given):
    with pytest.raises(InvalidMessageError, match=r"must be a (dict|list)"):
        to_session_messages(given)


@pytest.mark.parametrize("damage", [7, {"items": 7}, {"items": [{"as": "nothing"}]}, {}])
def test_damage_is_told_without_quoting_it(damage):
    message = SessionMessage("assistant", "secret", id="m1", extra={"openai_agents": damage})
    with pytest.raises(CorruptMessageError, match="'m1'") as error:
        to_items([message])
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_what_is_no_message_is_refused():
    with pytest.raises(InvalidMessageError, match="must be a SessionMessage"):
        to_items(["secret"])
