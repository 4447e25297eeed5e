"""Turns of a chain in one session at once: which runs, which waits, and whose save is refused."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from scripted import watched
from turns import CONFIG, PATIENCE, WAYS, Heard, talker

from langchain_sessionstore import SessionSaveError, TurnSupersededError, with_session_history
from langchain_sessionstore.leases import renewed as lease_of_turns
from langchain_sessionstore.leases.renewing import Renewer
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidSessionError,
    OutageError,
    SessionAccessError,
    SessionLeasedError,
    SessionStore,
    SQLiteSessionStore,
)
from sessionstore.operations import AcquireLease, ReleaseLease, RenewLease
from sessionstore.testing import FlakySessionStore
from sessionstore.testing.waiting import wait_until

Say = Callable[[Any, Any, Any], str]
LEASED = ["wait", "reject", "supersede"]
RENEWALS = "sessionstore-renewals"


@pytest.fixture
def store() -> SessionStore:
    return InMemorySessionStore()


@pytest.fixture(params=WAYS)
def say(request: pytest.FixtureRequest) -> Say:
    return WAYS[request.param]


@pytest.fixture
def _renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease lasts as long as ever, so that a slow machine loses none."""
    monkeypatch.setattr(lease_of_turns, "_RENEWED_EACH", 1 / 3000)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not renewing())


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == RENEWALS]


def log(store: SessionStore) -> list[Any]:
    return [message.content for message in store.get_messages("s")]


def is_free(store: SessionStore) -> bool:
    try:
        with store.lease("s"):
            return True
    except SessionLeasedError:
        return False


class Held:
    """A first turn, which runs in a thread until it may go on."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self.runs, self.may_go_on = threading.Event(), threading.Event()

    def talker(self) -> Any:
        return talker(self.heard, self._meanwhile)

    def _meanwhile(self, text: str) -> None:
        if text == "one":
            self.runs.set()
            assert self.may_go_on.wait(PATIENCE)


def test_a_turn_waits_for_the_one_before_it(say: Say, store: SessionStore) -> None:
    held = Held()
    chain = with_session_history(held.talker(), store, concurrent_turns="wait")
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(say, chain, "one", CONFIG)
        assert held.runs.wait(PATIENCE)
        two = pool.submit(say, chain, "two", CONFIG)
        wait_until(lambda: "SessionLeasedError" in store.stats().errors)
        assert held.heard == [["one"]]
        held.may_go_on.set()
        assert (one.result(), two.result()) == ("Well, one!", "Well, two!")
    assert held.heard[1] == ["one", "Well, one!", "two"]
    assert log(store) == ["one", "Well, one!", "two", "Well, two!"]
    assert is_free(store)


@pytest.mark.parametrize("terms", [{"turn_wait": 0.05}, {"concurrent_turns": "reject"}])
def test_a_turn_beside_another_is_refused_before_anything_runs(
    say: Say, store: SessionStore, terms: dict[str, Any]
) -> None:
    heard: Heard = []
    terms = {"concurrent_turns": "wait", **terms}
    chain = with_session_history(talker(heard), store, **terms)
    with store.lease("s"), pytest.raises(SessionLeasedError) as refused:
        say(chain, "two", CONFIG)
    assert refused.value.seconds_left
    waited = terms["concurrent_turns"] == "wait"
    assert ("still runs after turn_wait=0.05 s," in str(refused.value)) == waited
    assert (heard, log(store)) == ([], [])
    assert say(chain, "two", CONFIG) == "Well, two!"
    assert is_free(store)


def test_a_newer_turn_supersedes_the_one_before_it(say: Say, store: SessionStore) -> None:
    held = Held()
    chain = with_session_history(held.talker(), store, concurrent_turns="supersede")
    chain.invoke("zero", CONFIG)
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(say, chain, "one", CONFIG)
        assert held.runs.wait(PATIENCE)
        assert say(chain, "two", CONFIG) == "Well, two!"
        held.may_go_on.set()
        with pytest.raises(TurnSupersededError, match="superseded") as superseded:
            one.result()
    assert superseded.value.answer.content == "Well, one!"
    assert not superseded.value.input_saved
    assert isinstance(superseded.value.__cause__, SessionLeasedError)
    assert isinstance(pickle.loads(pickle.dumps(superseded.value)), TurnSupersededError)  # noqa: S301
    assert held.heard[-1] == ["zero", "Well, zero!", "two"]
    assert log(store) == ["zero", "Well, zero!", "two", "Well, two!"]
    assert is_free(store)


@pytest.mark.parametrize("mode", LEASED)
def test_a_turn_whose_lease_was_lost_writes_nothing(
    say: Say, store: SessionStore, mode: Any
) -> None:
    def lose(_: str) -> None:
        with store.lease("s", take_over=True):
            pass

    chain = with_session_history(talker([], lose), store, concurrent_turns=mode)
    with pytest.raises(TurnSupersededError):
        say(chain, "one", CONFIG)
    assert log(store) == []

    errors: list[SessionSaveError] = []
    heeding = with_session_history(
        talker([], lose), store, concurrent_turns=mode, on_save_error=errors.append
    )
    assert say(heeding, "one", CONFIG) == "Well, one!"
    assert [type(error) for error in errors] == [TurnSupersededError]
    assert log(store) == []


@pytest.mark.usefixtures("_renewed_often")
def test_a_lease_is_renewed_while_the_turn_runs_and_not_after_it(
    say: Say, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = watched(monkeypatch)

    def until_renewed(_: str) -> None:
        wait_until(lambda: [type(each) for each in given].count(RenewLease) > 2)

    chain = with_session_history(talker([], until_renewed), store, concurrent_turns="reject")
    assert say(chain, "one", CONFIG) == "Well, one!"
    wait_until(lambda: not renewing())
    assert is_free(store)


@pytest.mark.usefixtures("_renewed_often")
def test_a_lease_is_renewed_while_the_consumer_of_a_stream_pauses(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = watched(monkeypatch)
    chain = with_session_history(talker([]), store, concurrent_turns="reject")

    def until_renewed() -> None:
        del given[:]
        wait_until(lambda: [type(each) for each in given].count(RenewLease) > 2)

    with closing(chain.stream("one", CONFIG)) as chunks:
        next(chunks)
        until_renewed()
        assert len(list(chunks)) == 1

    async def paused() -> None:
        chunks = chain.astream("two", CONFIG)
        await anext(chunks)
        until_renewed()  # it blocks the event loop
        assert len([chunk async for chunk in chunks]) == 1

    asyncio.run(paused())
    assert log(store) == ["one", "Well, one!", "two", "Well, two!"]


def test_a_stream_that_is_left_gives_the_lease_back(store: SessionStore) -> None:
    chain = with_session_history(talker([]), store, concurrent_turns="reject")
    chunks = chain.stream("one", CONFIG)
    next(chunks)
    assert not is_free(store)
    del chunks
    gc.collect()
    assert is_free(store)

    async def left() -> None:
        chunks: Any = chain.astream("two", CONFIG)
        await anext(chunks)
        assert not is_free(store)
        del chunks
        gc.collect()
        while not is_free(store):  # noqa: ASYNC110 - the loop closes what was dropped
            await asyncio.sleep(0)

    asyncio.run(left())
    assert log(store) == ["one", "Well, ", "two", "Well, "]


@pytest.mark.filterwarnings("ignore:coroutine 'aplay' was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("_renewed_often")
def test_a_stream_that_no_loop_closes_is_renewed_no_more(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = watched(monkeypatch)
    chain = with_session_history(talker([]), store, concurrent_turns="reject")
    loop = asyncio.new_event_loop()
    chunks: Any = chain.astream("one", CONFIG)
    loop.run_until_complete(anext(chunks))
    wait_until(lambda: RenewLease in map(type, given))
    loop.close()
    del chunks
    gc.collect()
    wait_until(lambda: not renewing())
    assert not is_free(store)  # its time gives it back


def test_a_cancelled_caller_holds_no_lease(store: SessionStore) -> None:
    started = asyncio.Event()

    async def think(_: Any) -> str:
        started.set()
        await asyncio.sleep(PATIENCE)
        return "never"

    thinking = RunnableLambda(lambda _: "never", think)
    chain = with_session_history(thinking, store, concurrent_turns="wait")

    async def cancelled() -> None:
        running = asyncio.create_task(chain.ainvoke("one", CONFIG))
        await started.wait()
        waiting = asyncio.create_task(chain.ainvoke("two", CONFIG))
        await asyncio.sleep(0)
        for task in (waiting, running):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert is_free(store)

    asyncio.run(cancelled())
    assert log(store) == []


def test_a_turn_that_fails_or_is_interrupted_gives_the_lease_back(store: SessionStore) -> None:
    for error in (ValueError, KeyboardInterrupt):

        def fail(_: str, error: type[BaseException] = error) -> None:
            raise error

        chain = with_session_history(talker([], fail), store, concurrent_turns="reject")
        with pytest.raises(error):
            chain.invoke("one", CONFIG)
        assert is_free(store)


@pytest.mark.usefixtures("_renewed_often")
def test_renewals_are_tried_again_in_an_outage_and_end_with_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease_of_turns, "_TRIED_AGAIN_EACH", 1 / 3000)
    store = FlakySessionStore()
    store.fail_next(3, on=RenewLease)

    def until_it_is_back(_: str) -> None:
        wait_until(
            lambda: store.failures == 3 and store.stats().operations.get("RenewLease", 0) > 5
        )
        with store.lease("s", take_over=True):
            wait_until(lambda: store.stats().errors.get("SessionLeasedError", 0) > 0)

    chain = with_session_history(talker([], until_it_is_back), store, concurrent_turns="reject")
    with pytest.raises(TurnSupersededError):
        chain.invoke("one", CONFIG)
    assert store.stats().errors["SessionLeasedError"] == 2  # one renewal, and the save


def test_in_an_outage_no_turn_has_a_lease(say: Say) -> None:
    primary, heard = FlakySessionStore(), Heard()
    with FallbackSessionStore(primary, retry_after=0.01) as store:

        def lose_it(_: str) -> None:
            primary.fail_next(None)

        chain = with_session_history(talker(heard, lose_it), store, concurrent_turns="reject")
        with pytest.raises(SessionSaveError) as unsaved:  # it began while the turn ran
            say(chain, "one", CONFIG)
        assert isinstance(unsaved.value.__cause__, OutageError)
        assert unsaved.value.answer.content == "Well, one!"
        for mode in LEASED:
            chain = with_session_history(talker(heard), store, concurrent_turns=mode)  # type: ignore[arg-type]
            with pytest.raises(OutageError):
                say(chain, "two", CONFIG)
        assert heard == [["one"]]
        say(with_session_history(talker(heard), store), "three", CONFIG)
        primary.heal()
        wait_until(store.recover)
        assert log(primary) == ["three", "Well, three!"]


@pytest.mark.parametrize("mode", LEASED)
def test_what_remembers_within_a_turn_is_a_part_of_it(
    say: Say, store: SessionStore, mode: Any
) -> None:
    inner = with_session_history(talker([]), store, concurrent_turns=mode)

    async def asking(messages: Any) -> Any:
        return await inner.ainvoke(f"in {messages[-1].content}", CONFIG)

    asking_both_ways = RunnableLambda(
        lambda messages: inner.invoke(f"in {messages[-1].content}", CONFIG), asking
    )
    outer = with_session_history(asking_both_ways, store, concurrent_turns=mode)
    assert say(outer, "one", CONFIG) == "Well, in one!"
    assert log(store) == ["in one", "Well, in one!", "one", "Well, in one!"]
    assert is_free(store)


@pytest.mark.parametrize("mode", ["interleave", *LEASED])
def test_what_remembers_within_a_stream_is_left_before_the_turn_is(
    store: SessionStore, mode: Any
) -> None:
    inner = with_session_history(talker([]), store, concurrent_turns=mode)

    class Asking(RunnableLambda[Any, Any]):
        def stream(self, input: Any, config: Any = None, **_: Any) -> Any:
            return inner.stream(f"in {input[-1].content}", config)

        def astream(self, input: Any, config: Any = None, **_: Any) -> Any:
            return inner.astream(f"in {input[-1].content}", config)

    chain = with_session_history(Asking(str), store, concurrent_turns=mode)
    chunks: Any = chain.stream("one", CONFIG)
    next(chunks)
    chunks.close()
    assert log(store) == (left := ["in one", "Well, ", "one", "Well, "])

    async def leave() -> None:
        async with aclosing(chain.astream("one", CONFIG)) as chunks:
            await anext(chunks)
        assert log(store) == [*left, *left]

    asyncio.run(leave())
    assert is_free(store)


def test_who_takes_the_chunks_is_not_a_part_of_the_turn(store: SessionStore) -> None:
    chain = with_session_history(talker([]), store, concurrent_turns="reject")

    async def beside() -> None:
        async for _ in chain.astream("one", CONFIG):
            with pytest.raises(SessionLeasedError):
                await chain.ainvoke("two", CONFIG)

    asyncio.run(beside())
    for _ in chain.stream("one", CONFIG):
        with pytest.raises(SessionLeasedError):
            chain.invoke("two", CONFIG)


def test_batches_run_one_turn_after_the_other_or_reject(store: SessionStore) -> None:
    texts = [f"text {number}" for number in range(6)]
    heard: Heard = []
    waiting = with_session_history(talker(heard), store, concurrent_turns="wait")
    waiting.batch(texts, CONFIG)
    asyncio.run(waiting.abatch(texts, CONFIG))
    assert sorted(map(len, heard)) == list(range(1, 24, 2))
    assert sorted(log(store)) == sorted(2 * [*texts, *(f"Well, {text}!" for text in texts)])

    gate = threading.Barrier(2)

    def both_were_here(_: Any) -> str:
        gate.wait(PATIENCE)
        return "one"

    rejecting = with_session_history(
        RunnableLambda(both_were_here), store, concurrent_turns="reject"
    )
    outcomes: list[Any] = []

    def turn() -> None:
        try:
            outcomes.append(rejecting.invoke("x", CONFIG))
        except SessionLeasedError as error:
            outcomes.append(type(error))
            gate.wait(PATIENCE)

    threads = [threading.Thread(target=turn) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [SessionLeasedError, "one"]


def test_a_lease_is_for_the_owner_and_of_one_session(store: SessionStore) -> None:
    store.create("s", user_id="alice")
    chain = with_session_history(talker([]), store, concurrent_turns="supersede")
    with pytest.raises(SessionAccessError):
        chain.invoke("one", {"configurable": {"session_id": "s", "user_id": "eve"}})
    with store.lease("s"):
        chain.invoke("one", {"configurable": {"session_id": "t", "user_id": "alice"}})


def test_a_turn_that_goes_back_rewinds_under_its_lease(store: SessionStore) -> None:
    def lose(text: str) -> None:
        if text == "three":
            store.lease("s", take_over=True).__enter__()

    chain = with_session_history(talker([], lose), store, concurrent_turns="supersede")
    chain.invoke([HumanMessage("one", id="q1")], CONFIG)
    answer = store.get_messages("s")[-1].id
    chain.invoke("two", CONFIG)
    back = {"configurable": {"session_id": "s", "rewind_to": answer}}
    with pytest.raises(TurnSupersededError):
        chain.invoke("three", back)
    assert log(store) == ["one", "Well, one!", "two", "Well, two!"]
    chain.invoke("four", back)
    assert log(store) == ["one", "Well, one!", "four", "Well, four!"]


def test_edits_are_made_under_the_lease(store: SessionStore) -> None:
    chain = with_session_history(talker([]), store, concurrent_turns="wait")
    for text in ("one", "other"):
        chain.invoke([HumanMessage(text, id="q1")], CONFIG)
    assert log(store) == ["other", "Well, other!"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_lease_to_its_parent(tmp_path: Any) -> None:
    store = SQLiteSessionStore(tmp_path / "sessions.db")

    def fork(_: str) -> None:
        child = os.fork()
        if child == 0:
            raise SystemExit
        assert os.waitpid(child, 0)[1] == 0

    chain = with_session_history(talker([], fork), store, concurrent_turns="reject")
    try:
        assert chain.invoke("one", CONFIG).content == "Well, one!"
    except SystemExit:
        os._exit(0)
    assert log(store) == ["one", "Well, one!"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_was_forked_in_a_turn_has_turns_of_its_own(tmp_path: Any) -> None:
    store = SQLiteSessionStore(tmp_path / "sessions.db")
    chain = with_session_history(talker([]), store, concurrent_turns="reject")
    children: list[int] = []
    gate, opened = os.pipe()

    def fork(_: Any) -> str:
        children.append(os.fork())
        if not children[-1]:
            os.close(opened)
            os.read(gate, 1)  # until the turn is over
            try:
                chain.invoke("of the child", CONFIG)
            finally:
                os._exit(0)
        return "forked"

    with_session_history(RunnableLambda(fork), store, concurrent_turns="reject").invoke("x", CONFIG)
    os.close(opened)
    os.close(gate)
    os.waitpid(children[0], 0)
    assert log(store) == ["x", "forked", "of the child", "Well, of the child!"]


def test_a_turn_that_is_interrupted_as_its_renewals_begin_holds_no_lease(
    say: Say, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Renewer, "hold", interrupted)
    chain = with_session_history(talker([]), store, concurrent_turns="reject")
    with pytest.raises(KeyboardInterrupt):
        say(chain, "one", CONFIG)
    assert is_free(store)


def test_turns_that_need_no_lease_ask_for_none(
    say: Say, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = watched(monkeypatch)
    chain = with_session_history(talker([]), store)
    with store.lease("s"):
        del given[:]
        say(chain, "one", CONFIG)
        assert len(given) == 2
    assert not {AcquireLease, RenewLease} & set(map(type, given[:2]))
    assert type(given[-1]) is ReleaseLease


@pytest.mark.parametrize(
    "options",
    [
        {"concurrent_turns": "queue"},
        {"concurrent_turns": None},
        {"concurrent_turns": ["wait"]},
        {"turn_wait": -1},
        {"turn_wait": "60"},
        {"turn_wait": 100_000},
    ],
)
def test_what_is_no_way_for_turns_to_go_is_refused(
    store: SessionStore, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSessionError, match=next(iter(options))):
        with_session_history(talker([]), store, **options)
