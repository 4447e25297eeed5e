"""One session goes through every framework, with tools in each: nothing of it is lost or moved."""

from __future__ import annotations

import asyncio

import pytest
from agents_sdk import run as run_agents_sdk
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index_stores import KINDS, Loop, opened
from scripted import Scripted
from test_llama_index_chat_store import making_agents

from langchain_sessionstore import (
    SessionChatMessageHistory,
    SessionMiddleware,
    with_session_history,
)
from llama_index_sessionstore import SessionChatStore
from openai_agents_sessionstore import SessionStoreSession

ALICE = {"configurable": {"session_id": "s", "user_id": "alice"}}
WORDS = "Let me look."


@pytest.fixture(params=KINDS)
def store(request):
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def run():
    loop = Loop()
    yield loop
    loop.close()


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a letter"


def calls(framework):
    return [
        {"name": "look_up", "args": {"word": word}, "id": f"{framework}-{word}"} for word in "ab"
    ]


def results(framework):
    return [(call["id"], look_up(**call["args"])) for call in calls(framework)]


# -- A turn in each -------------------------------------------------------------------------------


async def in_a_chain_of_langchain(store):
    answer = [
        AIMessage(WORDS, tool_calls=calls("langchain")),
        *[ToolMessage(text, tool_call_id=call_id) for call_id, text in results("langchain")],
        AIMessage("Letters, says langchain."),
    ]
    chain = with_session_history(RunnableLambda(lambda _: answer), store)
    await chain.ainvoke("I am Alice. Look, langchain!", ALICE)


async def in_an_agent_of_llama_index(store):
    def answered(messages, **_):
        if messages[-1].role == "tool":
            return ChatMessage("Letters, says llama_index.", role="assistant")
        blocks = [
            ToolCallBlock(tool_call_id=call["id"], tool_name="look_up", tool_kwargs=call["args"])
            for call in calls("llama_index")
        ]
        return ChatMessage(role="assistant", blocks=[TextBlock(text=WORDS), *blocks])

    first_is_known = asyncio.Event()

    async def in_order(word: str) -> str:
        """Look a word up when the one before it is known: calls run beside each other there."""
        if word != "a":
            await first_is_known.wait()
        first_is_known.set()
        return look_up(word)

    tool = FunctionTool.from_defaults(async_fn=in_order, name="look_up")
    model = MockFunctionCallingLLM(response_generator=answered, is_chat_model=True)
    memory = ChatMemoryBuffer.from_defaults(
        chat_store=SessionChatStore(store, user_id="alice"), chat_store_key="s"
    )
    agent = FunctionAgent(llm=model, tools=[tool], streaming=False)
    await agent.run("Look, llama_index!", memory=memory)


async def in_the_agents_sdk(store):
    session = SessionStoreSession("s", store, user_id="alice")
    asked = [("look_up", call["args"], call["id"]) for call in calls("agents_sdk")]
    lines = [[{"reasoning": "Hm."}, WORDS, *asked], ["Letters, says agents_sdk."]]
    result, script = await run_agents_sdk(session, "Look, agents_sdk!", *lines)
    assert await session.get_items() == result.to_input_list()
    assert [len(given) for given in script.given] == [15, 21]


async def in_an_agent_of_langgraph(store):
    model = Scripted(
        lines=[AIMessage(WORDS, tool_calls=calls("langgraph")), "Letters, says langgraph."]
    )
    agent = create_agent(model, [look_up], middleware=[SessionMiddleware(store)])
    await agent.ainvoke({"messages": [("user", "Look, langgraph!")]}, ALICE)
    assert [len(messages) for messages in model.shown] == [16, 19]


FRAMEWORKS = {
    "langchain": in_a_chain_of_langchain,
    "llama_index": in_an_agent_of_llama_index,
    "agents_sdk": in_the_agents_sdk,
    "langgraph": in_an_agent_of_langgraph,
}


# -- What is there --------------------------------------------------------------------------------


def expected():
    for framework in FRAMEWORKS:
        greeting = "I am Alice. " if framework == "langchain" else ""
        yield ("user", f"{greeting}Look, {framework}!", [], None)
        yield ("assistant", WORDS, calls(framework), None)
        for call_id, text in results(framework):
            yield ("tool", text, [], call_id)
        yield ("assistant", f"Letters, says {framework}.", [], None)
    yield ("user", "Who am I?", [], None)
    yield ("assistant", "Alice.", [], None)


def said(content):
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block["type"] == "text")


def as_calls(tool_calls):
    return [{key: call[key] for key in ("name", "args", "id")} for call in tool_calls]


ROLES = {"human": "user", "ai": "assistant", "tool": "tool"}


def seen_by_langchain(messages):
    return [
        (
            ROLES[message.type],
            message.text,
            as_calls(getattr(message, "tool_calls", [])),
            getattr(message, "tool_call_id", None),
        )
        for message in messages
    ]


def seen_by_llama_index(messages):
    for message in messages:
        called = [
            {"name": block.tool_name, "args": block.tool_kwargs, "id": block.tool_call_id}
            for block in message.blocks
            if block.block_type == "tool_call"
        ]
        call_id = message.additional_kwargs.get("tool_call_id")
        yield (message.role.value, message.content or "", called, call_id)


@making_agents
def test_a_session_goes_through_every_framework(store, run):
    async def talk():
        for turn in FRAMEWORKS.values():
            await turn(store)
        model = Scripted(lines=["Alice."])
        await with_session_history(model, store).ainvoke("Who am I?", ALICE)
        return model.shown

    [shown] = run(talk())
    log = list(expected())
    stored = store.get_messages("s", user_id="alice")
    assert [(m.role, said(m.content), m.tool_calls, m.tool_call_id) for m in stored] == log
    assert len({message.id for message in stored}) == len(log)
    assert seen_by_langchain(shown) == log[:-1]
    history = SessionChatMessageHistory("s", store, user_id="alice")
    assert seen_by_langchain(history.messages) == log
    chat_store = SessionChatStore(store, user_id="alice")
    assert list(seen_by_llama_index(chat_store.get_messages("s"))) == log
    session = SessionStoreSession("s", store, user_id="alice")
    items = run(session.get_items())
    assert [item["call_id"] for item in items if item.get("type") == "function_call_output"] == [
        call["id"] for _, _, asked, _ in log for call in asked
    ]
    assert [item["type"] for item in items if item.get("type") == "reasoning"] == ["reasoning"]
    # To hand back what was read changes nothing.
    chat_store.set_messages("s", chat_store.get_messages("s"))
    history.add_messages(history.messages)
    assert store.get_messages("s", user_id="alice") == stored
    assert run(session.get_items()) == items
