"""A message that comes again with its id and says something else: an edit, in agents."""

from __future__ import annotations

import asyncio

import pytest
from graphs import require_interrupts
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scripted import Scripted, calls, log, logged, require_acceptable
from servers.process import wait_until

from langchain_sessionstore import SessionMiddleware
from langchain_sessionstore.sameness import says_the_same
from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    SessionAccessError,
    SessionMessage,
    Window,
)

CONFIG = {"configurable": {"session_id": "s", "thread_id": "s"}}


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.fixture(params=[False, True], ids=["alone", "checkpointed"])
def saver(request):
    return InMemorySaver() if request.param else None


@pytest.fixture(params=["invoke", "ainvoke", "stream", "astream", "batch"])
def run(request):
    def invoke(agent, given, config=CONFIG):
        return agent.invoke(given, config)

    def ainvoke(agent, given, config=CONFIG):
        return asyncio.run(agent.ainvoke(given, config))

    def stream(agent, given, config=CONFIG):
        return list(agent.stream(given, config, stream_mode="values"))[-1]

    def astream(agent, given, config=CONFIG):
        async def last():
            return [v async for v in agent.astream(given, config, stream_mode="values")][-1]

        return asyncio.run(last())

    def batch(agent, given, config=CONFIG):
        return agent.batch([given], config)[0]

    return locals()[request.param]


def human(text, id="m1"):
    return HumanMessage(text, id=id)


def given(*messages):
    return {"messages": list(messages)}


def words(messages):
    return [message.content for message in messages]


@tool
def add(a: int = 1, b: int = 1) -> str:
    """Add."""
    return str(a + b)


@tool
def look(up: str = "") -> str:
    """Look something up."""
    return f"found {up}"


def agent_of(store, saver, *lines, tools=(add, look), window=None, before=(), behind=(), **options):
    model = Scripted(lines=list(lines))
    ours = SessionMiddleware(store, window=window, **options)
    middleware = [*before, ours, *behind]
    return create_agent(model, list(tools), middleware=middleware, checkpointer=saver), model


def test_an_edit_of_the_last_turn_is_answered_in_its_place(store, saver, run):
    agent, model = agent_of(store, saver, "hello", "Paris", "Madrid", "bye")
    run(agent, given(human("hi", "m0")))
    run(agent, given(human("Capital of France?")))
    result = run(agent, given(human("Capital of Spain?")))
    assert words(model.shown[-1]) == ["hi", "hello", "Capital of Spain?"]
    assert words(logged(store)) == ["hi", "hello", "Capital of Spain?", "Madrid"]
    assert result["messages"] == logged(store)
    run(agent, given(human("thanks", "m2")))
    assert words(model.shown[-1]) == ["hi", "hello", "Capital of Spain?", "Madrid", "thanks"]


def test_an_edit_that_is_sent_again_is_answered_the_same(store, saver, run):
    agent, model = agent_of(store, saver, "Paris", "Madrid", "Rome")
    run(agent, given(human("Capital of France?")))
    first = run(agent, given(human("Capital of Spain?")))
    assert run(agent, given(human("Capital of Spain?")))["messages"] == first["messages"]
    assert len(model.shown) == 2
    run(agent, given(human("Capital of Italy?")))
    assert words(logged(store)) == ["Capital of Italy?", "Rome"]


def test_an_edit_of_an_earlier_turn_goes_on_at_the_end(store, saver, run):
    agent, model = agent_of(store, saver, "Paris", "You're welcome", "Madrid", "Lisbon")
    run(agent, given(human("Capital of France?")))
    run(agent, given(human("thanks", "m2")))
    result = run(agent, given(human("Capital of Spain?")))
    assert words(model.shown[-1]) == ["Capital of Spain?"]
    assert words(result["messages"]) == ["Capital of Spain?", "Madrid"]
    kept = ["Capital of Spain?", "Paris", "thanks", "You're welcome"]
    assert words(logged(store)) == [*kept, "Madrid"]
    again = run(agent, given(human("Capital of Spain?")))
    assert (words(again["messages"])[-1], len(model.shown)) == ("Madrid", 3)
    run(agent, given(human("Capital of Portugal?")))
    assert words(model.shown[-1]) == ["Capital of Portugal?"]
    assert words(logged(store)) == ["Capital of Portugal?", *kept[1:], "Lisbon"]


def test_an_edit_whose_model_fails_is_in_the_log_and_is_asked_again(store, saver, run):
    lines = ["hello", "Paris", RuntimeError("overloaded"), "Madrid"]
    agent, model = agent_of(store, saver, *lines)
    run(agent, given(human("hi", "m0")))
    run(agent, given(human("Capital of France?")))
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, given(human("Capital of Spain?")))
    assert words(logged(store)) == ["hi", "hello", "Capital of Spain?"]
    for _ in range(2):
        run(agent, given(human("Capital of Spain?")))
        assert words(model.shown[-1]) == ["hi", "hello", "Capital of Spain?"]
        assert words(logged(store)) == ["hi", "hello", "Capital of Spain?", "Madrid"]
    assert len(model.shown) == 4, "its answer is not given again"


def test_an_earlier_edit_whose_model_fails_is_not_given_the_old_answer(store, saver, run):
    lines = ["Paris", "welcome", RuntimeError("overloaded"), "Madrid"]
    agent, model = agent_of(store, saver, *lines)
    run(agent, given(human("Capital of France?")))
    run(agent, given(human("thanks", "m2")))
    with pytest.raises(RuntimeError, match="overloaded"):
        run(agent, given(human("Capital of Spain?")))
    result = run(agent, given(human("Capital of Spain?")))
    assert words(result["messages"]) == ["Capital of Spain?", "Madrid"]
    assert words(model.shown[-1]) == ["Capital of Spain?"]
    assert words(logged(store)) == ["Capital of Spain?", "Paris", "thanks", "welcome", "Madrid"]


def test_the_steps_of_an_edited_turn_are_deleted_with_its_answer(store, saver, run):
    lines = [calls("add", "look", a=1), "two", calls("add", a=2), "three"]
    agent, model = agent_of(store, saver, *lines)
    run(agent, given(human("1 + 1?")))
    result = run(agent, given(human("2 + 1?")))
    assert words(model.shown[-1]) == ["2 + 1?", "", "3"]
    assert words(logged(store)) == ["2 + 1?", "", "3", "three"]
    assert logged(store) == result["messages"]


@pytest.mark.parametrize("edit", ["2 + 1?", "1 + 1?"])
def test_an_edit_of_a_turn_with_parallel_calls_replaces_all_of_its_steps(store, saver, run, edit):
    """The first turn broke off with one result of two."""

    @tool
    def fail() -> str:
        """Fail, after the other has its result: what has not begun by then LangGraph cancels."""
        wait_until(lambda: log(store)[2:] == [("tool", "2")], "the other call has its result")
        raise RuntimeError("broken")

    agent, model = agent_of(store, saver, calls("add", "fail"), "done", tools=[add, fail])
    with pytest.raises(RuntimeError, match="broken"):
        run(agent, given(human("1 + 1?")))
    assert log(store)[:3] == [("user", "1 + 1?"), ("assistant", ["add", "fail"]), ("tool", "2")]
    run(agent, given(human(edit)))
    if edit == "2 + 1?":
        assert log(store) == [("user", "2 + 1?"), ("assistant", "done")]
        assert words(model.shown[-1]) == ["2 + 1?"]
    else:
        assert log(store)[1] == ("assistant", ["add", "fail"]), "a retry keeps what was done"


def test_an_edit_replaces_a_call_that_waits_for_approval(store, run):
    require_interrupts(in_asyncio=run.__name__.startswith("a"))
    review = HumanInTheLoopMiddleware(interrupt_on={"look": True})
    saver = InMemorySaver()
    lines = [calls("look", up="France"), calls("look", up="Spain"), "Madrid"]
    agent, model = agent_of(store, saver, *lines, behind=[review])
    run(agent, given(human("Capital of France?")))
    assert log(store) == [("user", "Capital of France?"), ("assistant", ["look"])]
    run(agent, given(human("Capital of Spain?")))
    assert words(model.shown[-1]) == ["Capital of Spain?"]
    assert log(store) == [("user", "Capital of Spain?"), ("assistant", ["look"])]
    result = run(agent, Command(resume={"decisions": [{"type": "approve"}]}))
    assert words(logged(store)) == ["Capital of Spain?", "", "found Spain", "Madrid"]
    assert logged(store) == result["messages"]


def test_an_edit_in_a_resent_conversation_is_answered_in_its_place(store, saver, run):
    """Some clients send all that they show with each call."""
    agent, model = agent_of(store, saver, "Paris", "Lima", "Madrid")
    run(agent, given(human("Capital of France?")))
    run(agent, given(human("And of Peru?", "m2")))
    first, answer, *_ = logged(store)
    edit = human("And of Spain?", "m2")
    run(agent, given(SystemMessage("Be short."), first, AIMessage("Paris", id=answer.id), edit))
    said = [message for message in model.shown[-1] if message.type != "system"]
    assert words(said) == ["Capital of France?", "Paris", "And of Spain?"]
    said = [message for message in logged(store) if message.type != "system"]
    assert words(said) == ["Capital of France?", "Paris", "And of Spain?", "Madrid"]


def test_an_edit_that_comes_with_a_new_question_is_logged_and_the_question_answered(
    store, saver, run
):
    agent, model = agent_of(store, saver, "Paris", "4 million")
    run(agent, given(human("Capital of Frence?")))
    answer = logged(store)[-1]
    run(agent, given(human("Capital of France?"), answer, human("How large?", "m2")))
    assert words(model.shown[-1]) == ["Capital of France?", "Paris", "How large?"]
    assert words(logged(store)) == [*words(model.shown[-1]), "4 million"]


@pytest.mark.parametrize("again", ["2'", "2"])
def test_an_edit_of_a_message_older_than_the_window_is_logged(store, run, again):
    agent, model = agent_of(store, None, *"abcdef", window=Window(max_messages=2))
    for number in range(1, 5):
        run(agent, given(human(str(number), f"m{number}")))
    result = run(agent, given(human(again, "m2")))
    if again == "2":
        assert (words(result["messages"])[-2:], len(model.shown)) == (["2", "b"], 4)
        assert words(logged(store)) == ["1", "a", "2", "b", "3", "c", "4", "d"]
    else:
        assert words(model.shown[-1]) == ["1", "a", "2'"]
        assert words(logged(store)) == ["1", "a", "2'", "b", "3", "c", "4", "d", "e"]
        run(agent, given(human("2'", "m2")))
        assert len(model.shown) == 5


def test_a_user_who_does_not_own_the_session_edits_nothing(store, saver, run):
    agent, model = agent_of(store, saver, "hello", "Paris", "welcome")
    alice, mallory = (
        {"configurable": {**CONFIG["configurable"], "user_id": name}}
        for name in ("alice", "mallory")
    )
    run(agent, given(human("hi", "m0")), alice)
    run(agent, given(human("Capital of France?")), alice)
    with pytest.raises(SessionAccessError):
        run(agent, given(human("Capital of Spain?")), mallory)
    assert words(logged(store)) == ["hi", "hello", "Capital of France?", "Paris"]
    run(agent, given(human("thanks", "m2")), alice)
    shown = ["hi", "hello", "Capital of France?", "Paris", "thanks"]
    assert words(model.shown[-1]) == shown
    assert words(logged(store)) == [*shown, "welcome"]


def test_the_owners_edit_after_a_refused_one_counts(store, run):
    agent, model = agent_of(store, InMemorySaver(), "Paris", "Rome")
    alice, mallory = (
        {"configurable": {**CONFIG["configurable"], "user_id": name}}
        for name in ("alice", "mallory")
    )
    run(agent, given(human("Capital of France?")), alice)
    with pytest.raises(SessionAccessError):
        run(agent, given(human("Capital of Spain?")), mallory)
    run(agent, given(human("Capital of Italy?")), alice)
    assert words(model.shown[-1]) == ["Capital of Italy?"]
    assert words(logged(store)) == ["Capital of Italy?", "Rome"]


def test_an_edit_in_a_fork_of_the_thread_is_logged(store, run):
    agent, model = agent_of(store, InMemorySaver(), "hello", "Paris", "Madrid")
    run(agent, given(human("hi", "m0")))
    before = agent.get_state(CONFIG).config
    run(agent, given(human("Capital of France?")))
    forked = {"configurable": {**CONFIG["configurable"], **before["configurable"]}}
    run(agent, given(human("Capital of Spain?")), forked)
    assert words(model.shown[-1]) == ["hi", "hello", "Capital of Spain?"]
    assert words(logged(store)) == ["hi", "hello", "Capital of Spain?", "Madrid"]


def test_blocks_with_the_same_meaning_are_no_edit(store, saver, run):
    agent, model = agent_of(store, saver, "Paris", "Madrid")
    run(agent, given(human("Capital of France?")))
    blocks = [
        {"type": "text", "text": "Capital of "},
        {"type": "text", "text": "France?", "id": "b"},
    ]
    result = run(agent, given(human(blocks)))
    assert (result["messages"][-1].content, len(model.shown)) == ("Paris", 1)
    assert words(logged(store)) == ["Capital of France?", "Paris"]
    run(agent, given(human([{"type": "text", "text": "Capital of Spain?"}])))
    assert words(logged(store)) == [[{"type": "text", "text": "Capital of Spain?"}], "Madrid"]


PIXEL = "iVBORw0KGgo="


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x", ["x"], True),
        ("", [], True),
        (["x", "y"], "xy", True),
        ("x", "X", False),
        (
            [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}],
            [{"type": "image", "base64": PIXEL, "mime_type": "image/png", "id": "lc_1"}],
            True,
        ),
        (
            [{"type": "image", "url": "https://a.org/1.png"}],
            [{"type": "image", "url": "https://a.org/2.png"}],
            False,
        ),
        ("x", [{"type": "text", "text": "x"}, {"type": "image", "url": "https://a.org"}], False),
    ],
)
def test_messages_that_say_the_same_are_recognized(one, other, same):
    assert says_the_same(HumanMessage(one), HumanMessage(other)) is same
    assert says_the_same(HumanMessage(other), HumanMessage(one)) is same


def test_an_answer_that_a_client_sends_back_with_less_in_it_is_no_edit(store, saver, run):
    answer = calls("add")
    answer.content = [{"type": "text", "text": "Let me see."}, {"type": "reasoning", "id": "r"}]
    agent, _ = agent_of(store, saver, answer, "two", "welcome")
    run(agent, given(human("1 + 1?")))
    before = logged(store)
    poorer = [AIMessage(str(m.text), id=m.id) if m.type == "ai" else m for m in before]
    if saver is None:
        run(agent, given(*poorer, human("thanks", "m2")))
        assert logged(store)[:4] == before
        run(agent, given(AIMessage("2 it is", id=before[-1].id)))
        assert words(logged(store))[3] == "2 it is"


def test_metadata_that_others_keep_with_an_edited_message_stays(store, run):
    kept = SessionMessage("user", "hello", id="m1", metadata={"rating": 5})
    store.append_message("s", kept)
    agent, _ = agent_of(store, None, "hi")
    run(agent, given(human("hello!")))
    edited = store.get_messages("s")[0]
    assert (edited.content, edited.metadata["rating"]) == ("hello!", 5)
    assert edited.created_at == kept.created_at
    assert log(store) == [("user", "hello!"), ("assistant", "hi")]


def test_an_edit_that_can_not_be_stored_changes_nothing(store, run):
    agent, model = agent_of(store, None, "Paris")
    run(agent, given(human("Capital of France?")))
    with pytest.raises(InvalidMessageError):
        run(agent, given(human("Capital of Spain? \ud800")))
    assert len(model.shown) == 1
    assert words(logged(store)) == ["Capital of France?", "Paris"]


def test_what_other_middleware_changes_in_the_state_is_no_edit(store, run):
    """It may shorten what was said for the model: the log keeps it, and nothing is asked again."""
    from langchain.agents.middleware import before_agent  # noqa: PLC0415

    @before_agent
    def shorten(state, runtime):  # noqa: ARG001
        users = [m for m in state["messages"] if m.type == "human"]
        return {"messages": [m.model_copy(update={"content": "…"}) for m in users[:-1]]}

    agent, model = agent_of(store, InMemorySaver(), *"abcd", before=[shorten])
    for number in range(1, 4):
        run(agent, given(human(f"number {number}", f"m{number}")))
    assert words(model.shown[-1]) == ["…", "a", "…", "b", "number 3"]
    assert words(logged(store)) == ["number 1", "a", "number 2", "b", "number 3", "c"]
    require_acceptable(logged(store))


def test_an_edit_leaves_the_answer_of_a_concurrent_turn(store, run):
    """Nothing in the log says which answer is whose."""
    at_once = [("user", "qX", "x"), ("user", "q", "m1"), ("assistant", "A", "a")]
    for role, text, known in [*at_once, ("assistant", "AX", "ax")]:
        store.append_message("s", SessionMessage(role, text, id=known))
    agent, _ = agent_of(store, None, "new")
    run(agent, given(human("q'")))
    assert words(logged(store)) == ["qX", "q'", "A", "AX", "new"]
