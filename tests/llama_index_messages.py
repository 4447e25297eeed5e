"""What hypothesis makes for LlamaIndex: any message, of any role, of any blocks."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

HERE = Path(__file__)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=9)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["$bytes", "$$bytes"]), inner, max_size=3)
    ),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
data = st.binary(min_size=1, max_size=20) | st.just(PNG)
urls = st.sampled_from(
    ["https://example.com/a.png", "https://example.com", "data:image/png;base64,aGk=", "s3://b/k"]
)
# One of the ways in which a medium is given; a file must be there when a block is made.
media = st.one_of(
    st.tuples(st.just("bytes"), data),
    st.tuples(st.just("bytes"), st.builds(io.BytesIO, data)),
    st.tuples(st.just("path"), st.just(HERE)),
    st.tuples(st.just("url"), urls),
)


def _medium(cls, field, given, rest):
    kind, value = given
    return cls(**{field if kind == "bytes" else kind: value}, **rest)


def _media(cls, field, rest):
    return st.builds(_medium, st.just(cls), st.just(field), media, rest)


def _fields(**optional):
    return st.fixed_dictionaries({}, optional=optional)


text_blocks = st.builds(TextBlock, text=texts)
image_blocks = _media(
    ImageBlock,
    "image",
    _fields(image_mimetype=st.sampled_from(["image/png", "image/jpeg"]), detail=texts),
)
document_blocks = _media(
    DocumentBlock,
    "data",
    _fields(title=texts.filter(bool), document_mimetype=st.just("application/pdf")),
) | st.builds(DocumentBlock, path=st.just(str(HERE)))
blocks = st.one_of(
    text_blocks,
    image_blocks,
    _media(AudioBlock, "audio", _fields(format=st.sampled_from(["mp3", "wav", "pcm16"]))),
    _media(
        VideoBlock,
        "video",
        _fields(video_mimetype=st.just("video/mp4"), detail=texts, fps=st.integers(1, 60)),
    ),
    document_blocks,
    st.builds(CachePoint, cache_control=st.builds(CacheControl, type=texts, ttl=texts)),
    st.builds(
        CitableBlock,
        title=texts,
        source=texts,
        content=st.lists(text_blocks | image_blocks | document_blocks, max_size=2),
    ),
    st.builds(
        CitationBlock,
        cited_content=text_blocks | image_blocks,
        source=texts,
        title=texts,
        additional_location_info=st.dictionaries(texts, st.integers(0, 99), max_size=2),
    ),
    st.builds(
        ThinkingBlock,
        content=st.none() | texts,
        num_tokens=st.none() | st.integers(0, 99),
        additional_information=objects,
    ),
    st.builds(
        ToolCallBlock,
        tool_call_id=st.none() | texts,
        tool_name=texts,
        tool_kwargs=objects | texts,
    ),
)
any_message = st.builds(
    ChatMessage,
    role=st.sampled_from(list(MessageRole)),
    blocks=st.lists(blocks, max_size=4),
    additional_kwargs=st.dictionaries(
        texts | st.sampled_from(["name", "tool_call_id", "tool_calls"]), values, max_size=3
    ),
)
