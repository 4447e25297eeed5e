"""What sums up beside `SessionMiddleware` does so once: the log keeps all, views show it."""

from __future__ import annotations

import asyncio
import warnings

import pytest
from faults import FaultyStore
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.checkpoint.memory import InMemorySaver
from scripted import Scripted, calls, counted, logged, watched

from langchain_sessionstore import (
    SessionChatMessageHistory,
    SessionMiddleware,
    session_history_factory,
    to_langchain_messages,
    with_session_history,
)
from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionMessage, Window
from sessionstore.operations import Append, Get, GetMessages, Several, Update

INTRODUCTION = "Here is a summary of the conversation to date:\n\n"
CONFIG = {"configurable": {"session_id": "s"}}


def add() -> str:
    """Add."""
    return "2"


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=["sync", "async"])
def run(request):
    def invoke(runnable, given, **configurable):
        config = {"configurable": {"session_id": "s", **configurable}}
        messages = [given] if isinstance(given, HumanMessage) else [HumanMessage(given)]
        if request.param == "sync":
            return runnable.invoke({"messages": messages}, config)
        return asyncio.run(runnable.ainvoke({"messages": messages}, config))

    return invoke


class Talk:
    """An agent beside what sums up, and what the two models were asked with."""

    def __init__(self, store, *, front=False, window=None, checkpointer=None, lines=None):
        self.model = Scripted(lines=lines or [f"a{n}" for n in range(20)])
        self.summarizer = Scripted(lines=[f"summary {n}" for n in range(20)])
        sums = SummarizationMiddleware(
            self.summarizer, trigger=("messages", 8), keep=("messages", 3)
        )
        middleware = [SessionMiddleware(store, window=window), sums]
        if front:
            middleware.reverse()
        self.agent = create_agent(
            self.model, [add], middleware=middleware, checkpointer=checkpointer
        )

    def shown(self):
        return words(self.model.shown[-1])


def words(messages):
    return [message.text.removeprefix(INTRODUCTION) for message in messages]


def until(store):
    return store.get("s").metadata["summary"]["until"]


def id_of(store, text):
    return next(message.id for message in store.get_messages("s") if message.content == text)


@pytest.mark.parametrize("front", [True, False], ids=["in front", "behind"])
@pytest.mark.parametrize("window", [None, Window(max_messages=20)], ids=["all", "window"])
def test_a_conversation_is_summed_up_once_and_not_at_each_turn(store, run, front, window):
    talk = Talk(store, front=front, window=window)
    made, shown = [], []
    for n in range(9):
        run(talk.agent, f"q{n}")
        made.append(len(talk.summarizer.shown))
        shown.append(talk.shown())
    assert made == [0, 0, 0, 0, 1, 1, 2, 2, 3]
    assert shown[3] == ["q0", "a0", "q1", "a1", "q2", "a2", "q3"]
    assert shown[4] == ["summary 0", "q3", "a3", "q4"]
    assert shown[5] == ["summary 0", "q3", "a3", "q4", "a4", "q5"]
    assert shown[6] == ["summary 1", "q5", "a5", "q6"]
    assert shown[8] == ["summary 2", "q7", "a7", "q8"]
    # A summary of the summary, and of what came since.
    assert "summary 0" in talk.summarizer.shown[1][0].text
    assert words(logged(store)) == [text for n in range(9) for text in (f"q{n}", f"a{n}")]
    assert until(store) == id_of(store, "a6")


def test_a_summary_costs_a_read_and_a_write_where_it_is_made(store, run, monkeypatch):
    talk = Talk(store, window=Window(max_messages=20))
    for n in range(4):
        run(talk.agent, f"q{n}")
    operations = watched(monkeypatch)
    run(talk.agent, "q4")
    assert counted(operations) == {Several: 1, Append: 1, GetMessages: 1, Update: 1}
    operations.clear()
    run(talk.agent, "q5")
    assert counted(operations) == {Several: 1, Append: 1}


def test_a_summary_within_a_turn_keeps_calls_and_results_together(store, run):
    steps = [calls("add")] * 5
    talk = Talk(store, lines=[*steps, "done", "well"])
    run(talk.agent, "count")
    assert talk.shown() == ["summary 0", *["", "2"] * 3]
    assert len(talk.summarizer.shown) == 1
    run(talk.agent, "and?")
    view = talk.model.shown[-1]
    assert words(view)[0] == "summary 1"
    assert len(logged(store)) == 1 + 2 * 5 + 1 + 2


@pytest.mark.parametrize("front", [True, False], ids=["in front", "behind"])
def test_a_checkpointer_has_its_own_and_the_session_is_told(store, run, front, monkeypatch):
    talk = Talk(store, front=front, checkpointer=InMemorySaver())
    for n in range(5):
        run(talk.agent, f"q{n}", thread_id="s")
    assert until(store) == id_of(store, "a2")
    operations = watched(monkeypatch)
    run(talk.agent, "q5", thread_id="s")
    assert Update not in counted(operations)
    assert talk.shown() == ["summary 0", "q3", "a3", "q4", "a4", "q5"]
    assert len(talk.summarizer.shown) == 1
    assert words(logged(store)) == [text for n in range(6) for text in (f"q{n}", f"a{n}")]


def test_who_goes_back_before_the_summary_reads_what_was_said(store, run):
    talk = Talk(store)
    for n in range(6):
        run(talk.agent, f"q{n}")
    run(talk.agent, "instead", rewind_to=id_of(store, "a4"))  # behind it
    assert talk.shown() == ["summary 0", "q3", "a3", "q4", "a4", "instead"]
    run(talk.agent, "instead", rewind_to=id_of(store, "a1"))
    assert talk.shown() == ["q0", "a0", "q1", "a1", "instead"]
    run(talk.agent, "and now")
    assert talk.shown()[:5] == ["q0", "a0", "q1", "a1", "instead"]
    assert len(talk.summarizer.shown) == 1


def test_an_edit_before_the_summary_is_asked_with_what_stood_before_it(store, run):
    talk = Talk(store)
    for n in range(5):
        run(talk.agent, HumanMessage(f"q{n}", id=f"q{n}"))
    for window in (None, Window(max_messages=4)):
        model = Scripted(lines=["fine"])
        agent = create_agent(model, middleware=[SessionMiddleware(store, window=window)])
        run(agent, HumanMessage(f"edited {window}", id="q1"))
        assert words(model.shown[-1]) == ["q0", "a0", f"edited {window}"]


def test_a_client_that_sends_the_summary_back_is_shown_the_sessions(store, run):
    talk = Talk(store)
    for n in range(4):
        run(talk.agent, f"q{n}")
    result = run(talk.agent, "q4")
    sent = [*result["messages"], HumanMessage("q5")]
    talk.agent.invoke({"messages": sent}, CONFIG)
    assert talk.shown() == ["summary 0", "q3", "a3", "q4", "a4", "q5"]
    assert len(logged(store)) == 12


@pytest.fixture
def summed_up(store):
    said = [SessionMessage(("user", "assistant")[n % 2], f"t{n}", id=f"m{n}") for n in range(8)]
    metadata = {"summary": {"text": "They met.", "until": "m5"}, "title": "A talk"}
    store.create("s", messages=said, metadata=metadata)
    return store


def test_histories_and_chains_with_a_window_show_it(summed_up):
    window = Window(max_messages=6)
    history = SessionChatMessageHistory("s", summed_up, window=window)
    made = session_history_factory(summed_up, window=window)("s")
    for messages in (history.messages, asyncio.run(history.aget_messages()), made.messages):
        assert words(messages) == ["They met.", "t6", "t7"]
        assert messages[0].additional_kwargs == {"lc_source": "summarization"}
    shown = []
    chain = with_session_history(
        RunnableLambda(lambda messages: shown.append(words(messages)) or "ok"),
        summed_up,
        window=window,
    )
    chain.invoke("next", CONFIG)
    assert shown == [["They met.", "t6", "t7", "next"]]
    assert words(SessionChatMessageHistory("s", summed_up).messages)[0] == "t0"
    assert len(summed_up.get_messages("s")) == 10


def test_what_an_agent_in_a_chain_sums_up_is_not_said_in_the_log(store):
    sums = SummarizationMiddleware(
        Scripted(lines=["summary"] * 9), trigger=("messages", 4), keep=("messages", 1)
    )
    agent = create_agent(Scripted(lines=["a0", "a1", "a2"] * 2), middleware=[sums])
    chain = with_session_history(agent, store, input_messages_key="messages")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = RunnableWithMessageHistory(
            agent,
            session_history_factory(store),
            input_messages_key="messages",
            output_messages_key="messages",
        )
    for runnable, session_id in ((chain, "s"), (theirs, "t")):
        for n in range(3):
            given = {"messages": [HumanMessage(f"q{n}")]}
            runnable.invoke(given, {"configurable": {"session_id": session_id}})
        said = [message.content for message in store.get_messages(session_id)]
        assert said == ["q0", "a0", "q1", "a1", "q2", "a2"]


def test_cleared_histories_have_no_summary(summed_up):
    SessionChatMessageHistory("s", summed_up).clear()
    assert summed_up.get("s").metadata == {"title": "A talk"}


def test_a_summary_is_kept_in_an_outage_and_replayed(store, run):
    primary = FaultyStore(store)
    with FallbackSessionStore(primary, retry_after=0.001) as fallback:
        talk = Talk(fallback, window=Window(max_messages=20))
        for n in range(4):
            run(talk.agent, f"q{n}")
        primary.go_down()
        for n in range(4, 6):
            run(talk.agent, f"q{n}")
        assert talk.shown()[0] == "summary 0"
        assert len(talk.summarizer.shown) == 1
        assert "summary" not in store.get("s").metadata
        primary.come_back()
        assert fallback.recover()
        assert until(store) == id_of(store, "a2")
        run(talk.agent, "q6")
        assert talk.shown()[0] == "summary 1"


def test_a_summary_is_not_shown_where_an_outage_deletes_what_it_covers(store):
    said = [SessionMessage("user", f"t{n}", id=f"m{n}") for n in range(12)]
    store.create("s", messages=said, metadata={"summary": {"text": "They met.", "until": "m5"}})
    primary = FaultyStore(store)
    with FallbackSessionStore(primary, retry_after=60, retry_cap=60, max_messages=8) as fallback:
        window = Window(max_messages=8)
        assert window.load(fallback, "s")[0].id == "summary:m5"
        primary.go_down()
        assert window.load(fallback, "s")[0].id == "summary:m5"
        fallback.rewind("s", to="m4")
        assert [message.id for message in window.load(fallback, "s")] == ["m4"]
        primary.come_back()
        assert fallback.recover()
        assert [message.id for message in window.load(fallback, "s")] == [f"m{n}" for n in range(5)]


def test_a_summary_is_shown_in_an_outage_that_knows_only_what_followed(store):
    said = [SessionMessage("user", f"t{n}", id=f"m{n}") for n in range(12)]
    store.create("s", messages=said, metadata={"summary": {"text": "They met.", "until": "m5"}})
    primary = FaultyStore(store)
    with FallbackSessionStore(primary, retry_after=60, retry_cap=60, max_messages=4) as fallback:
        window = Window(max_messages=2)
        shown = window.load(fallback, "s")
        primary.go_down()
        assert [message.id for message in window.load(fallback, "s")] == [
            "summary:m5",
            "m10",
            "m11",
        ]
        assert window.load(fallback, "s")[1:] == shown[1:]


def test_reading_a_summary_costs_no_request_more(summed_up, monkeypatch):
    operations = watched(monkeypatch)
    Window(max_messages=6).load(summed_up, "s")
    assert counted(operations) == {Get: 1}
    operations.clear()
    Window(max_messages=1).load(summed_up, "s")  # the summary ends before what was read
    assert counted(operations) == {Get: 1, GetMessages: 1}


def test_a_summary_hides_nothing_that_another_thread_said(store, run):
    talk = Talk(store, checkpointer=InMemorySaver())
    for n in range(12):
        run(talk.agent, f"q{n}", thread_id="s")
        if n == 4:  # behind what is summed up so far
            assert until(store) == id_of(store, "a2")
            store.append_messages("s", [SessionMessage("user", "from a chain")])
    assert len(talk.summarizer.shown) == 4
    view = words(to_langchain_messages(Window().load(store, "s")))
    assert view[:6] == ["summary 1", "from a chain", "q5", "a5", "q6", "a6"]


def test_a_thread_that_is_behind_takes_no_other_threads_summary_away(store, run):
    ahead, behind = (Talk(store, checkpointer=InMemorySaver()) for _ in range(2))
    behind.summarizer.lines = ["from behind"] * 9
    run(behind.agent, "first", thread_id="t")
    for n in range(6):
        run(ahead.agent, f"q{n}", thread_id="s")
    held = store.get("s").metadata
    assert held["summary"]["text"] == "summary 1"
    for n in range(6):
        run(behind.agent, f"b{n}", thread_id="t")
    assert behind.summarizer.shown
    assert store.get("s").metadata == held


def test_a_summary_hides_nothing_that_was_said_beside_the_turn(store, run):
    def interrupted(_):
        store.append_messages("s", [SessionMessage("user", "from a chain", id="other")])
        return calls("add")

    talk = Talk(store, lines=["a0", interrupted, *[calls("add")] * 5, "a1", "a2"])
    run(talk.agent, "q0")
    run(talk.agent, "q1")
    assert talk.summarizer.shown
    view = Window().load(store, "s")
    assert "other" in [message.id for message in view]
    run(talk.agent, "q2")
    assert any("from a chain" in text for text in words(talk.model.shown[-1])) or any(
        "from a chain" in shown[0].text for shown in talk.summarizer.shown
    )


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "chain"])
@pytest.mark.parametrize("window", [None, Window(max_messages=2)], ids=["all", "window"])
def test_a_summary_that_a_turn_goes_back_before_is_gone(summed_up, run, agent, window):
    model = Scripted(lines=["kept", "new", "newer"])
    if agent:
        runnable = create_agent(model, middleware=[SessionMiddleware(summed_up, window=window)])
    else:
        runnable = with_session_history(
            model_of(model), summed_up, window=window, input_messages_key="messages"
        )
    run(runnable, "behind it", rewind_to="m5")
    assert summed_up.get("s").metadata["summary"]["until"] == "m5"
    run(runnable, HumanMessage("said anew", id="m5"), rewind_to="m1")
    run(runnable, "and now")
    assert words(model.shown[-1])[-3:] == ["said anew", "new", "and now"]
    assert summed_up.get("s").metadata == {"title": "A talk"}


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "chain"])
@pytest.mark.parametrize("edited", ["m4", "m6"], ids=["summed up", "behind it"])
def test_a_summary_of_what_is_edited_is_gone(summed_up, run, agent, edited):
    model = Scripted(lines=["new"])
    if agent:
        runnable = create_agent(model, middleware=[SessionMiddleware(summed_up)])
    else:
        runnable = with_session_history(
            model_of(model), summed_up, window=Window(), input_messages_key="messages"
        )
    run(runnable, HumanMessage("edited", id=edited))
    assert ("summary" in summed_up.get("s").metadata) == (edited == "m6")
    assert "edited" in words(logged(summed_up))


def model_of(model):
    return RunnableLambda(lambda given: model.invoke(given["messages"]))


def test_what_is_summed_up_as_an_edit_is_answered_hides_no_later_turn(store, run):
    talk = Talk(store)
    for n in range(6):
        run(talk.agent, HumanMessage(f"q{n}", id=f"q{n}"))
    assert len(talk.summarizer.shown) == 1
    talk.model.lines[6:] = [*[calls("add")] * 4, "edited answer"]
    run(talk.agent, HumanMessage("edited", id="q1"))
    assert len(talk.summarizer.shown) == 2
    assert until(store) == "q1"
    view = words(to_langchain_messages(Window().load(store, "s")))
    assert view[0] == "summary 1"
    assert {"q2", "q3", "q4", "q5", "edited answer"} <= set(view)


def test_a_summary_that_a_turn_goes_back_before_in_an_outage_is_gone_behind_it(summed_up, run):
    primary = FaultyStore(summed_up)
    with FallbackSessionStore(primary, retry_after=0.001) as fallback:
        fallback.get("s")
        primary.go_down()
        model = Scripted(lines=["new", "newer"])
        agent = create_agent(model, middleware=[SessionMiddleware(fallback)])
        run(agent, HumanMessage("said anew", id="m5"), rewind_to="m1")
        run(agent, "and now")
        assert words(model.shown[-1]) == ["t0", "t1", "said anew", "new", "and now"]
        primary.come_back()
        assert fallback.recover()
    assert summed_up.get("s").metadata == {"title": "A talk"}
    assert words(logged(summed_up)) == [*words(model.shown[-1]), "newer"]


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["session only", "checkpointer"])
def test_a_summary_covers_nothing_that_its_agent_has_not_seen(store, run, saver):
    def while_another_speaks(_):
        store.append_message("s", SessionMessage("user", "I am Alice"))
        return calls("add")

    steps = [while_another_speaks, *[calls("add")] * 3]
    talk = Talk(store, checkpointer=saver and saver(), lines=[*"abc", *steps, "done"])
    for n in range(4):
        run(talk.agent, f"q{n}", thread_id="t")
    assert len(talk.summarizer.shown) == 2
    assert "I am Alice" not in str(talk.summarizer.shown)
    history = SessionChatMessageHistory("s", store, window=Window(max_messages=99))
    assert words(history.messages)[:3] == ["summary 1", "I am Alice", ""]


def test_an_agent_that_knows_less_does_not_take_anothers_summary_away(store, run):
    talk = Talk(store, checkpointer=InMemorySaver())
    for n in range(5):
        run(talk.agent, f"q{n}", thread_id="t")
    session = store.get("s")
    theirs = {"text": "They met, and he is Bob.", "until": session.messages[-1].id}
    store.update("s", metadata={"summary": theirs})
    for n in range(5, 8):
        run(talk.agent, f"q{n}", thread_id="t")
    assert len(talk.summarizer.shown) == 2
    assert store.get("s").metadata["summary"] == theirs
    history = SessionChatMessageHistory("s", store, window=Window(max_messages=99))
    assert words(history.messages)[0] == theirs["text"]


def test_a_summary_moves_on_past_what_the_window_cut(store, run):
    said = [SessionMessage(("user", "assistant")[n % 2], f"t{n}", id=f"m{n}") for n in range(40)]
    store.create("s", messages=said, metadata={"summary": {"text": "They met.", "until": "m5"}})
    talk = Talk(store, window=Window(max_messages=10))
    run(talk.agent, "q0")
    assert store.get("s").metadata["summary"]["text"] == "summary 0"
    assert until(store) == "m37"
