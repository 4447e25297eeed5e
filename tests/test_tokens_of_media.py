"""What media cost in the default count of tokens: 85, however long they are."""

import base64
from typing import Any

import pytest

from sessionstore import SessionMessage, Window
from sessionstore.binary import tag_bytes
from sessionstore.window.tokens import approximate_tokens

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1200
B64 = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{B64}"
BLOCKS: dict[str, dict[str, Any]] = {
    "Google's media": {"type": "media", "mime_type": "image/png", "data": B64},
    "OpenAI's file": {"type": "input_file", "filename": "a.pdf", "file_data": URL},
    "OpenAI's generated image": {"type": "image_generation_call", "id": "i", "result": B64},
    "OpenAI's screenshot": {"type": "computer_screenshot", "image_url": URL},
    "a screenshot in its output": {
        "type": "computer_call_output",
        "call_id": "c",
        "output": {"type": "computer_screenshot", "image_url": URL},
    },
    "a video": {"type": "video_url", "video_url": {"url": URL.replace("image", "video")}},
    "a video elsewhere": {"type": "video_url", "video_url": {"url": "https://example.com/a"}},
    "an image": {"type": "image", "base64": B64, "mime_type": "image/png"},
    "an image of Anthropic's": {"type": "image", "source": {"type": "base64", "data": B64}},
    "an audio": {"type": "input_audio", "input_audio": {"data": B64, "format": "wav"}},
    "a document of Bedrock's": {"document": {"name": "a", "source": {"bytes": PNG}}},
    "an image in a tool's result": {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": [{"type": "image", "source": {"type": "base64", "data": B64}}],
    },
    "a resource in a tool's result": {"type": "resource", "resource": {"blob": B64}},
    "a signature": {"type": "thinking", "thinking": "Hm.", "signature": B64},
    "a block of a later day": {"type": "hologram", "layers": [{"of": URL}]},
    "base64 for addresses": {"type": "x", "x": base64.urlsafe_b64encode(PNG).decode()},
    "base64 in lines": {"type": "x", "x": base64.encodebytes(PNG).decode()},
    "an address that holds a text": {"type": "x", "url": "data:image/svg+xml,%3Csvg " + "a " * 999},
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_medium_costs_85_in_whatever_block_it_stands(block):
    message = tag_bytes(SessionMessage("user", [{"type": "text", "text": "x" * 40}, block]))
    assert 85 <= approximate_tokens([message]) - 3 - 10 <= 85 + 45


def test_each_medium_in_a_block_costs_85():
    ten = SessionMessage("user", [{"type": "hologram", "layers": [B64] * 10}])
    assert 850 <= approximate_tokens([ten]) <= 850 + 45


TEXTS = {
    "a text": {"type": "text", "text": B64[:4000]},
    "a tool's result": {"type": "tool_result", "content": B64[:4000]},
    "arguments": {"type": "tool_use", "input": {"x": B64[:4000]}},
    "OpenAI's arguments": {"type": "function_call", "arguments": B64[:4000]},
    "a function's output": {"type": "function_call_output", "call_id": "c", "output": B64[:4000]},
    "a word a line": {"type": "reasoning", "reasoning": "word\n" * 800},
    "words": {"type": "x", "x": "some words " * 364},
    "another alphabet": {"type": "x", "x": "ñ" * 4000},
    "words at the end": {"type": "x", "x": B64[:2000] + " and so on" * 200},
}


@pytest.mark.parametrize("block", TEXTS.values(), ids=TEXTS)
def test_a_text_that_a_model_reads_costs_as_text(block):
    assert approximate_tokens([SessionMessage("user", [block])]) > 1000


def test_a_short_text_costs_as_text():
    block = {"type": "x", "x": B64[:340]}
    assert approximate_tokens([SessionMessage("user", [block])]) == 3 + len(str(block)) // 4


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_medium_hides_nothing_that_came_before(block):
    log = [
        SessionMessage("user", "My name is Alice."),
        SessionMessage("assistant", "Hello, Alice!"),
        tag_bytes(SessionMessage("user", [block])),
        SessionMessage("assistant", "I see."),
    ]
    assert Window(max_tokens=1000).view(log) == log
