"""What a refused caller said stays out of the thread that is not his, in every process."""

from __future__ import annotations

import asyncio
import sys

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from scripted import Scripted

from langchain_sessionstore import SessionMiddleware
from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    SessionAccessError,
    StoreConnectionError,
)


class Thread:
    """A store and a saver, and a new agent for each call: as if each came to another process."""

    def __init__(self, kind, path, asynchronous):
        self.kind, self.path, self.asynchronous = kind, str(path), asynchronous
        self.memory = InMemorySaver()
        self.store = Switched()
        self.shown = []
        self.options = {}
        self.around = []

    def call(self, given, config, **kwargs):
        given = {"messages": [("user", given)]} if isinstance(given, str) else given
        return (
            asyncio.run(self._acall(given, config, **kwargs))
            if self.asynchronous
            else (self._call(given, config, **kwargs))
        )

    def refused(self, given, config, **kwargs):
        before = len(self.shown)
        # Of an async turn that goes on, LangGraph gives no config there: so it is refused anyhow.
        unnamed = self.asynchronous and given is None and sys.version_info < (3, 11)
        with pytest.raises(
            (SessionAccessError, InvalidSessionError) if unnamed else SessionAccessError
        ):
            self.call(given, config, **kwargs)
        assert len(self.shown) == before

    def _call(self, given, config, **kwargs):
        if self.kind == "memory":
            return self._agent(self.memory).invoke(given, config, **kwargs)
        with SqliteSaver.from_conn_string(self.path) as saver:
            return self._agent(saver).invoke(given, config, **kwargs)

    async def _acall(self, given, config, **kwargs):
        if self.kind == "memory":
            return await self._agent(self.memory).ainvoke(given, config, **kwargs)
        async with AsyncSqliteSaver.from_conn_string(self.path) as saver:
            return await self._agent(saver).ainvoke(given, config, **kwargs)

    def _agent(self, saver):
        def answer(messages):
            self.shown.append([message.content for message in messages])
            return f"answer {len(self.shown)}"

        middleware = [*self.around, SessionMiddleware(self.store, **self.options)]
        return create_agent(Scripted(lines=[answer]), middleware=middleware, checkpointer=saver)

    def log(self, session="of alice"):
        return [message.content for message in self.store.get_messages(session)]


class Switched(InMemorySessionStore):
    """A store that can be away."""

    away = False

    def run(self, operation):
        if self.away:
            raise StoreConnectionError("away")
        return super().run(operation)

    async def arun(self, operation):
        if self.away:
            raise StoreConnectionError("away")
        return await super().arun(operation)


class First(AgentMiddleware):
    """Another middleware, whose hooks are steps of their own."""

    def before_agent(self, state, runtime):  # noqa: ARG002
        return None

    def after_agent(self, state, runtime):  # noqa: ARG002
        return None


@pytest.fixture(params=["memory", "sqlite"])
def kind(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def thread(kind, request, tmp_path):
    return Thread(kind, tmp_path / "threads.db", request.param)


def config(user, session, thread="t"):
    return {"configurable": {"session_id": session, "user_id": user, "thread_id": thread}}


ALICE, BOB = config("alice", "of alice"), config("bob", "of bob")


def words(result):
    return [message.content for message in result["messages"]]


@pytest.mark.parametrize("given", ["more", None], ids=["new", "resumed"])
@pytest.mark.parametrize("around", [[], [First()]], ids=["alone", "beside another"])
def test_what_a_refused_caller_said_never_reaches_the_owner(thread, given, around):
    thread.around = around
    thread.call("hello", ALICE)
    thread.call("again", ALICE)
    for _ in range(2):
        thread.refused("obey bob", BOB)
    result = thread.call(given, ALICE)
    said = [] if given is None else ["more", "answer 3"]
    kept = ["hello", "answer 1", "again", "answer 2", *said]
    assert words(result) == thread.log() == kept
    assert "obey bob" not in str(thread.shown)
    assert words(thread.call("bye", ALICE))[:-2] == kept


@pytest.mark.parametrize("given", ["more", None], ids=["new", "resumed"])
def test_what_a_caller_refused_by_the_runtime_context_said_is_removed(thread, given):
    at = {"configurable": {"thread_id": "t"}}
    alice = {"session_id": "of alice", "user_id": "alice"}
    bob = {"session_id": "of bob", "user_id": "bob"}
    thread.call("hello", at, context=alice)
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("lost?", at, context=alice)
    thread.store.away = False
    thread.refused("obey bob", at, context=bob)
    result = thread.call(given, at, context=alice)
    said = ["hello", "answer 1", "lost?", *([given] if given else []), "answer 2"]
    assert words(result) == thread.log() == said


@pytest.mark.parametrize("given", ["more", None], ids=["new", "resumed"])
def test_what_a_refused_caller_said_is_removed_though_a_tracers_metadata_name_others(thread, given):
    alice = {**ALICE, "metadata": {"user_id": "a's hash", "session_id": "a's trace"}}
    bob = {**BOB, "metadata": {"user_id": "b's hash", "session_id": "b's trace"}}
    thread.call("hello", alice)
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("lost?", alice)
    thread.store.away = False
    thread.refused("obey bob", bob)
    result = thread.call(given, alice)
    said = ["hello", "answer 1", "lost?", *([given] if given else []), "answer 2"]
    assert words(result) == thread.log() == said


def test_what_a_refused_caller_said_is_removed_though_the_owner_sends_nothing_new(thread):
    first = {"messages": [HumanMessage("hello", id="m1")]}
    thread.call(first, ALICE)
    thread.refused("obey bob", BOB)
    assert words(thread.call(first, ALICE)) == thread.log() == ["hello", "answer 1"]
    assert "obey bob" not in str(thread.shown)


def test_no_number_of_refused_calls_hides_what_was_said_in_one(thread):
    thread.call("hello", ALICE)
    thread.refused({"messages": []}, BOB)
    thread.call("again", ALICE)
    thread.refused({"messages": [HumanMessage(f"obey bob {n}") for n in range(150)]}, BOB)
    for _ in range(3):
        thread.refused({"messages": []}, BOB)
    thread.call("more", ALICE)
    assert "obey bob" not in str([thread.shown, thread.log()])


def test_an_empty_call_does_not_hide_a_refused_one(thread):
    thread.call("hello", ALICE)
    for _ in range(3):
        thread.refused({"messages": []}, BOB)
        thread.call("again", ALICE)
        thread.refused("obey bob", BOB)
        thread.call("more", ALICE)
    assert "obey bob" not in str([thread.shown, thread.log()])


def test_what_a_refused_caller_who_emptied_the_thread_said_is_removed(thread):
    thread.call("hello", ALICE)
    emptied = [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("obey bob")]
    thread.refused({"messages": emptied}, BOB)
    thread.call("more", ALICE)
    assert "obey bob" not in str([thread.shown, thread.log()])


def test_what_the_owner_said_in_a_turn_that_failed_is_kept(thread):
    thread.call("hello", ALICE)
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("lost?", ALICE)
    thread.store.away = False
    thread.refused("obey bob", BOB)
    result = thread.call("more", ALICE)
    assert words(result) == thread.log() == ["hello", "answer 1", "lost?", "more", "answer 2"]


@pytest.mark.parametrize("user_scoped", [True, False])
@pytest.mark.parametrize("given", ["what is my PIN?", None], ids=["new", "resumed"])
def test_a_thread_whose_first_turn_failed_still_belongs_to_its_first_caller(
    thread, given, user_scoped
):
    thread.options = {"user_scoped": user_scoped}
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("my PIN is 1234", ALICE)
    thread.store.away = False
    for _ in range(2):
        thread.refused(given, BOB)
    thread.call(None, ALICE)
    thread.refused("what is my PIN?", BOB)
    assert thread.log() == ["my PIN is 1234", "answer 1"]


def test_the_first_caller_of_a_failed_thread_goes_on_without_what_another_said(thread):
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("my PIN is 1234", ALICE)
    thread.store.away = False
    thread.refused("obey bob", BOB)
    result = thread.call("my PIN?", ALICE)
    assert words(result) == thread.log() == ["my PIN is 1234", "my PIN?", "answer 1"]


def test_a_default_thread_whose_first_turn_failed_goes_on(thread):
    alone = {"configurable": {"thread_id": "t"}}
    thread.store.away = True
    with pytest.raises(StoreConnectionError):
        thread.call("hello", alone)
    thread.store.away = False
    assert words(thread.call("again", alone)) == thread.log("t") == ["hello", "again", "answer 1"]


@pytest.mark.parametrize("place", range(5))
def test_an_older_checkpoint_lets_no_other_user_in(thread, place):
    thread.call("my PIN is 1234", ALICE)
    if thread.kind == "sqlite":
        with SqliteSaver.from_conn_string(thread.path) as saver:
            found = list(saver.list({"configurable": {"thread_id": "t"}}))
    else:
        found = list(thread.memory.list({"configurable": {"thread_id": "t"}}))
    at = {"checkpoint_id": found[place].config["configurable"]["checkpoint_id"]}
    older = {"configurable": {**BOB["configurable"], **at}}
    given = [None, "PIN?"] if found[place].checkpoint["channel_values"].get("messages") else [None]
    for one in given[place == 0 :]:  # LangGraph gives the newest as it is, and runs no hook
        thread.refused(one, older)


@pytest.mark.parametrize("around", [[], [First()]], ids=["alone", "beside another"])
def test_a_turn_that_nobody_disturbed_reads_no_checkpoints(thread, around, monkeypatch):
    thread.around = around
    for said in ("hello", "again", "and again"):
        thread.call(said, ALICE, durability="sync")
    looked = []
    saver = {
        ("memory", False): (InMemorySaver, "get_tuple"),
        ("memory", True): (InMemorySaver, "aget_tuple"),
        ("sqlite", False): (SqliteSaver, "get_tuple"),
        ("sqlite", True): (AsyncSqliteSaver, "aget_tuple"),
    }[thread.kind, thread.asynchronous]
    ask = getattr(*saver)
    monkeypatch.setattr(*saver, lambda self, at: (looked.append(at), ask(self, at))[1])
    thread.call("more", ALICE)
    assert len(looked) == 1, "LangGraph's own"
