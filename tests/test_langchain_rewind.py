"""`rewind_to` in chains: a turn runs as if nothing came after a message."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import partial
from threading import Barrier, Thread
from typing import Any

import pytest
from faults import FaultyStore
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from llama_index_stores import opened
from scripted import watched

from langchain_sessionstore import SessionSaveError, with_session_history
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    SessionAccessError,
    SessionMessage,
    SessionNotFoundError,
    SQLiteSessionStore,
    StoreConnectionError,
    StoreUnavailableError,
    Window,
)
from sessionstore.errors import OutageError
from sessionstore.operations import Append, GetMessages, Rewind, Several

TURNS = 3


def config(to=None, user="alice", session="s"):
    return {"configurable": {"session_id": session, "user_id": user, "rewind_to": to}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request):
    with opened(request.param, request) as made:
        yield made


@pytest.fixture(params=["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
def run(request):
    def stream(chain, given, how):
        return list(chain.stream(given, how))[-1]

    def astream(chain, given, how):
        async def last():
            return [chunk async for chunk in chain.astream(given, how)][-1]

        return asyncio.run(last())

    runs: dict[str, Any] = {
        "invoke": lambda chain, given, how: chain.invoke(given, how),
        "ainvoke": lambda chain, given, how: asyncio.run(chain.ainvoke(given, how)),
        "stream": stream,
        "astream": astream,
        "batch": lambda chain, given, how: chain.batch([given], [how])[0],
        "abatch": lambda chain, given, how: asyncio.run(chain.abatch([given], [how]))[0],
    }
    return runs[request.param]


@pytest.fixture(params=["sync", "async"])
def mode(request):
    if request.param == "sync":
        return lambda chain, given, how: chain.invoke(given, how)
    return lambda chain, given, how: asyncio.run(chain.ainvoke(given, how))


def human(text, id=None):
    return [HumanMessage(text, id=id)]


def words(messages):
    return [message.content for message in messages]


def logged(store, session="s"):
    return words(store.get_messages(session))


def chain_of(store, *answers, **options):
    """Give a chain that says the answers, and what it was shown."""
    shown, lines = [], iter(answers)

    def answer(messages):
        shown.append(words(messages))
        line = next(lines)
        if isinstance(line, Exception):
            raise line
        return line

    return with_session_history(RunnableLambda(answer), store, **options), shown


def said(store, turns=TURNS):
    """Have a conversation of q0, a0, q1, a1 … with those ids."""
    log = []
    for n in range(turns):
        log += [SessionMessage("user", f"q{n}", id=f"q{n}")]
        log += [SessionMessage("assistant", f"a{n}", id=f"a{n}")]
    store.append_messages("s", log, user_id="alice")


@pytest.mark.parametrize("window", [None, Window(max_messages=2), Window(max_tokens=1000)])
def test_a_turn_runs_as_if_nothing_came_after_the_message(store, run, window):
    said(store, 5)
    chain, shown = chain_of(store, "new!", "newer!", window=window)
    run(chain, "new?", config("a1"))
    seen = ["q1", "a1"] if window and window.max_messages else ["q0", "a0", "q1", "a1"]
    assert shown == [[*seen, "new?"]]
    assert logged(store) == ["q0", "a0", "q1", "a1", "new?", "new!"]
    run(chain, "newer?", config("a1"))
    assert shown[1] == [*seen, "newer?"]
    assert logged(store) == ["q0", "a0", "q1", "a1", "newer?", "newer!"]


def test_a_message_is_edited_and_its_answer_made_again_by_its_own_id(store, run):
    said(store)
    chain, shown = chain_of(store, "edited!", "again!", "and again!", "first!")
    run(chain, human("edited?", "q1"), config("q1"))
    assert logged(store) == ["q0", "a0", "edited?", "edited!"]
    run(chain, human("edited?", "q1"), config("q1"))
    assert logged(store) == ["q0", "a0", "edited?", "again!"]
    run(chain, [], config("q1"))
    assert logged(store) == ["q0", "a0", "edited?", "and again!"]
    assert shown == [["q0", "a0", "edited?"]] * 3
    assert len({message.id for message in store.get_messages("s")}) == 4
    run(chain, human("first?", "q0"), config("q0"))
    assert (shown[-1], logged(store)) == (["first?"], ["first?", "first!"])


def test_what_is_behind_the_message_counts_as_never_said(store, mode):
    """Its ids are new again; before it a retry's answer takes the old one's place, as always."""
    said(store)
    chain, shown = chain_of(store, "again", "other", "last")
    mode(chain, human("q2", "q2"), config("a0"))
    assert logged(store) == ["q0", "a0", "q2", "again"]
    assert shown[-1] == ["q0", "a0", "q2"]
    mode(chain, human("q0", "q0"), config("a0"))
    assert (shown[-1], logged(store)) == (["q0"], ["q0", "other"])
    mode(chain, [*human("Q0", "q0"), *human("q1", "q1")], config("q0"))
    assert (shown[-1], logged(store)) == (["Q0", "q1"], ["Q0", "q1", "last"])


def test_the_log_is_rewound_in_the_step_that_saves_the_turn(monkeypatch, mode):
    store = InMemorySessionStore()
    said(store)
    chain, _ = chain_of(store, "edited!")
    given = watched(monkeypatch)
    mode(chain, human("edited?", "q1"), config("q1"))
    [step] = [each for each in given if each.is_write]
    assert isinstance(step, Several)
    assert [type(each).__name__ for each in step.operations] == [
        "Rewind",
        "ReplaceMessage",
        "Append",
    ]
    assert given.index(step) == len(given) - 1


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_turn_is_rewound_on_a_server(request, kind, mode):
    with opened(kind, request) as store:
        said(store, 5)
        chain, shown = chain_of(store, "new!", "edited!", window=Window(max_messages=4))
        mode(chain, "new?", config("a1"))
        mode(chain, human("edited?", "q1"), config("q1"))
        assert shown == [["q0", "a0", "q1", "a1", "new?"], ["q0", "a0", "edited?"]]
        assert logged(store) == ["q0", "a0", "edited?", "edited!"]
        with pytest.raises(SessionNotFoundError):
            mode(chain, "?", config("a1"))


# -- What goes wrong leaves the log whole -------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (config("nowhere"), SessionNotFoundError),
        (config("q0", session="none"), SessionNotFoundError),
        (config(""), InvalidMessageError),
        (config(7), InvalidMessageError),
        (config(["q0"]), InvalidMessageError),
        (config("q0", user="mallory"), SessionAccessError),
        (config("nowhere", user="mallory"), SessionAccessError),
    ],
    ids=repr,
)
def test_what_can_not_be_rewound_is_refused_before_the_model_runs(store, mode, how, error):
    said(store)
    before = store.get("s")
    for window in (None, Window(max_messages=2)):
        chain, shown = chain_of(store, window=window)
        with pytest.raises(error):
            mode(chain, "?", how)
        assert not shown
    assert store.get("s") == before
    assert store.get("none") is None


def test_a_model_that_raises_or_says_nothing_leaves_the_log_whole(store, run):
    said(store)
    before = store.get("s")
    chain, _ = chain_of(store, RuntimeError("overloaded"), None, 7, "new!")
    with pytest.raises(RuntimeError, match="overloaded"):
        run(chain, human("new?", "q9"), config("a0"))
    for _ in range(2):
        with pytest.raises(SessionSaveError) as caught:
            run(chain, human("new?", "q9"), config("a0"))
        assert not caught.value.input_saved
    assert store.get("s") == before
    run(chain, human("new?", "q9"), config("a0"))
    assert logged(store) == ["q0", "a0", "new?", "new!"]


def test_a_stream_that_is_left_leaves_the_log_whole(store):
    said(store)
    before = store.get("s")

    def pieces(_inputs):
        yield AIMessage("new")
        yield AIMessage("!")

    async def apieces(_inputs):
        for piece in pieces(_inputs):
            yield piece

    chain = with_session_history(RunnableGenerator(pieces, apieces), store)
    stream = chain.stream("new?", config("a0"))
    next(stream)
    stream.close()

    async def leave():
        async with aclosing(chain.astream("new?", config("a0"))) as chunks:
            await anext(chunks)

    async def cancel():
        running = asyncio.Event()

        async def hang(_):
            running.set()
            await asyncio.Event().wait()

        hanging = with_session_history(RunnableLambda(lambda _: None, hang), store)
        turn = asyncio.create_task(hanging.ainvoke("new?", config("a0")))
        await running.wait()
        turn.cancel()
        with suppress(asyncio.CancelledError):
            await turn

    asyncio.run(leave())
    asyncio.run(cancel())
    assert store.get("s") == before


@pytest.mark.parametrize("heeded", [False, True])
def test_a_save_that_fails_leaves_the_log_whole(mode, heeded):
    faulty = FaultyStore(InMemorySessionStore())
    said(faulty)
    before = faulty.get("s")
    errors: list[SessionSaveError] = []
    chain, _ = chain_of(faulty, "new!", "new!", on_save_error=errors.append if heeded else None)

    def fail(_):
        raise StoreConnectionError("away")

    faulty.before[Several] = fail
    try:
        assert mode(chain, "new?", config("a0")) == "new!"
    except SessionSaveError as error:
        errors.append(error)
    [error] = errors
    assert (error.answer, error.input_saved) == ("new!", False)
    assert faulty.get("s") == before


def test_a_message_that_is_deleted_meanwhile_fails_the_save(store, mode):
    said(store)
    chain, _ = chain_of(store, "new!")
    bound = RunnableLambda(lambda _: store.delete_messages("s", ["a1"]) and "new!")
    chain = with_session_history(bound, store)
    with pytest.raises(SessionSaveError, match="a1") as caught:
        mode(chain, "new?", config("a1"))
    assert caught.value.answer == "new!"
    assert logged(store) == ["q0", "a0", "q1", "q2", "a2"]


# -- Beside others ------------------------------------------------------------------------------


def test_two_turns_that_rewind_at_once_are_each_saved_whole(store):
    """The one that is saved last stays, without a piece of the other."""
    said(store)
    both = Barrier(2)

    def answer(messages):
        both.wait(60)
        return f"to {messages[-1].content}"

    chain = with_session_history(RunnableLambda(answer), store)
    turns = [Thread(target=chain.invoke, args=(text, config("a0"))) for text in "xy"]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    assert logged(store) in [["q0", "a0", one, f"to {one}"] for one in "xy"]


@pytest.mark.parametrize("to", ["a0", "a2"])
@pytest.mark.parametrize("window", [None, Window(max_messages=4)])
def test_what_others_write_as_a_turn_is_read_is_not_seen(mode, to, window):
    faulty = FaultyStore(InMemorySessionStore())
    said(faulty)
    chain, shown = chain_of(faulty, "new!", window=window)

    def others(read):
        if read.after:  # between this read and the next
            del faulty.before[GetMessages]
            other = [Rewind("s", to), Append("s", [SessionMessage("user", "other", id="o")])]
            faulty.afterwards = partial(faulty.inner.run, other)

    faulty.before[GetMessages] = others
    mode(chain, "new?", config(to))
    seen = ["q0", "a0", "q1", "a1", "q2", "a2"]
    seen = seen[: seen.index(to) + 1]
    assert logged(faulty) == [*seen, "new?", "new!"]
    assert shown == [[*seen[-4 if window else 0 :], "new?"]]


def test_what_remembers_within_a_chain_does_not_rewind(store, mode):
    said(store)
    inner, seen = chain_of(store, "deep")
    other = {"configurable": {"session_id": "inner", "user_id": "alice"}}
    chain = with_session_history(RunnableLambda(lambda _: inner.invoke("in", other)), store)
    mode(chain, "new?", config("a0"))
    assert logged(store) == ["q0", "a0", "new?", "deep"]
    inherits, seen = chain_of(store, "deep")
    chain = with_session_history(RunnableLambda(lambda _: "out") | inherits, store)
    mode(chain, "newer?", config("a0"))
    assert seen == [["q0", "a0", "new?", "deep", "out"]]


# -- In an outage -------------------------------------------------------------------------------


@pytest.fixture
def primary(tmp_path):
    with SQLiteSessionStore(tmp_path / "sessions.db") as inner:
        yield FaultyStore(inner)


def test_a_turn_is_rewound_in_an_outage_and_replayed(primary, mode):
    with FallbackSessionStore(primary, retry_after=0.001) as store:
        said(store)
        store.get_messages("s", user_id="alice")
        primary.go_down()
        chain, shown = chain_of(store, "new!", "edited!")
        mode(chain, human("new?", "q9"), config("a0"))
        mode(chain, human("edited?", "q9"), config("q9"))
        assert shown == [["q0", "a0", "new?"], ["q0", "a0", "edited?"]]
        assert store.is_degraded()
        primary.inner.append_message("s", SessionMessage("user", "others'", id="o"))
        primary.come_back()
        assert store.recover()
        rewound = ["q0", "a0", "edited?", "edited!"]
        assert sorted(logged(primary.inner)) == sorted([*rewound, "others'"])
        assert [text for text in logged(primary.inner) if text != "others'"] == rewound


@pytest.mark.parametrize(
    ("window", "seen"),
    [
        (None, ["q7", "a7", "q8"]),
        (Window(max_messages=4), ["q7", "a7", "q8"]),
        (Window(max_messages=1), ["q8"]),
    ],
)
def test_in_an_outage_a_turn_sees_what_is_known_or_is_refused(primary, mode, window, seen):
    said(primary.inner, 10)
    with FallbackSessionStore(primary, retry_after=0.001) as store:
        store.get_messages("s", limit=6, user_id="alice")
        primary.go_down()
        chain, shown = chain_of(store, "new!", window=window)
        with pytest.raises(StoreUnavailableError):
            mode(chain, "new?", config("a0"))
        assert not shown
        mode(chain, human("q8", "q8"), config("q8"))
        assert shown == [seen]
        primary.come_back()
        assert store.recover()
        assert logged(primary.inner)[-4:] == ["q7", "a7", "q8", "new!"]


@pytest.mark.parametrize("window", [None, Window(max_messages=2)])
def test_an_outage_does_not_tell_that_a_message_is_missing(primary, mode, window):
    said(primary.inner)
    with FallbackSessionStore(primary, retry_after=0.001) as store:
        primary.go_down()
        chain, shown = chain_of(store, window=window)
        with pytest.raises(OutageError, match="'a0'"):  # of a session that was not seen
            mode(chain, "new?", config("a0"))
        primary.come_back()
        assert store.recover()
        with pytest.raises(SessionNotFoundError):
            mode(chain, "new?", config("nowhere"))
        assert not shown
        assert logged(primary.inner) == ["q0", "a0", "q1", "a1", "q2", "a2"]


def test_a_read_that_fails_once_shows_no_more_than_the_window(mode):
    faulty = FaultyStore(InMemorySessionStore())
    faulty.append_message("s", SessionMessage("system", "Be brief."), user_id="alice")
    said(faulty, 10)

    def fail(read):
        if read.before:
            del faulty.before[GetMessages]
            raise StoreConnectionError("away")

    faulty.before[GetMessages] = fail
    chain, shown = chain_of(faulty, "new!", window=Window(max_messages=2))
    mode(chain, "new?", config("a7"))
    assert shown == [["Be brief.", "q7", "a7", "new?"]]
