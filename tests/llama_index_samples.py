"""A message of each kind that LlamaIndex has, for the tests of its stores' readers."""

from __future__ import annotations

from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

OPENAI_CALL = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES = [
    ChatMessage("Be brief.", role="system"),
    ChatMessage("What is this? 🐈", additional_kwargs={"name": "alice", "n": [1, None]}),
    ChatMessage(
        [
            TextBlock(text="Look:"),
            ImageBlock(image=b"\x89PNG", image_mimetype="image/png", detail="low"),
            ImageBlock(url="https://example.com/cat.png"),
            DocumentBlock(data=b"%PDF", title="cat.pdf", document_mimetype="application/pdf"),
            CachePoint(cache_control=CacheControl(type="ephemeral")),
        ]
    ),
    ChatMessage(
        [
            ThinkingBlock(content="Hm.", additional_information={"signature": "s"}, num_tokens=3),
            TextBlock(text="Let me look."),
            ToolCallBlock(tool_call_id="c1", tool_name="look", tool_kwargs={"at": [1, 2.5]}),
            ToolCallBlock(tool_name="odd", tool_kwargs="{no JSON"),
            ToolCallBlock(tool_call_id="c3", tool_name="none"),
        ],
        role="assistant",
    ),
    ChatMessage("A cat.", role="tool", additional_kwargs={"tool_call_id": "c1"}),
    ChatMessage(None, role="assistant", additional_kwargs={"tool_calls": [OPENAI_CALL]}),
    ChatMessage("old", role="chatbot"),
    ChatMessage(
        [
            CitableBlock(title="t", source="s", content=[TextBlock(text="cited")]),
            CitationBlock(
                cited_content=TextBlock(text="cited"),
                source="s",
                title="t",
                additional_location_info={"page": 1},
            ),
        ],
        role="assistant",
    ),
    ChatMessage("", role="assistant"),
    ChatMessage(None, role="assistant"),
]
