"""The chat model with a script, as the tests of applications use it."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_sessionstore import SessionMiddleware, SessionSaveError, with_session_history
from langchain_sessionstore.testing import ScriptedChatModel, call_tool
from sessionstore import InMemorySessionStore
from sessionstore.testing import FlakySessionStore

CONFIG: Any = {"configurable": {"session_id": "s"}}
MODES = ["invoke", "ainvoke", "stream", "astream"]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ask(model: Any, mode: str, given: Any, config: Any = None) -> Any:
    """Ask a model or chain in one of the ways there are; a stream is put together."""

    async def streamed() -> list[Any]:
        return [chunk async for chunk in model.astream(given, config)]

    if mode == "invoke":
        return model.invoke(given, config)
    if mode == "ainvoke":
        return asyncio.run(model.ainvoke(given, config))
    chunks = list(model.stream(given, config)) if mode == "stream" else asyncio.run(streamed())
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


@pytest.mark.parametrize("mode", MODES)
def test_it_says_its_lines_in_order_and_notes_what_it_was_shown(mode: str) -> None:
    model = ScriptedChatModel("Hello, Alice!", "Goodbye!")
    assert model.left == 2
    assert ask(model, mode, "My name is Alice.").text == "Hello, Alice!"
    assert ask(model, mode, [SystemMessage("Be brief."), HumanMessage("Bye.")]).text == "Goodbye!"
    assert model.left == 0
    assert [[m.text for m in shown] for shown in model.shown] == [
        ["My name is Alice."],
        ["Be brief.", "Bye."],
    ]


@pytest.mark.parametrize("mode", MODES)
def test_it_calls_tools(mode: str) -> None:
    model = ScriptedChatModel(
        call_tool("add", a=1, b=2),
        [call_tool("add", a=3, b=4), call_tool("add", a=5, b=6)],
        ["Let me see.", call_tool("add", a=7, b=8)],
        {"name": "add", "args": {}, "id": "mine"},
    )
    said = [ask(model, mode, "?") for _ in range(4)]
    assert [[(c["id"], c["args"]) for c in one.tool_calls] for one in said] == [
        [("call-1", {"a": 1, "b": 2})],
        [("call-2", {"a": 3, "b": 4}), ("call-3", {"a": 5, "b": 6})],
        [("call-4", {"a": 7, "b": 8})],
        [("mine", {})],
    ]
    assert [one.text for one in said] == ["", "", "Let me see.", ""]


@pytest.mark.parametrize("mode", MODES)
def test_it_raises_the_errors_of_its_script_and_goes_on(mode: str) -> None:
    error = TimeoutError("no answer")
    model = ScriptedChatModel(error, ValueError, ["Half of ", ConnectionError("gone")], "Back.")
    with pytest.raises(TimeoutError, match="no answer") as caught:
        ask(model, mode, "?")
    assert caught.value is error
    with pytest.raises(ValueError, match="script"):
        ask(model, mode, "?")
    with pytest.raises(ConnectionError, match="gone"):
        ask(model, mode, "?")
    assert ask(model, mode, "?").text == "Back."


def test_a_stream_comes_word_by_word_and_breaks_off_where_the_script_says() -> None:
    model = ScriptedChatModel("One two  three", ["Half ", "of it", ConnectionError("gone")])
    assert [c.text for c in model.stream("?") if c.text] == ["One", " two", " ", " three"]
    heard = []
    with pytest.raises(ConnectionError):
        heard.extend(model.stream("?"))
    assert "".join(chunk.text for chunk in heard) == "Half of it"


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_message_is_said_as_it_is(mode: str) -> None:
    said = AIMessage(
        "Two words.",
        id="a1",
        name="bot",
        tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"}],
        additional_kwargs={"k": 1},
        response_metadata={"model_name": "scripted"},
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )
    blocks = AIMessage([{"type": "text", "text": "In a block."}], id="a2")
    model = ScriptedChatModel(said, blocks)
    for line in (said, blocks):
        heard = ask(model, mode, "?")
        if isinstance(heard, AIMessageChunk):
            assert heard.text == line.text
        else:
            assert heard.content == line.content
        for field in ("id", "additional_kwargs", "usage_metadata", "response_metadata"):
            assert getattr(heard, field) == getattr(line, field), field
        assert heard.tool_calls == line.tool_calls
    heard.content.append("changed")
    assert len(blocks.content) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_function_makes_its_line_of_what_it_is_shown(mode: str) -> None:
    def echo(messages: list[Any]) -> Any:
        return [f"You said: {messages[-1].text}", call_tool("note")]

    said = ask(ScriptedChatModel(echo), mode, "Hi.")
    assert (said.text, said.tool_calls[0]["name"]) == ("You said: Hi.", "note")


def test_what_is_bound_to_it_is_what_a_real_model_would_be_asked_with() -> None:
    bound: Any = ScriptedChatModel("1").bind_tools([add], tool_choice="add", strict=True)
    assert (bound.kwargs["tool_choice"], bound.kwargs["strict"]) == ("add", True)
    assert bound.kwargs["tools"][0]["function"]["name"] == "add"


def test_one_call_too_many_says_so() -> None:
    model = ScriptedChatModel("Once.")
    model.invoke("?")
    with pytest.raises(AssertionError, match="the script has 1 line, and"):
        model.invoke("?")
    assert len(model.shown) == 2
    for one in (ScriptedChatModel(), ScriptedChatModel(cycle=True)):
        with pytest.raises(AssertionError, match="0 lines"):
            one.invoke("?")


def test_a_script_may_begin_again() -> None:
    model = ScriptedChatModel("tick", "tock", cycle=True)
    assert model.left == 0
    assert [model.invoke("?").text for _ in range(5)] == ["tick", "tock", "tick", "tock", "tick"]
    assert model.left == 0


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(TypeError, match="a line is a text"):
        ScriptedChatModel(7).invoke("?")  # type: ignore[arg-type]


def test_each_of_many_threads_hears_a_line_of_its_own() -> None:
    model = ScriptedChatModel(*map(str, range(200)))
    with ThreadPoolExecutor(8) as threads:
        heard = list(threads.map(lambda n: (n, model.invoke(f"ask {n}").text), range(200)))
    assert sorted(int(line) for _, line in heard) == list(range(200))
    for number, line in heard:
        assert model.shown[int(line)][0].text == f"ask {number}"


def test_what_was_shown_stays_as_it_was_then() -> None:
    model = ScriptedChatModel("Hi.")
    message = HumanMessage("Hello!")
    model.invoke([message])
    message.content = "changed"
    assert model.shown[0][0].text == "Hello!"


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_an_agent_calls_its_tools_and_remembers(mode: str) -> None:
    store = InMemorySessionStore()
    model = ScriptedChatModel(
        [call_tool("add", a=1, b=2), call_tool("add", a=3, b=4)], "3 and 7.", "You asked for sums."
    )
    agent = create_agent(model, [add], middleware=[SessionMiddleware(store)])
    ask(agent, mode, {"messages": [("user", "What are 1 + 2 and 3 + 4?")]}, CONFIG)
    told = ask(agent, mode, {"messages": [("user", "What did I ask?")]}, CONFIG)
    assert told["messages"][-1].text == "You asked for sums."
    assert model.tools_shown == [["add"]] * 3
    assert [m.type for m in model.shown[1]] == ["human", "ai", "tool", "tool"]
    assert [m.text for m in model.shown[1][2:]] == ["3", "7"]
    assert len(model.shown[2]) == 6
    assert model.left == 0


def test_an_agent_streams_it_word_by_word() -> None:
    agent = create_agent(ScriptedChatModel("One two three"))
    given: Any = {"messages": [("user", "Count.")]}
    chunks = [chunk.text for chunk, _ in agent.stream(given, stream_mode="messages")]  # type: ignore[union-attr,misc]
    assert [text for text in chunks if text] == ["One", " two", " three"]


def test_it_fills_structured_answers() -> None:
    class Person(BaseModel):
        name: str

    model = ScriptedChatModel(call_tool("Person", name="Alice"))
    assert model.with_structured_output(Person).invoke("Who?") == Person(name="Alice")
    assert model.tools_shown == [["Person"]]


@pytest.mark.parametrize("mode", MODES)
def test_with_a_store_that_fails_a_chain_says_what_was_answered(mode: str) -> None:
    store = FlakySessionStore()
    chain = with_session_history(ScriptedChatModel("Hello!", "Again."), store)
    store.fail_next(on="writes")
    with pytest.raises(SessionSaveError) as caught:
        ask(chain, mode, "Hi.", CONFIG)
    assert caught.value.answer.text == "Hello!"
    assert store.get_messages("s") == []
    assert ask(chain, mode, "Hi.", CONFIG).text == "Again."


def test_it_can_be_copied_and_shown() -> None:
    model = ScriptedChatModel("One.", "Two.")
    assert copy.deepcopy(model).invoke("?").text == "One."
    assert model.invoke("?").text == "One."


@pytest.mark.soak
def test_it_needs_langchain_core_alone() -> None:
    program = """
import sys
for name in ("langchain", "langgraph", "hypothesis", "pytest"):
    sys.modules[name] = None
from langchain_sessionstore.testing import ScriptedChatModel, call_tool
def add(a: int, b: int) -> int:
    "Add."
model = ScriptedChatModel(call_tool("add", a=1, b=2)).bind_tools([add])
assert model.invoke("?").tool_calls[0]["args"] == {"a": 1, "b": 2}
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
