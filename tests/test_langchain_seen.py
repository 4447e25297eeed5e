"""A checkpointer's thread sees its session: an empty one begins with what the session holds."""

from __future__ import annotations

import pickle
import uuid

import psycopg
import pytest
from checkpointed import ALL_MODES, Caller
from faults import FaultyStore
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, interrupt
from llama_index.core.base.llms.types import ChatMessage
from savers import Cut
from scripted import Scripted, calls, logged, watched

from langchain_sessionstore import (
    NothingToResumeError,
    SessionMiddleware,
    with_session_history,
)
from langgraph_sessionstore import FallbackCheckpointer
from llama_index_sessionstore import SessionChatStore
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidSessionError,
    SessionAccessError,
    SQLiteSessionStore,
    StoreUnavailableError,
    Window,
)
from sessionstore.operations import Append, Get, GetMessages
from sessionstore.window import INTERRUPTED

ALICE = {"configurable": {"thread_id": "s", "user_id": "alice"}}
BOB = {"configurable": {"thread_id": "of bob", "session_id": "s", "user_id": "bob"}}
APPROVAL = Command(resume={"decisions": [{"type": "approve"}]})


@pytest.fixture
def store():
    with InMemorySessionStore() as made:
        yield made


@pytest.fixture(params=["invoke", "ainvoke"])
def run(request):
    caller = Caller(request.param)
    yield caller
    caller.close()


@pytest.fixture
def pausing(run):
    require_interrupts(in_asyncio=run.is_async)


@pytest.fixture
def sent():
    return []


class FailsOnceAtTheEnd(AgentMiddleware):
    """Ends the second turn with an error, behind the model's answer."""

    turns = 0

    def after_agent(self, state, runtime):  # noqa: ARG002
        self.turns += 1
        if self.turns == 2:
            raise OSError("at the end")


def said(text):
    return {"messages": [HumanMessage(text)]}


def words(messages):
    return [message.content for message in messages]


def agent_of(store, *lines, saver=None, tools=(), before=(), behind=(), **options):
    model = Scripted(lines=list(lines))
    return create_agent(
        model,
        list(tools),
        middleware=[*before, SessionMiddleware(store, **options), *behind],
        checkpointer=saver or InMemorySaver(),
    ), model


def reviewed(store, sent, *lines, **options):
    @tool
    def send(to: str = "bob") -> str:
        """Send."""
        sent.append(to)
        return f"sent to {to}"

    review = HumanInTheLoopMiddleware({"send": True})
    return agent_of(store, *lines, tools=[send], behind=[review], **options)


def chatted(store, *texts):
    """Have a chain answer in the session, as "re: ..."."""
    chain = with_session_history(
        RunnableLambda(lambda messages: AIMessage(f"re: {messages[-1].content}")), store
    )
    for text in texts:
        config = {"configurable": {"session_id": "s", "user_id": "alice"}}
        chain.invoke([HumanMessage(text)], config)


# -- An empty thread ------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def saver(request, run, tmp_path):
    where = str(tmp_path / "threads.db")
    if request.param == "postgres":
        name, server = f"test_{uuid.uuid4().hex[:12]}", request.getfixturevalue("postgres")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        where = server.url(name)
    return run.saver(request.param, where)


@pytest.mark.usefixtures("pausing")
def test_an_approval_works_on_a_conversation_that_a_chain_began(store, run, sent, saver):
    chatted(store, "hello", "I am Alice")
    before = ["hello", "re: hello", "I am Alice", "re: I am Alice"]
    agent, model = reviewed(store, sent, calls("send"), "done", "bye", saver=saver)
    paused = run(agent, said("send it"), ALICE)
    assert paused["__interrupt__"]
    assert words(model.shown[0]) == [*before, "send it"]
    assert sent == []
    again, model = reviewed(store, sent, "done", "bye", saver=saver)  # another process
    run(again, APPROVAL, ALICE)
    result = run(again, said("thanks"), ALICE)
    assert sent == ["bob"]
    whole = [*before, "send it", "", "sent to bob", "done", "thanks"]
    assert words(model.shown[-1]) == whole, "it is given once"
    assert words(result["messages"]) == words(logged(store)) == [*whole, "bye"]
    assert [m.id for m in result["messages"]] == [m.id for m in logged(store)]


def test_an_agent_goes_on_with_what_llama_index_began(store, run):
    memory = SessionChatStore(store)
    memory.add_message("s", ChatMessage("hello"))
    memory.add_message("s", ChatMessage("hi", role="assistant"))
    agent, model = agent_of(store, "you said hello")
    run(agent, said("what did I say?"), ALICE)
    assert words(model.shown[0]) == ["hello", "hi", "what did I say?"]
    assert words(logged(store)) == ["hello", "hi", "what did I say?", "you said hello"]


def test_a_checkpointer_that_forgot_is_no_amnesia(store, run):
    run(agent_of(store, "a")[0], said("1"), ALICE)
    agent, model = agent_of(store, "b", "c")
    run(agent, said("2"), ALICE)
    result = run(agent, said("3"), ALICE)
    assert words(model.shown[0]) == ["1", "a", "2"]
    assert words(model.shown[1]) == ["1", "a", "2", "b", "3"]
    assert logged(store) == result["messages"]


def test_a_thread_begins_with_what_the_window_shows(store, run, caplog):
    chatted(store, "1", "2", "3")
    agent, model = agent_of(store, "a", "b", window=Window(max_messages=2))
    run(agent, said("4"), ALICE)
    run(agent, said("5"), ALICE)
    assert words(model.shown[0]) == ["3", "re: 3", "4"]
    assert words(model.shown[1]) == ["3", "re: 3", "4", "a", "5"], "the rest is the checkpointer's"
    assert caplog.records == [], "what stands before the window is not missed"


def test_a_stream_shows_what_is_new(store):
    chatted(store, "hello")
    agent, _ = agent_of(store, "hi")
    streamed = [chunk for chunk, _ in agent.stream(said("1"), ALICE, stream_mode="messages")]
    assert "".join(words(streamed)) == "hi"


@pytest.mark.usefixtures("pausing")
def test_a_retry_on_a_thread_that_was_lost_gives_the_same_answer(store, run):
    question = {"messages": [HumanMessage("1", id="q1")]}
    run(agent_of(store, "a")[0], question, ALICE)
    agent, model = agent_of(store, "b", "c")
    assert words(run(agent, question, ALICE)["messages"]) == ["1", "a"]
    assert model.shown == []
    edit = {"messages": [HumanMessage("2", id="q1")]}
    assert words(run(agent, edit, ALICE)["messages"]) == ["2", "b"]
    assert words(logged(store)) == ["2", "b"]


def test_a_retry_of_a_turn_that_broke_off_behind_its_answer_gives_that(store, run):
    chatted(store, "hello")
    agent, model = agent_of(store, *"ab", behind=[FailsOnceAtTheEnd()])
    run(agent, {"messages": [HumanMessage("1", id="q1")]}, ALICE)
    asked = {"messages": [HumanMessage("2", id="q2")]}
    with pytest.raises(OSError, match="at the end"):
        run(agent, asked, ALICE)
    result = run(agent, asked, ALICE)
    assert words(result["messages"]) == ["hello", "re: hello", "1", "a", "2", "b"]
    assert logged(store) == result["messages"]
    assert len(model.shown) == 2


def test_an_edit_on_a_thread_that_was_lost_takes_the_old_turns_place(store, run):
    run(agent_of(store, "a")[0], {"messages": [HumanMessage("1", id="q1")]}, ALICE)
    agent, model = agent_of(store, "b", "c")
    run(agent, {"messages": [HumanMessage("2", id="q1")]}, ALICE)
    result = run(agent, said("3"), ALICE)
    assert words(model.shown[-1]) == ["2", "b", "3"]
    assert logged(store) == result["messages"]


def test_a_first_turn_that_failed_takes_nothing_of_the_session_from_the_next(run, tmp_path):
    with SQLiteSessionStore(tmp_path / "sessions.db") as inner:
        store = FaultyStore(inner)
        chatted(store, "hello")
        agent, model = agent_of(store, "a", "b")
        store.go_down()
        with pytest.raises(StoreUnavailableError):
            run(agent, said("1"), ALICE)
        store.come_back()
        run(agent, said("2"), ALICE)
        result = run(agent, said("3"), ALICE)
        assert words(model.shown[0]) == ["hello", "re: hello", "1", "2"]
        assert logged(inner) == result["messages"]


def test_what_was_loaded_is_not_saved_again_after_a_first_turn_that_failed(store, run, monkeypatch):
    chatted(store, "hello")
    agent, _ = agent_of(store, RuntimeError("overloaded"), "a")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, said("1"), ALICE)
    operations = watched(monkeypatch)
    run(agent, said("2"), ALICE)
    monkeypatch.undo()
    appended = [one.messages for one in operations if isinstance(one, Append)]
    assert [words(messages) for messages in appended] == [["2"], ["a"]]
    assert words(logged(store)) == ["hello", "re: hello", "1", "2", "a"]


def test_another_users_session_is_not_loaded(store, run):
    chatted(store, "my PIN is 1234")
    agent, model = agent_of(store, "no", on_mismatch="load")
    for _ in range(2):
        with pytest.raises(SessionAccessError):
            run(agent, said("what is my PIN?"), BOB)
    assert model.shown == []
    values = agent.checkpointer.get_tuple(BOB).checkpoint["channel_values"]
    assert set(words(values["messages"])) == {"what is my PIN?"}


def test_a_graph_around_the_agent_says_itself_what_the_agent_sees(store, run):
    chatted(store, "hello")
    agent, model = agent_of(store, "hi", saver=True)
    graph = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")
    result = run(graph.compile(checkpointer=InMemorySaver()), said("1"), ALICE)
    assert words(model.shown[0]) == ["1"]
    assert words(result["messages"]) == ["1", "hi"]


# -- Something to resume, on an empty thread ------------------------------------------------------


def resumed_by_id(agent):
    """Give what resumes the thread's pause by its id, as frontends do."""
    [pause] = agent.invoke(said("send it"), ALICE)["__interrupt__"]
    return Command(resume={pause.id: {"decisions": [{"type": "approve"}]}})


@pytest.mark.parametrize("run", ALL_MODES, indirect=True)
@pytest.mark.parametrize("durability", ["async", "exit"])
def test_nothing_is_resumed_that_the_checkpointer_has_lost(store, run, sent, durability):
    by_id = resumed_by_id(reviewed(store, sent, calls("send"))[0])
    agent, model = reviewed(store, sent, "I asked before", "once more")
    for approval in (APPROVAL, by_id, APPROVAL):
        with pytest.raises(NothingToResumeError, match=r"Send a message"):
            run(agent, approval, ALICE, durability=durability)
    assert (model.shown, sent, words(logged(store))) == ([], [], ["send it", ""])
    run(agent, said("well?"), ALICE, durability=durability)
    assert [type(m).__name__ for m in model.shown[0]] == [
        *("HumanMessage", "AIMessage", "ToolMessage", "HumanMessage"),
    ]
    run(agent, said("go on"), ALICE, durability=durability)
    assert words(logged(store)) == ["send it", "", "well?", "I asked before", "go on", "once more"]
    assert sent == []


@pytest.mark.usefixtures("pausing")
def test_what_resumes_an_empty_thread_and_says_something_approves_nothing(store, run, sent):
    agent, model = reviewed(store, sent, calls("send"), "done")
    said_with_it = {"messages": [HumanMessage("send it")]}
    paused = run(agent, Command(resume=APPROVAL.resume, update=said_with_it), ALICE)
    assert paused["__interrupt__"]
    assert (sent, words(model.shown[0])) == ([], ["send it"])
    run(agent, APPROVAL, ALICE)
    assert sent == ["bob"]


@pytest.mark.parametrize("run", ALL_MODES, indirect=True)
def test_a_jump_into_an_empty_thread_asks_no_model(store, run, sent):
    chatted(store, "hello")
    agent, model = reviewed(store, sent, "what?")
    with pytest.raises(NothingToResumeError):
        run(agent, Command(goto="model"), ALICE)
    assert (model.shown, words(logged(store))) == ([], ["hello", "re: hello"])


def test_the_error_is_the_packages_own_and_goes_to_other_processes():
    error = pickle.loads(pickle.dumps(NothingToResumeError()))  # noqa: S301 - our own
    assert isinstance(error, InvalidSessionError)
    assert "Command(resume=...)" in str(error)


# -- A session that has more ----------------------------------------------------------------------


def begun(store, run, *lines, **options):
    agent, model = agent_of(store, "a", *lines, **options)
    run(agent, said("1"), ALICE)
    chatted(store, "secret")
    return agent, model


def test_a_session_that_has_more_is_warned_of_once(store, run, caplog):
    agent, model = begun(store, run, "b", "c")
    run(agent, said("2"), ALICE)
    run(agent, said("3"), ALICE)
    assert words(model.shown[-1]) == ["1", "a", "2", "b", "3"]
    [record] = caplog.records
    assert (record.name, record.levelname) == ("sessionstore", "WARNING")
    message = record.getMessage()
    assert "session 's' holds 4 messages, 2 of which" in message
    assert "(it holds 3, with what is said now)" in message
    assert "secret" not in message


def test_a_thread_is_given_what_it_lacks_where_the_session_has_it(store, run, caplog):
    agent, model = begun(store, run, "b", "c", on_mismatch="load")
    result = run(agent, said("2"), ALICE)
    assert words(model.shown[1]) == ["1", "a", "secret", "re: secret", "2"]
    assert logged(store) == result["messages"]
    result = run(agent, said("3"), ALICE)
    assert logged(store) == result["messages"], "it is given once"
    assert caplog.records == []


def test_nobody_looks_where_that_is_ignored(store, run, caplog, monkeypatch):
    agent, model = begun(store, run, "b", on_mismatch="ignore")
    operations = watched(monkeypatch)
    run(agent, said("2"), ALICE)
    assert not {Get, GetMessages} & set(map(type, operations))
    assert words(model.shown[-1]) == ["1", "a", "2"]
    assert caplog.records == []


@pytest.mark.parametrize("mode", ["LOAD", None, True, ["warn"]])
def test_another_mode_is_refused(store, mode):
    with pytest.raises(InvalidSessionError, match="on_mismatch must be one of 'warn', 'load'"):
        SessionMiddleware(store, on_mismatch=mode)


# -- ... and no false alarm -----------------------------------------------------------------------


def test_a_summary_and_what_was_removed_are_not_missed(store, run, caplog):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"] * 9), trigger=("messages", 4), keep=("messages", 1)
    )
    agent, model = agent_of(store, *"abcdef", behind=[summarize])
    for text in "1234":
        state = run(agent, said(text), ALICE)
    assert "SUMMARY" in words(model.shown[-1])[0]
    agent.update_state(ALICE, {"messages": [RemoveMessage(state["messages"][-1].id)]})
    run(agent, said("5"), ALICE)
    agent.update_state(ALICE, {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES)]})
    run(agent, said("6"), ALICE)
    assert words(logged(store)) == list("1a2b3c4d5e6f")
    assert caplog.records == []


@pytest.mark.usefixtures("pausing")
@pytest.mark.parametrize("on_mismatch", ["warn", "load"])
def test_a_pause_a_failure_and_an_edit_are_not_missed(store, run, sent, caplog, on_mismatch):
    lines = [calls("send"), "b", RuntimeError("overloaded"), "c", "d", "e"]
    agent, _ = reviewed(store, sent, *lines, on_mismatch=on_mismatch)
    run(agent, said("1"), ALICE)
    run(agent, said("never mind"), ALICE)
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, {"messages": [HumanMessage("3", id="q3")]}, ALICE)
    run(agent, {"messages": [HumanMessage("three", id="q3")]}, ALICE)
    run(agent, {"messages": [HumanMessage("3!", id="q3")]}, ALICE)
    result = run(agent, said("4"), ALICE)
    assert words(logged(store)) == ["1", "", "never mind", "b", "3!", "d", "4", "e"]
    assert logged(store) == result["messages"]
    assert caplog.records == []


@pytest.mark.parametrize("on_mismatch", ["warn", "load"])
def test_who_goes_back_to_a_checkpoint_leaves_out_what_came_after_it(
    store, run, caplog, on_mismatch
):
    agent, model = agent_of(store, *"abc", on_mismatch=on_mismatch)
    run(agent, said("1"), ALICE)
    before = agent.get_state(ALICE).config["configurable"]
    run(agent, said("2"), ALICE)
    back = {"configurable": {**ALICE["configurable"], "checkpoint_id": before["checkpoint_id"]}}
    run(agent, said("3"), back)
    assert words(model.shown[-1]) == ["1", "a", "3"]
    assert caplog.records == []


# -- What is lacked stands where the session has it -----------------------------------------------


def test_what_a_thread_with_a_summary_lacks_comes_behind_what_is_left(store, run):
    summarize = SummarizationMiddleware(
        Scripted(lines=["SUMMARY"]), trigger=("messages", 7), keep=("messages", 1)
    )
    agent, model = agent_of(store, *"abcde", before=[summarize], on_mismatch="load")
    for text in "1234":
        state = run(agent, said(text), ALICE)
    agent.update_state(ALICE, {"messages": [RemoveMessage(state["messages"][-1].id)]})
    chatted(store, "x")
    run(agent, said("5"), ALICE)
    summary, *shown = words(model.shown[-1])
    assert "SUMMARY" in summary
    assert shown == ["4", "x", "re: x", "5"]


def test_results_stay_behind_their_calls(store, run):
    @tool
    def beside() -> str:
        """Have another turn run meanwhile."""
        chatted(store, "x")
        return "2"

    lines = [calls("beside"), RuntimeError("overloaded"), "b"]
    agent, model = agent_of(store, *lines, tools=[beside], on_mismatch="load")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, said("1"), ALICE)
    result = run(agent, said("2"), ALICE)
    assert words(model.shown[-1]) == ["1", "", "2", "x", "re: x", "2"]
    assert words(result["messages"]) == ["1", "", "2", "x", "re: x", "2", "b"]


@pytest.mark.usefixtures("pausing")
def test_a_place_that_is_kept_for_a_result_is_not_missed(store, run):
    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("may I?"))

    @tool
    def add() -> str:
        """Add."""
        return "2"

    lines = [calls("ask", "add"), "b"]
    agent, model = agent_of(store, *lines, tools=[ask, add], on_mismatch="load")
    run(agent, said("1"), ALICE)
    assert len(logged(store)) == 4, "the call that waits has its place"
    result = run(agent, said("never mind"), ALICE)
    assert sorted(words(model.shown[-1])[2:4]) == ["2", INTERRUPTED]
    assert words(result["messages"]) == ["1", "", "2", "never mind", "b"]


def test_a_tools_call_and_its_result_are_given_to_another_thread(store, run):
    @tool
    def add() -> str:
        """Add, while another turn runs."""
        chatted(store, "x")
        return "2"

    agent, model = agent_of(store, "a", "b", on_mismatch="load")
    run(agent, said("1"), ALICE)
    other = {"configurable": {"thread_id": "other", "session_id": "s", "user_id": "alice"}}
    run(agent_of(store, calls("add"), "two", tools=[add])[0], said("1 + 1?"), other)
    assert words(logged(store))[2:] == ["1 + 1?", "", "x", "re: x", "2", "two"]
    run(agent, said("3"), ALICE)
    assert words(model.shown[-1]) == ["1", "a", "1 + 1?", "", "2", "x", "re: x", "two", "3"]


@pytest.mark.parametrize("on_mismatch", ["warn", "load"])
def test_a_thread_from_before_the_middleware_has_a_state_of_its_own(
    store, run, caplog, on_mismatch
):
    saver = InMemorySaver()
    plain = create_agent(Scripted(lines=["a"]), checkpointer=saver)
    run(plain, said("1"), ALICE)
    chatted(store, "w", "x")
    agent, model = agent_of(store, "b", saver=saver, on_mismatch=on_mismatch, window=Window(2))
    run(agent, said("2"), ALICE)
    given = ["x", "re: x"] if on_mismatch == "load" else []
    assert words(model.shown[-1]) == [*given, "1", "a", "2"]
    assert words(logged(store)) == ["w", "re: w", "x", "re: x", "1", "a", "2", "b"]
    assert len(caplog.records) == (on_mismatch == "warn")


def test_what_is_another_users_by_now_is_not_given_to_the_thread(store, run):
    agent, model = agent_of(store, "a", "b", on_mismatch="load")
    run(agent, said("1"), ALICE)
    store.delete("s", user_id="alice")
    store.append_messages("s", [{"role": "user", "content": "bob's"}], user_id="bob")
    with pytest.raises(SessionAccessError):
        run(agent, said("2"), ALICE)
    assert len(model.shown) == 1


@pytest.mark.parametrize("on_mismatch", ["warn", "load"])
def test_a_session_that_was_deleted_or_rewound_lacks_nothing(store, run, caplog, on_mismatch):
    agent, model = agent_of(store, *"abcd", on_mismatch=on_mismatch)
    run(agent, said("1"), ALICE)
    run(agent, said("2"), ALICE)
    first, *_ = logged(store)
    store.rewind("s", to=first.id, user_id="alice")
    run(agent, said("3"), ALICE)
    store.delete("s", user_id="alice")
    run(agent, said("4"), ALICE)
    assert words(model.shown[-1]) == ["1", "a", "2", "b", "3", "c", "4"]
    assert caplog.records == []


# -- Outages --------------------------------------------------------------------------------------


def test_in_an_outage_of_the_checkpointer_an_agent_goes_on_with_the_session(store, run, sent):
    primary = Cut()
    run(agent_of(store, "a", saver=primary)[0], said("1"), ALICE)
    with FallbackCheckpointer(primary, retry_after=0, retry_cap=0.1) as checkpointer:
        agent, model = reviewed(store, sent, "b", "c", saver=checkpointer)
        primary.is_away = True
        with pytest.raises(NothingToResumeError):
            run(agent, APPROVAL, ALICE)
        run(agent, said("2"), ALICE)
        assert checkpointer.is_degraded()
        primary.is_away = False
        assert checkpointer.recover()
        result = run(agent, said("3"), ALICE)
        assert words(model.shown[-1]) == ["1", "a", "2", "b", "3"]
        assert logged(store) == result["messages"]
        assert checkpointer.rejected() == []


def test_a_thread_that_began_in_an_outage_of_the_store_is_given_the_rest(run, tmp_path):
    with SQLiteSessionStore(tmp_path / "sessions.db") as inner:
        chatted(inner, "hello")
        primary = FaultyStore(inner)
        with FallbackSessionStore(primary, retry_after=0.001) as store:
            agent, model = agent_of(store, *"abcd", on_mismatch="ignore")
            primary.go_down()
            run(agent, said("1"), ALICE)
            run(agent, said("2"), ALICE)
            assert words(model.shown[-1]) == ["1", "a", "2"]
            primary.come_back()
            assert store.recover()
            run(agent, said("3"), ALICE)
            result = run(agent, said("4"), ALICE)
            whole = ["hello", "re: hello", "1", "a", "2", "b", "3", "c", "4"]
            assert words(model.shown[-1]) == whole
            assert logged(inner) == result["messages"]


def test_a_thread_that_began_in_an_outage_is_given_the_summary_as_one(run, tmp_path):
    with SQLiteSessionStore(tmp_path / "sessions.db") as inner:
        chatted(inner, "hello", "bye")
        until = inner.get_messages("s")[1].id
        inner.update("s", metadata={"summary": {"text": "They met.", "until": until}})
        primary = FaultyStore(inner)
        with FallbackSessionStore(primary, retry_after=0.001) as store:
            agent, model = agent_of(store, *"abc")
            primary.go_down()
            run(agent, said("1"), ALICE)
            primary.come_back()
            assert store.recover()
            run(agent, said("2"), ALICE)
            run(agent, said("3"), ALICE)
            shown = model.shown[-1]
            assert shown[0].additional_kwargs == {"lc_source": "summarization"}
            assert [text.splitlines()[-1] for text in words(shown)] == [
                "They met.",
                "bye",
                "re: bye",
                "1",
                "a",
                "2",
                "b",
                "3",
            ]
            held = ["hello", "re: hello", "bye", "re: bye", "1", "a", "2", "b", "3", "c"]
            assert words(logged(inner)) == held
