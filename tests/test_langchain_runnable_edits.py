"""A message that comes again with its id and says something else: an edit, in chains."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from langchain_sessionstore import SessionChatMessageHistory, with_session_history
from sessionstore import (
    InMemorySessionStore,
    SessionAccessError,
    SQLiteSessionStore,
    Window,
)

CONFIG = {"configurable": {"session_id": "s"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield InMemorySessionStore()
        return
    with SQLiteSessionStore(tmp_path / "sessions.db") as made:
        yield made


@pytest.fixture(params=["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
def run(request):
    def invoke(chain, given, config=CONFIG):
        return chain.invoke(given, config)

    def ainvoke(chain, given, config=CONFIG):
        return asyncio.run(chain.ainvoke(given, config))

    def stream(chain, given, config=CONFIG):
        return list(chain.stream(given, config))[-1]

    def astream(chain, given, config=CONFIG):
        async def last():
            return [chunk async for chunk in chain.astream(given, config)][-1]

        return asyncio.run(last())

    def batch(chain, given, config=CONFIG):
        return chain.batch([given], [config])[0]

    def abatch(chain, given, config=CONFIG):
        return asyncio.run(chain.abatch([given], [config]))[0]

    return locals()[request.param]


def human(text, id="m1"):
    return [HumanMessage(text, id=id)]


def words(messages):
    return [message.content for message in messages]


def logged(store):
    return SessionChatMessageHistory("s", store).messages


def chain_of(store, *answers, window=None, **options):
    """Give a chain with its answers, and what it was shown."""
    shown, lines = [], iter(answers)

    def answer(messages):
        shown.append(words(messages))
        line = next(lines)
        if isinstance(line, Exception):
            raise line
        return line

    return with_session_history(RunnableLambda(answer), store, window=window, **options), shown


def test_an_edit_of_the_last_turn_is_answered_in_its_place(store, run):
    chain, shown = chain_of(store, "hello", "Paris", "Madrid", "Madrid!")
    run(chain, human("hi", "m0"))
    run(chain, human("Capital of France?"))
    before = [message.id for message in store.get_messages("s")]
    for _ in range(2):
        run(chain, human("Capital of Spain?"))
        assert shown[-1] == ["hi", "hello", "Capital of Spain?"]
    assert words(logged(store)) == ["hi", "hello", "Capital of Spain?", "Madrid!"]
    assert [message.id for message in store.get_messages("s")] == before


def test_an_edit_of_an_earlier_turn_is_answered_at_the_end(store, run):
    chain, shown = chain_of(store, "Paris", "welcome", "Madrid", "Madrid!", "Rome", "bye")
    run(chain, human("Capital of France?"))
    run(chain, human("thanks", "m2"))
    run(chain, human("Capital of Spain?"))
    assert shown[-1] == ["Capital of Spain?"]
    kept = ["Paris", "thanks", "welcome"]
    assert words(logged(store)) == ["Capital of Spain?", *kept, "Madrid"]
    run(chain, human("Capital of Spain?"))
    assert words(logged(store)) == ["Capital of Spain?", *kept, "Madrid!"]
    run(chain, human("Capital of Italy?"))
    assert words(logged(store)) == ["Capital of Italy?", *kept, "Rome"]
    run(chain, human("bye", "m3"))
    assert shown[-1] == ["Capital of Italy?", *kept, "Rome", "bye"]


def test_an_edit_is_not_kept_where_the_runnable_raises(store, run):
    chain, shown = chain_of(store, "Paris", RuntimeError("overloaded"), "Madrid")
    run(chain, human("Capital of France?"))
    with pytest.raises(RuntimeError, match="overloaded"):
        run(chain, human("Capital of Spain?"))
    assert words(logged(store)) == ["Capital of France?", "Paris"]
    run(chain, human("Capital of Spain?"))
    assert shown[-1] == ["Capital of Spain?"]
    assert words(logged(store)) == ["Capital of Spain?", "Madrid"]


def steps(text):
    call = {"name": "f", "args": {}, "id": f"c-{text}", "type": "tool_call"}
    return [
        AIMessage("", tool_calls=[call]),
        ToolMessage(text, tool_call_id=call["id"]),
        AIMessage(text),
    ]


@pytest.mark.parametrize("first", [steps("1"), [AIMessage("1")]])
@pytest.mark.parametrize("second", [steps("2"), [AIMessage("2")]])
def test_the_steps_of_an_edited_turn_are_deleted_with_its_answer(store, first, second):
    chain, _ = chain_of(store, first, second)
    chain.invoke(human("one?"), CONFIG)
    chain.invoke(human("two?"), CONFIG)
    assert words(logged(store)) == ["two?", *words(second)]


def test_a_whole_conversation_with_a_new_question_is_shown_once(store, run):
    chain, shown = chain_of(store, "Paris", "4 million")
    run(chain, human("Capital of Frence?"))
    answer = logged(store)[-1]
    run(chain, [*human("Capital of France?"), answer, *human("How large?", "m2")])
    assert shown[-1] == ["Capital of France?", "Paris", "How large?"]
    assert words(logged(store)) == [*shown[-1], "4 million"]


def test_an_edit_of_a_message_older_than_the_window_is_kept(store, run):
    chain, _ = chain_of(store, *"abcdef", window=Window(max_messages=2))
    for number in range(1, 4):
        run(chain, human(str(number), f"m{number}"))
    run(chain, human("1'", "m1"))
    assert words(logged(store)) == ["1'", "a", "2", "b", "3", "c", "d"]


def test_a_cached_answer_beside_messages_with_ids_is_kept_behind_a_window(store, run):
    same = [AIMessage("yes", id="a1")] * 3
    chain, _ = chain_of(store, same[0], "no", same[1], window=Window(max_messages=1))
    for number in range(1, 4):
        run(chain, human(str(number), f"m{number}"))
    assert words(logged(store)) == ["1", "yes", "2", "no", "3", "yes"]


def test_a_user_who_does_not_own_the_session_edits_nothing(store, run):
    chain, shown = chain_of(store, "Paris")
    alice, mallory = (
        {"configurable": {"session_id": "s", "user_id": name}} for name in ("alice", "mallory")
    )
    run(chain, human("Capital of France?"), alice)
    with pytest.raises(SessionAccessError):
        run(chain, human("Capital of Spain?"), mallory)
    assert (len(shown), words(logged(store))) == (1, ["Capital of France?", "Paris"])


def test_a_changed_system_message_does_not_ask_again(store, run):
    chain, shown = chain_of(store, "hello", "bye")
    for number, text in enumerate(("Monday.", "Tuesday.")):
        run(chain, [SystemMessage(text, id="sys"), *human(f"q{number}", f"m{number}")])
    assert shown[-1] == ["q0", "hello", "Tuesday.", "q1"]
    assert words(logged(store)) == ["Tuesday.", "q0", "hello", "q1", "bye"]


def test_an_edit_whose_stream_the_caller_left_is_kept_with_what_was_streamed(store):
    def pieces(inputs):
        for _ in inputs:
            yield AIMessage("Madrid")
            yield AIMessage("!")

    from langchain_core.runnables import RunnableGenerator  # noqa: PLC0415

    chain, _ = chain_of(store, "Paris")
    chain.invoke(human("Capital of France?"), CONFIG)
    stream = with_session_history(RunnableGenerator(pieces), store).stream(
        human("Capital of Spain?"), CONFIG
    )
    next(stream)
    stream.close()
    assert words(logged(store)) == ["Capital of Spain?", "Madrid"]


def test_an_edit_of_the_last_turn_leaves_the_answer_to_an_earlier_ones_edit(store, run):
    chain, _ = chain_of(store, "a1", "a2", "a1'", "a2'", "a2''")
    run(chain, human("q1", "m1"))
    run(chain, human("q2", "m2"))
    run(chain, human("q1'", "m1"))
    run(chain, human("q2", "m2"))
    assert words(logged(store)) == ["q1'", "a1", "q2", "a2'", "a1'"]
    run(chain, human("q2'", "m2"))
    assert words(logged(store)) == ["q1'", "a1", "q2'", "a2''", "a1'"]


def test_an_edit_older_than_the_window_keeps_its_answer(store, run):
    lines = ["a1", "a2", "a1'", "a1''", "a2'"]
    chain, _ = chain_of(store, *lines, window=Window(max_messages=2))
    sent = [("q1", "m1"), ("q2", "m2"), ("q1'", "m1"), ("q1'", "m1"), ("q2'", "m2")]
    for text, id in sent:  # noqa: A001
        run(chain, human(text, id))
    assert words(logged(store)) == ["q1'", "a1", "q2'", "a2'", "a1''"]


def test_a_retry_that_is_older_than_the_window_is_answered_in_its_place(store, run):
    chain, _ = chain_of(store, "a1", "a2", "a1!", window=Window(max_messages=2))
    for text, id in [("q1", "m1"), ("q2", "m2"), ("q1", "m1")]:  # noqa: A001
        run(chain, human(text, id))
    assert words(logged(store)) == ["q1", "a1!", "q2", "a2"]
