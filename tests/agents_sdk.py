"""The OpenAI Agents SDK in tests: its items, and a model with a script. Nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from hypothesis import strategies as st
from langchain_messages import objects, texts, values
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)

# -- Items ----------------------------------------------------------------------------------------


def said(text: str, id: str = "msg_1") -> dict[str, Any]:
    """Give what a response holds of a model's text."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def called(call_id: str, name: str = "look_up", **args: Any) -> dict[str, Any]:
    arguments = json.dumps(args)
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def given(call_id: str, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def thought(*summary: str, id: str = "rs_1") -> dict[str, Any]:
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": id, "type": "reasoning", "summary": parts, "encrypted_content": "gAAA="}


_more = st.dictionaries(
    st.sampled_from(["id", "status", "phase", "namespace", "provider_data", "caller"]),
    values,
    max_size=2,
)
_input_part = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, texts),
    st.builds(
        lambda url, more: {"type": "input_image", "image_url": url, **more},
        st.sampled_from(["https://example.com/a", "data:image/png;base64,aGk=", "data:,x"]),
        st.sampled_from([{"detail": "auto"}, {"detail": "low"}, {}]),
    ),
    st.sampled_from(
        [
            {"type": "input_image", "file_id": "file-1", "detail": "auto"},
            {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a"},
            {"type": "input_file", "file_data": "aGk="},
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            {"type": "input_file", "file_id": "file-1", "filename": "a"},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            {"type": "input_audio", "input_audio": None},
        ]
    ),
    st.builds(lambda more: {**more, "type": "a_future_one"}, objects),
)
_output_part = st.one_of(
    st.builds(
        lambda text, more: {"type": "output_text", "text": text, **more},
        texts,
        st.sampled_from([{"annotations": []}, {"annotations": [], "logprobs": []}, {}])
        | st.builds(lambda it: {"annotations": [it]}, objects),
    ),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, texts),
)
_text_parts = st.lists(st.builds(lambda text: {"type": "summary_text", "text": text}, texts))
_arguments = texts | st.builds(
    json.dumps,
    values.filter(lambda it: "b'" not in repr(it)).filter(lambda it: 'b"' not in repr(it)),
)
_items = st.one_of(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system", "developer", "ai", "critic"]),
        texts | st.lists(_input_part, max_size=3) | values,
    ),
    st.builds(
        lambda content: {"type": "message", "role": "assistant", "content": content},
        st.lists(_output_part, max_size=3),
    ),
    st.builds(lambda summary: {"type": "reasoning", "summary": summary}, _text_parts | values),
    st.builds(
        lambda texts, more: {"type": "reasoning", "content": texts, **more},
        _text_parts,
        st.sampled_from([{"summary": []}, {}]),
    ),
    st.builds(
        lambda kind, name, given: {"type": kind, "call_id": "c", "name": name, **given},
        st.sampled_from(["function_call", "custom_tool_call"]),
        texts | st.none(),
        st.builds(lambda it: {"arguments": it, "input": it}, _arguments | values),
    ),
    st.builds(
        lambda kind, call_id, given: {"type": kind, "call_id": call_id, **given},
        st.sampled_from(["shell_call", "computer_call", "apply_patch_call", "web_search_call"]),
        texts | st.none(),
        st.builds(lambda it: {"action": it, "operation": it}, objects | values),
    ),
    st.builds(
        lambda kind, call_id, output: {"type": kind, "call_id": call_id, "output": output},
        st.sampled_from(["function_call_output", "shell_call_output", "program_output"]),
        texts | st.none(),
        texts | st.lists(_input_part, max_size=3) | values,
    ),
    objects,
)
items = st.lists(st.builds(lambda item, more: {**more, **item}, _items, _more), max_size=6)


# -- A model and its runs -------------------------------------------------------------------------


class Script(Model):
    """Says its lines, one a call, and writes down what it was given.

    A line is a list: a text, calls as ``(name, args, id)``, and reasoning as ``{"reasoning": …}``.
    """

    def __init__(self, *lines: Sequence[Any]) -> None:
        self.lines = list(lines)
        self.given: list[list[Any]] = []

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:  # noqa: ARG002
        require_acceptable(input)
        self.given.append(input)
        turn = len(self.given)
        output = [_said(line, f"{turn}_{n}") for n, line in enumerate(self.lines[turn - 1])]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def _said(line: Any, place: str) -> Any:
    if isinstance(line, str):
        part = ResponseOutputText(text=line, type="output_text", annotations=[], logprobs=[])
        return ResponseOutputMessage(
            id=f"msg_{place}", content=[part], role="assistant", status="completed", type="message"
        )
    if isinstance(line, dict):
        summary = [{"type": "summary_text", "text": line["reasoning"]}]
        return ResponseReasoningItem.model_validate(
            {"id": f"rs_{place}", "summary": summary, "type": "reasoning"}
        )
    name, args, call_id = line
    return ResponseFunctionToolCall(
        id=f"fc_{place}",
        call_id=call_id,
        name=name,
        arguments=json.dumps(args),
        type="function_call",
        status="completed",
    )


def require_acceptable(input: Sequence[Any]) -> None:
    """Raise where OpenAI would: a call without its result, a result without its call."""
    calls = [item["call_id"] for item in input if item.get("type") == "function_call"]
    results = [item["call_id"] for item in input if item.get("type") == "function_call_output"]
    assert len(set(calls)) == len(calls)
    assert sorted(calls) == sorted(results)
    waiting: set[str] = set()
    for item in input:
        kind = item.get("type", "message")
        assert kind in {"message", "reasoning", "function_call", "function_call_output"}
        if kind == "function_call":
            waiting.add(item["call_id"])
        elif kind == "function_call_output":
            waiting.remove(item["call_id"])
        else:
            assert not waiting, "a call without its result"


@function_tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a letter"


async def run(session: Any, text: str, *lines: Sequence[Any]) -> tuple[Any, Script]:
    """Have an agent answer, by the SDK's own runner."""
    script = Script(*lines)
    agent = Agent("agent", model=script, tools=[look_up])
    config = RunConfig(tracing_disabled=True)
    return await Runner.run(agent, text, session=session, run_config=config), script
