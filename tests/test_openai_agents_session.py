"""The Agents SDK's session on every kind of store: what its own do, and what ours promise."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from itertools import chain
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, RunState, SessionSettings, function_tool
from agents.memory import Session
from agents.testing import ScriptedModel, assistant_message, function_call
from agents_sdk import called, given, run, said, thought
from faults import FaultyStore
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index_stores import KINDS, Counting, Loop, opened

from langchain_sessionstore import SessionChatMessageHistory
from openai_agents_sessionstore import SessionStoreSession
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionAccessError,
    StoreUnavailableError,
)
from sessionstore.operations import Get
from sessionstore.wrapper import WrapperSessionStore


@pytest.fixture(params=KINDS)
def store(request):
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def wait():
    loop = Loop()
    yield loop
    loop.close()


def asked(n):
    return {"role": "user", "content": f"Question {n}"}


TURN = [
    asked(1),
    thought("Hm."),
    said("Let me look."),
    called("c1", word="a"),
    called("c2", word="b"),
    given("c1", "one"),
    given("c2", [{"type": "input_text", "text": "two"}]),
    said("Done.", "msg_2"),
]


def in_any_order(items):
    return sorted(json.dumps(item, sort_keys=True) for item in items)


# -- The four methods -----------------------------------------------------------------------------


def test_items_are_added_read_taken_out_and_cleared(store, wait):
    session = SessionStoreSession("s", store, user_id="alice")
    assert isinstance(session, Session)
    assert wait(session.get_items()) == []
    assert wait(session.pop_item()) is None
    wait(session.clear_session())
    wait(session.add_items([]))
    assert store.get("s") is None
    before = deepcopy(TURN)
    wait(session.add_items(TURN[:1]))
    wait(session.add_items(TURN[1:]))
    assert wait(session.get_items()) == TURN == before
    for limit in range(len(TURN) + 2):
        assert wait(session.get_items(limit)) == TURN[len(TURN) - min(limit, len(TURN)) :]
    assert wait(session.get_items(-1)) == []
    popped = [wait(session.pop_item()) for _ in TURN]
    assert popped == TURN[::-1]
    assert wait(session.pop_item()) is None
    wait(session.add_items(TURN))
    store.update("s", metadata={"summary": {"text": "They met.", "until": "m"}, "title": "A talk"})
    wait(session.clear_session())
    assert wait(session.get_items()) == []
    assert (store.get("s").user_id, store.get("s").metadata) == ("alice", {"title": "A talk"})
    with pytest.raises(SessionAccessError):
        wait(SessionStoreSession("s", store, user_id="bob").add_items(TURN))


def test_what_is_taken_out_can_be_added_again(store, wait):
    session = SessionStoreSession("s", store)
    wait(session.add_items(TURN[:5]))
    message = store.get_messages("s")[-1]
    taken = [wait(session.pop_item()) for _ in range(2)]
    assert wait(session.get_items()) == TURN[:3]
    assert [message.id] == [each.id for each in store.get_messages("s")[1:]]
    assert store.get_messages("s")[-1].created_at == message.created_at
    wait(session.add_items(taken[::-1]))
    assert wait(session.get_items()) == TURN[:5]


def test_each_item_is_taken_out_by_one_caller(store, wait):
    items = [asked(0), *TURN[1:5], *[asked(n) for n in range(3)], *TURN[1:5]]

    async def pop_all(session):
        taken = []
        while (item := await session.pop_item()) is not None:
            taken.append(item)
        return taken

    async def race():
        sessions = [SessionStoreSession("s", store) for _ in range(4)]
        await sessions[0].add_items(items)
        return chain(*await asyncio.gather(*map(pop_all, sessions)))

    assert in_any_order(wait(race())) == in_any_order(items)


def test_an_item_that_another_adds_meanwhile_is_not_passed_over(wait):
    primary = FaultyStore(InMemorySessionStore())
    session = SessionStoreSession("s", primary)
    wait(session.add_items(TURN[:5]))
    primary.afterwards = lambda: primary.inner.append_message(
        "s", {"role": "user", "content": "Wait!"}
    )
    assert wait(session.pop_item()) == {"role": "user", "content": "Wait!"}
    assert wait(session.get_items()) == TURN[:5]


def test_a_step_is_one_round_trip_and_reads_what_is_asked_for(wait):
    store = Counting()
    session = SessionStoreSession("s", store)
    wait(session.add_items([asked(n) for n in range(100)]))
    assert store.requests == ["append"]
    store.forget()
    wait(session.get_items(limit=3))
    assert (store.requests, store.handed) == (["get_messages"], 3)


# -- Another framework's messages -----------------------------------------------------------------

CALLS = [{"name": "look_up", "args": {"word": w}, "id": f"c{n}"} for n, w in enumerate("ab")]


def test_a_message_of_several_items_goes_one_by_one(store, wait):
    SessionChatMessageHistory("s", store).add_messages(
        [HumanMessage("Look!"), AIMessage("Let me look.", id="m1", tool_calls=CALLS)]
    )
    session = SessionStoreSession("s", store)
    items = wait(session.get_items())
    assert [item.get("call_id") for item in items] == [None, None, "c0", "c1"]
    assert wait(session.get_items(limit=1)) == items[-1:]
    assert [wait(session.pop_item()) for _ in "ab"] == items[:1:-1]
    assert SessionChatMessageHistory("s", store).messages[1].text == "Let me look."
    assert SessionChatMessageHistory("s", store).messages[1].id == "m1"
    assert wait(session.pop_item()) == {"role": "assistant", "content": "Let me look."}
    assert wait(session.get_items()) == [{"role": "user", "content": "Look!"}]


# -- Runs of the SDK ------------------------------------------------------------------------------


@function_tool(needs_approval=True)
def act(word: str) -> str:
    """Act on a word."""
    return f"{word} is done"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_approval_is_waited_for_and_resumed(wait, streamed):
    calls = [function_call("act", {"word": w}, call_id=f"c-{w}", item_id=f"fc-{w}") for w in "ab"]
    model = ScriptedModel([[assistant_message("May I?"), *calls], [assistant_message("Done.")]])
    agent = Agent("agent", model=model, tools=[act])
    store = InMemorySessionStore()
    config = RunConfig(tracing_disabled=True)

    async def go_on(given):
        session = SessionStoreSession("s", store)
        if not streamed:
            return await Runner.run(agent, given, session=session, run_config=config)
        result = Runner.run_streamed(agent, given, session=session, run_config=config)
        async for _ in result.stream_events():
            pass
        return result

    async def talk():
        state = await RunState.from_json(agent, (await go_on("Act!")).to_state().to_json())
        for interruption in state.get_interruptions():
            state.approve(interruption)
        return await go_on(state)

    assert wait(talk()).final_output == "Done."
    log = store.get_messages("s")
    assert [(m.role, len(m.tool_calls)) for m in log] == [
        *[("user", 0), ("assistant", 2), ("tool", 0), ("tool", 0), ("assistant", 0)]
    ]
    assert [message.content for message in log[2:4]] == ["a is done", "b is done"]


def test_runs_remember(store, wait):
    async def talk():
        session = SessionStoreSession("s", store, user_id="alice")
        await run(session, "I am Alice.", ["Hello, Alice!"])
        line = [{"reasoning": "Hm."}, "Let me look.", ("look_up", {"word": "a"}, "c1")]
        first, script = await run(session, "Look a up!", line, ["It is a letter."])
        again, last = await run(session, "Who am I?", ["Alice."])
        return await session.get_items(), first, script, again, last

    items, first, script, again, last = wait(talk())
    assert [item.get("type", item.get("role")) for item in items] == [
        *["user", "message"],
        *["user", "reasoning", "message", "function_call", "function_call_output", "message"],
        *["user", "message"],
    ]
    assert items == again.to_input_list()
    assert items[2:8] == first.to_input_list()[2:]
    assert script.given[1] == items[:7]
    assert last.given == [items[:9]]
    assert [message.role for message in store.get_messages("s", user_id="alice")] == [
        *["user", "assistant", "user", "assistant", "tool", "assistant", "user", "assistant"]
    ]


def test_a_model_that_gives_each_answer_one_id_loses_none(store, wait):
    async def talk():
        session = SessionStoreSession("s", store)
        for _ in range(3):
            await run(session, "Again!", ["The same."])
        return await session.get_items()

    answers = [item for item in wait(talk()) if item.get("type") == "message"]
    assert [item["id"] for item in answers] == ["msg_1_0"] * 3


def test_a_limit_is_the_sdks(wait):
    store = InMemorySessionStore()
    settings = SessionStoreSession("s", store, session_settings={"limit": 2})
    assert settings.session_settings == SessionSettings(limit=2)
    wait(settings.add_items([asked(n) for n in range(5)]))
    assert wait(settings.get_items()) == [asked(3), asked(4)]
    assert wait(settings.get_items(limit=1)) == [asked(4)]
    _, script = wait(run(settings, "And?", ["So."]))
    assert script.given == [[asked(3), asked(4), {"role": "user", "content": "And?"}]]
    assert wait(settings.get_items(-1)) == []
    with pytest.raises(InvalidTypeError, match=r"^limit must be a whole number"):
        wait(settings.get_items("3"))


def test_another_users_session_stops_a_run_before_the_model_is_asked(store, wait):
    store.append_message("s", {"role": "user", "content": "secret"}, user_id="alice")
    with pytest.raises(SessionAccessError):
        wait(run(SessionStoreSession("s", store, user_id="bob"), "Hello!"))
    assert len(store.get_messages("s")) == 1


# -- In an outage ---------------------------------------------------------------------------------


def test_a_run_goes_on_in_an_outage_and_all_is_replayed(wait):
    primary = FaultyStore(InMemorySessionStore())
    with FallbackSessionStore(primary, retry_after=60, retry_cap=60) as store:
        session = SessionStoreSession("s", store)
        wait(run(session, "I am Alice.", ["Hello!"]))
        primary.go_down()
        line = ["Let me look.", ("look_up", {"word": "a"}, "c1"), ("look_up", {"word": "b"}, "c2")]
        result, _ = wait(run(session, "Look!", line, ["Done."]))
        items = wait(session.get_items())
        assert items == result.to_input_list()
        taken = [wait(session.pop_item()) for _ in range(4)]
        assert taken == items[:-5:-1]
        assert wait(session.get_items()) == items[:-4]
        primary.come_back()
        assert store.recover()
        assert store.rejected() == []
    assert wait(SessionStoreSession("s", primary.inner).get_items()) == items[:-4]


class Raced(WrapperSessionStore):
    """A store of which somebody else takes an item between a read and what follows it."""

    other: Any = None

    async def arun(self, operation):
        result = await super().arun(operation)
        if type(operation) is Get and self.other:
            pop, self.other = self.other, None
            self.taken = await pop()
        return result


@pytest.mark.parametrize("outage", ["none", "of what was added", "of what was read"])
@pytest.mark.parametrize("size", [2, 5])
def test_who_was_slower_takes_the_next_item(wait, outage, size):
    primary = FaultyStore(InMemorySessionStore())
    with FallbackSessionStore(primary, retry_after=60, retry_cap=60) as store:
        raced = Raced(store)
        raced.other = SessionStoreSession("s", store).pop_item
        session = SessionStoreSession("s", raced)
        items = TURN[-2:] if size == 2 else TURN[:5]
        wait(session.add_items(items))
        if outage == "of what was read":  # then it is known that it is all there is
            wait(session.get_items())
        if outage != "none":
            primary.go_down()
        assert [wait(session.pop_item()), raced.taken] == items[-2:]
        assert wait(session.get_items()) == items[:-2]
        primary.come_back()
        assert store.recover()
        assert store.rejected() == []
    assert wait(SessionStoreSession("s", primary.inner).get_items()) == items[:-2]


# -- What is refused ------------------------------------------------------------------------------


def test_errors_are_ours_and_come_before_anything_is_written(wait):
    store = InMemorySessionStore()
    with pytest.raises(TypeError, match="store must be a SessionStore"):
        SessionStoreSession("s", "redis://localhost")
    with pytest.raises(InvalidSessionError):
        SessionStoreSession("", store)
    with pytest.raises(TypeError, match="session_settings must be SessionSettings, not int"):
        SessionStoreSession("s", store, session_settings=3)
    with pytest.raises(TypeError, match=r"a key that is none of: .*limit"):
        SessionStoreSession("s", store, session_settings={"limt": 2})
    session = SessionStoreSession("s", store)
    for wrong in ("Hello!", [asked(1), 7], [asked(1), {**asked(2), "id": object()}]):
        with pytest.raises(InvalidMessageError):
            wait(session.add_items(wrong))
    assert store.get("s") is None
    primary = FaultyStore(store)
    primary.go_down()
    with pytest.raises(StoreUnavailableError):
        wait(run(SessionStoreSession("s", primary), "Hello!"))
    assert repr(session) == "SessionStoreSession('s', InMemorySessionStore(<0 sessions>))"


def test_a_notebook_shows_the_session(wait):
    store = InMemorySessionStore()
    session = SessionStoreSession("s", store)
    wait(session.add_items(TURN))
    assert "Let me look." in session._repr_html_()


def test_langchain_can_be_asked_what_the_sdk_left(wait):
    store = InMemorySessionStore()
    wait(SessionStoreSession("s", store).add_items(TURN))
    messages = SessionChatMessageHistory("s", store).messages
    assert [type(message) for message in messages] == [
        *[HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage]
    ]
