"""Other middleware beside `SessionMiddleware`: the same final state with and without ours."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ContextEditingMiddleware,
    ModelRequest,
    ModelResponse,
    ModelRetryMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from scripted import Scripted, calls, counted, logged, watched

from langchain_sessionstore import SessionMiddleware
from sessionstore import InMemorySessionStore, InvalidSessionError, SessionMessage
from sessionstore.operations import Append, Get
from sessionstore.window import INTERRUPTED

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s"}}
FIRST = "Tool call add with id c-bad could not be executed - arguments were malformed or truncated."


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def run(request):
    def sync(agent, *messages):
        return agent.invoke({"messages": list(messages)}, CONFIG)

    def in_a_loop(agent, *messages):
        return asyncio.run(agent.ainvoke({"messages": list(messages)}, CONFIG))

    return sync if request.param == "sync" else in_a_loop


@pytest.fixture(params=["alone", "checkpointed"])
def saver_of(request):
    return (lambda: None) if request.param == "alone" else InMemorySaver


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


def said(messages):
    return [
        (m.type, m.content, getattr(m, "status", None), getattr(m, "tool_call_id", None))
        for m in messages
    ]


class InPlace(AgentMiddleware):
    """Changes a request's messages by a function; in the same list, or in one for the model."""

    def __init__(self, change, *, copied=False):
        super().__init__()
        self.change, self.copied = change, copied

    def changed(self, request):
        if self.copied:
            request = request.override(messages=list(request.messages))
        self.change(request.messages)
        return request

    def wrap_model_call(self, request, handler):
        return handler(self.changed(request))

    async def awrap_model_call(self, request, handler):
        return await handler(self.changed(request))


class Nothing(AgentMiddleware):
    """Does nothing, at all the places where ours does something."""

    def before_agent(self, *_):
        return None

    def wrap_model_call(self, request, handler):
        return handler(request)

    async def awrap_model_call(self, request, handler):
        return await handler(request)

    def wrap_tool_call(self, request, handler):
        return handler(request)

    async def awrap_tool_call(self, request, handler):
        return await handler(request)

    def after_agent(self, *_):
        return None


class Loose(Scripted):
    """Takes what real models would refuse."""

    def _next(self, messages):
        self._shown.append(list(messages))
        line = self.lines[len(self._shown) - 1]
        if isinstance(line, Exception):
            raise line
        return AIMessage(line) if isinstance(line, str) else line.model_copy(deep=True)


def append(messages):
    messages.append(HumanMessage("Be short."))


def append_dict(messages):
    messages.append({"role": "user", "content": "Be short."})


def insert(messages):
    messages.insert(0, HumanMessage("Be short."))


def replace(messages):
    messages[-1] = messages[-1].model_copy(update={"content": "Changed."})


def remove(messages):
    if len(messages) > 2:
        del messages[:-2]


places = pytest.mark.parametrize("place", ["before", "behind"])
LINES = (calls("add"), "two", calls("add", a=2), "three")
ONE_TURN = {"lines": LINES[:2], "questions": ["1 + 1?"]}


def both(store, run, *, saver, other, place, lines=LINES, questions=("1 + 1?", "2 + 1?")):
    """Run the same turns with ours and without, and give what both came to."""
    states, models = [], []
    for ours in (SessionMiddleware(store), Nothing()):
        middleware = [other(), ours] if place == "before" else [ours, other()]
        model = Loose(lines=list(lines))
        agent = create_agent(model, [add], middleware=middleware, checkpointer=saver())
        results = [run(agent, HumanMessage(text)) for text in questions]
        states.append([said(result["messages"]) for result in results])
        models.append(model.shown)
    return states, models


# -- In place --------------------------------------------------------------------------------------


@places
@pytest.mark.parametrize("change", [append, append_dict, insert, replace, remove])
def test_a_change_that_middleware_makes_in_place_is_in_state_and_log(store, run, place, change):
    states, models = both(
        store, run, saver=InMemorySaver, other=lambda: InPlace(change), place=place
    )
    assert states[0] == states[1]
    assert [said(shown) for shown in models[0]] == [said(shown) for shown in models[1]]
    log = said(logged(store))
    if change in (append, append_dict):
        assert log == states[0][-1], "the log mirrors the state, in its order"
    else:
        assert not Counter(log[-2:]) - Counter(states[0][-1])


@places
def test_a_change_in_place_is_logged_without_a_checkpointer_too(store, run, place):
    states, _ = both(
        store, run, saver=lambda: None, other=lambda: InPlace(append), place=place, **ONE_TURN
    )
    assert states[0] == states[1] == [said(logged(store))]
    assert [kind for kind, *_ in states[0][0]] == ["human", "human", "ai", "tool", "human", "ai"]


@places
@pytest.mark.parametrize("change", [append, append_dict])
def test_what_is_for_the_model_only_is_in_neither_state_nor_log(
    store, run, saver_of, place, change
):
    states, _ = both(
        store,
        run,
        saver=saver_of,
        other=lambda: InPlace(change, copied=True),
        place=place,
        **ONE_TURN,
    )
    assert states[0] == states[1] == [said(logged(store))]
    assert "Be short." not in [text for _, text, *_ in states[0][0]]


def test_messages_known_to_be_for_the_model_only_cost_no_write(store, run, monkeypatch):
    lines = [calls("add"), "two", calls("add"), "two"]
    middleware = [InPlace(append, copied=True), SessionMiddleware(store)]
    agent = create_agent(Scripted(lines=lines), [add], middleware=middleware)
    run(agent, HumanMessage("1 + 1?"))
    operations = watched(monkeypatch, type(store))
    run(agent, HumanMessage("1 + 1?"))
    asked = counted(operations)
    assert asked[Append] == 4
    assert set(asked) == {Append, Get}


@places
def test_a_message_that_middleware_inserts_again_and_again_is_logged_as_in_the_state(
    store, run, place
):
    reminder = HumanMessage("Be short.")
    states, _ = both(
        store,
        run,
        saver=InMemorySaver,
        other=lambda: InPlace(lambda messages: messages.append(reminder)),
        place=place,
    )
    assert states[0] == states[1]
    assert [text for _, text, *_ in said(logged(store))].count("three") == 1


@places
def test_the_log_equals_the_state_where_a_model_is_tried_again(store, run, place):
    lines = [RuntimeError("busy"), "hello"]
    states = []
    for ours in (SessionMiddleware(store), Nothing()):
        retry = ModelRetryMiddleware(initial_delay=0.0, jitter=False)
        middleware = [
            retry,
            *([InPlace(append), ours] if place == "before" else [ours, InPlace(append)]),
        ]
        agent = create_agent(
            Scripted(lines=lines), middleware=middleware, checkpointer=InMemorySaver()
        )
        states.append(said(run(agent, HumanMessage("hi"))["messages"]))
    assert states[0] == states[1] == said(logged(store))


def test_what_is_put_in_the_middle_at_a_later_step_stands_there_in_the_log(store, run):
    def insert(messages):
        if len(messages) > 1:
            messages.insert(1, HumanMessage("late"))

    agent = create_agent(
        Loose(lines=[calls("add"), "two"]),
        [add],
        middleware=[SessionMiddleware(store), InPlace(insert)],
    )
    result = run(agent, HumanMessage("1 + 1?"))
    assert [m.content for m in logged(store)] == [m.content for m in result["messages"]]
    assert [m.content for m in logged(store)] == ["1 + 1?", "late", "", "2", "two"]


@places
def test_a_change_in_place_is_logged_where_a_call_is_closed_for_the_model(store, run, place):
    """What we close is in neither state; what the other one says is."""
    states, models = [], []
    for ours in (SessionMiddleware(store), Nothing()):
        middleware = [InPlace(append), ours] if place == "before" else [ours, InPlace(append)]
        models.append(Loose(lines=["ok"]))
        agent = create_agent(models[-1], middleware=middleware, checkpointer=InMemorySaver())
        agent.update_state(CONFIG, {"messages": [HumanMessage("go"), calls("add")]})
        states.append(said(run(agent, HumanMessage("well?"))["messages"]))
    texts = [message.content for message in models[0].shown[0]]
    assert texts == ["go", "", INTERRUPTED, "well?", "Be short."]
    assert states[0] == states[1] == said(logged(store))


@places
def test_middleware_that_edits_copies_changes_neither_state_nor_log(store, run, saver_of, place):
    states, _ = both(
        store, run, saver=saver_of, other=ContextEditingMiddleware, place=place, **ONE_TURN
    )
    assert states[0] == states[1] == [said(logged(store))]


class Trims(AgentMiddleware):
    def before_model(self, state, runtime):  # noqa: ARG002
        kept = [m for m in state["messages"] if m.type == "human"][-1:]
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *kept]}


@places
def test_what_was_inserted_and_trimmed_again_stays_in_the_log(store, run, place):
    ours = SessionMiddleware(store)
    others = [InPlace(append), Trims()]
    middleware = [*others, ours] if place == "before" else [ours, *others]
    model = Scripted(lines=["one", "two"])
    agent = create_agent(model, middleware=middleware, checkpointer=InMemorySaver())
    for text in "12":
        run(agent, HumanMessage(text))
    words = [message.content for message in logged(store)]
    assert words == ["1", "Be short.", "one", "2", "Be short.", "two"]


class Says(AgentMiddleware):
    """Says something in front of each answer."""

    def said(self, response):
        return ModelResponse([HumanMessage("Think."), *response.result])

    def wrap_model_call(self, request, handler):
        return self.said(handler(request))

    async def awrap_model_call(self, request, handler):
        return self.said(await handler(request))


@places
@pytest.mark.parametrize("length", [0, 600])
def test_what_is_inserted_with_an_answer_stands_before_it(store, run, place, length):
    earlier = [SessionMessage("user", str(number)) for number in range(length)]
    store.append_messages("s", earlier)
    [ours], [plain] = both(store, run, saver=InMemorySaver, other=Says, place=place, **ONE_TURN)[0]
    assert ours[length:] == plain
    log = said(logged(store))[length:]
    if length and place == "before":  # its order is not worth writing all of it again
        assert Counter(log) == Counter(plain)
    else:
        assert log == plain


class Rewrites(AgentMiddleware):
    """Gives another message for each answer."""

    def other(self, response):
        answer = response.result[-1]
        changed = {"content": f"{answer.content}!", "id": None}
        return ModelResponse([answer.model_copy(update=changed)])

    def wrap_model_call(self, request, handler):
        return self.other(handler(request))

    async def awrap_model_call(self, request, handler):
        return self.other(await handler(request))


class AsksTwice(AgentMiddleware):
    """Does not take a model's first answer."""

    def wrap_model_call(self, request, handler):
        handler(request)
        return handler(request)

    async def awrap_model_call(self, request, handler):
        await handler(request)
        return await handler(request)


@places
@pytest.mark.parametrize("other", [Rewrites, AsksTwice])
def test_an_answer_that_did_not_get_into_the_state_is_not_in_the_log(
    store, run, saver_of, place, other
):
    lines = [line for line in LINES[:2] for _ in range(2 if other is AsksTwice else 1)]
    states, _ = both(
        store, run, saver=saver_of, other=other, place=place, lines=lines, questions=["1 + 1?"]
    )
    assert states[0] == states[1] == [said(logged(store))]


# -- Results of tools ------------------------------------------------------------------------------


def test_the_id_that_a_tool_gives_its_result_stays_in_the_state(store, run, saver_of):
    class Names(AgentMiddleware):
        def wrap_tool_call(self, request, handler):
            return handler(request).model_copy(update={"id": "own"})

        async def awrap_tool_call(self, request, handler):
            return (await handler(request)).model_copy(update={"id": "own"})

    states = []
    for ours in (SessionMiddleware(store), Nothing()):
        model = Scripted(lines=list(LINES))
        agent = create_agent(model, [add], middleware=[ours, Names()], checkpointer=saver_of())
        states.append(run(agent, HumanMessage("1 + 1?"))["messages"])
    assert [message.id for message in states[0] if message.type == "tool"] == ["own"]
    assert said(states[0]) == said(states[1]) == said(logged(store))


def test_calls_with_the_same_id_in_one_message_each_get_their_result(store, run, saver_of):
    twice = calls("add", "add")
    twice.tool_calls[1]["args"] = {"a": 5}
    states = []
    for ours in (SessionMiddleware(store), Nothing()):
        agent = create_agent(
            Loose(lines=[twice, "done"]), [add], middleware=[ours], checkpointer=saver_of()
        )
        states.append(said(run(agent, HumanMessage("go"))["messages"]))
    assert states[0] == states[1] == said(logged(store))
    assert [text for _, text, *_ in states[0]] == ["go", "", "2", "6", "done"]


# -- Calls that can't be run -----------------------------------------------------------------------


def invalid(*valid, content=""):
    call = {"name": "add", "args": '{"a": ', "id": "c-bad", "error": None}
    message = calls(*valid)
    message.content = content
    message.invalid_tool_calls = [{**call, "type": "invalid_tool_call"}]
    return message


def repaired(store, run, lines, *questions, beside=()):
    states = []
    for ours in (SessionMiddleware(store), Nothing()):
        agent = create_agent(
            Loose(lines=list(lines)),
            [add],
            middleware=[*beside, ours],
            checkpointer=InMemorySaver(),
        )
        results = [run(agent, HumanMessage(text)) for text in questions]
        states.append(said(results[-1]["messages"]))
    assert states[0] == states[1]
    return states[0]


def test_langchains_repair_stands_behind_the_call_in_the_log(store, run):
    state = repaired(store, run, [invalid("add"), "ok"], "go")
    assert [text for _, text, *_ in state] == ["go", "", FIRST, "2", "ok"]
    assert said(logged(store)) == state


def test_langchains_repair_of_an_earlier_turns_call_stands_behind_it(store, run):
    lines = [invalid(), "ok", "bye"]
    state = repaired(store, run, lines, "go", "and?", "bye")
    assert [text for _, text, *_ in state] == ["go", "", FIRST, "and?", "ok", "bye", "bye"]
    assert said(logged(store)) == state


def test_langchains_repair_stands_behind_the_call_though_middleware_speaks_between(store, run):
    class Asks(AgentMiddleware):
        def after_model(self, state, runtime):  # noqa: ARG002
            if getattr(state["messages"][-1], "invalid_tool_calls", None):
                return {"messages": [HumanMessage("Once more.")], "jump_to": "model"}
            return None

    Asks.after_model.__can_jump_to__ = ["model"]
    state = repaired(store, run, [invalid(), "ok"], "go", beside=[Asks()])
    assert [text for _, text, *_ in state] == ["go", "", FIRST, "Once more.", "ok"]
    assert said(logged(store)) == state


def test_langchains_repair_stands_behind_the_call_though_the_model_failed(store, run):
    model = Loose(lines=[invalid(), RuntimeError("busy"), "ok"])
    ours = SessionMiddleware(store)
    agent = create_agent(model, [add], middleware=[ours], checkpointer=InMemorySaver())
    run(agent, HumanMessage("go"))
    with pytest.raises(RuntimeError, match="busy"):
        run(agent, HumanMessage("and?"))
    result = run(agent, HumanMessage("hello?"))
    assert said(logged(store)) == said(result["messages"])


def test_langchains_repair_stands_behind_the_call_in_a_whole_conversation(store, run):
    model = Loose(lines=["ok"])
    agent = create_agent(model, [add], middleware=[SessionMiddleware(store)])
    result = run(agent, HumanMessage("go"), invalid(), HumanMessage("and?"))
    assert [text for _, text, *_ in said(result["messages"])] == ["go", "", FIRST, "and?", "ok"]
    assert said(logged(store)) == said(result["messages"])


# -- Requests that other middleware made -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "tool"])
def test_a_request_without_a_runtime_is_refused_with_a_clear_error(store, run, kind):
    class Makes(AgentMiddleware):
        def wrap_model_call(self, request, handler):
            if kind == "tool":
                return handler(request)
            return handler(ModelRequest(model=request.model, messages=request.messages))

        async def awrap_model_call(self, request, handler):
            if kind == "tool":
                return await handler(request)
            return await handler(ModelRequest(model=request.model, messages=request.messages))

        def wrap_tool_call(self, request, handler):
            object.__setattr__(request, "runtime", None)
            return handler(request)

        async def awrap_tool_call(self, request, handler):
            object.__setattr__(request, "runtime", None)
            return await handler(request)

    model = Scripted(lines=[calls("add"), "ok"])
    agent = create_agent(model, [add], middleware=[Makes(), SessionMiddleware(store)])
    with pytest.raises(InvalidSessionError, match=r"without a runtime.*request\.override"):
        run(agent, HumanMessage("go"))
