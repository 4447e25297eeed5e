"""The store that fails on purpose, as the tests of applications use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from handing_on import HandingOn

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionConflictError,
    SQLiteSessionStore,
    StoreBusyError,
    StoreConnectionError,
    StoreTimeoutError,
)
from sessionstore.operations import Append, Get, GetMessages, Operation
from sessionstore.testing import FlakySessionStore, OpenStore

HELLO = {"role": "user", "content": "Hello!", "id": "m1"}
Call = Callable[..., Any]


class TestConformance(HandingOn):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return lambda **options: FlakySessionStore(InMemorySessionStore(**options))


@pytest.fixture
def store() -> Iterator[FlakySessionStore]:
    with FlakySessionStore() as store:
        yield store


def failed(call: Call, store: Any, name: str, *args: Any, **kwargs: Any) -> str:
    """Call what fails, and give the class of its error; empty where it did not fail."""
    try:
        call(store, name, *args, **kwargs)
    except Exception as error:  # noqa: BLE001 - any is told
        return type(error).__name__
    return ""


def test_the_next_operations_fail_and_nothing_of_them_is_done(
    call: Call, store: FlakySessionStore
) -> None:
    store.fail_next(2)
    told = [failed(call, store, "append_message", "s", HELLO) for _ in range(3)]
    assert told == ["StoreConnectionError", "StoreConnectionError", ""]
    assert call(store, "append_message", "s", HELLO) == 0
    assert store.failures == 2
    assert [type(one) for one in store.operations] == [Append] * 4


def test_an_error_is_the_one_that_was_given(call: Call, store: FlakySessionStore) -> None:
    error = StoreBusyError("too many connections")
    store.fail_next(2, error=error)
    for _ in range(2):
        with pytest.raises(StoreBusyError, match="too many connections") as caught:
            call(store, "get", "s")
        assert caught.value is error
    store.fail_next(error=SessionConflictError)
    with pytest.raises(SessionConflictError, match="on purpose"):
        call(store, "get", "s")


@pytest.mark.parametrize(
    ("which", "met"),
    [
        (Append, ["append_message"]),
        ((Append, Get), ["get", "append_message"]),
        ("reads", ["get", "get_messages", "ping"]),
        ("writes", ["append_message"]),
        (lambda operation: operation.about == "s", ["get", "get_messages", "append_message"]),
        (None, ["get", "get_messages", "append_message", "ping"]),
    ],
    ids=["class", "classes", "reads", "writes", "function", "all"],
)
def test_faults_are_for_the_operations_that_they_name(
    call: Call, store: FlakySessionStore, which: Any, met: list[str]
) -> None:
    store.fail_next(None, on=which)
    asked: dict[str, tuple[Any, ...]] = {
        "get": ("s",),
        "get_messages": ("s",),
        "append_message": ("s", HELLO),
        "ping": (),
    }
    assert [name for name, args in asked.items() if failed(call, store, name, *args)] == met


def test_a_fault_may_come_after_so_many_that_are_answered(
    call: Call, store: FlakySessionStore
) -> None:
    store.fail_next(on=GetMessages, after=2)
    call(store, "append_message", "s", HELLO)  # no GetMessages: not counted
    told = [bool(failed(call, store, "get_messages", "s")) for _ in range(4)]
    assert told == [False, False, True, False]


def test_an_answer_is_lost_after_the_work_is_done(call: Call, store: FlakySessionStore) -> None:
    store.lose_answers(on="writes")
    with pytest.raises(StoreConnectionError, match="answer is lost"):
        call(store, "append_message", "s", HELLO)
    assert len(call(store, "get_messages", "s")) == 1
    assert call(store, "append_message", "s", HELLO) == 0


def test_what_fails_by_itself_loses_no_answer(call: Call, store: FlakySessionStore) -> None:
    store.lose_answers()
    with pytest.raises(SessionConflictError):
        call(store, "append_message", "s", HELLO, expected_version=7)


def test_it_is_down_until_it_comes_back(call: Call, store: FlakySessionStore) -> None:
    store.go_down()
    names = ("ping", "list_sessions", "prune_expired")
    assert {failed(call, store, name) for name in names} == {"StoreConnectionError"}
    store.go_down(error=StoreBusyError)
    assert failed(call, store, "ping") == "StoreBusyError"
    store.come_back()
    assert failed(call, store, "ping") == ""


def test_an_outage_ends_with_its_block_whatever_happens(store: FlakySessionStore) -> None:
    with pytest.raises(StoreConnectionError), store.outage():
        store.ping()
    store.ping()


def test_healed_it_has_forgotten_every_fault(call: Call, store: FlakySessionStore) -> None:
    store.fail_next(None)
    store.lose_answers(None)
    store.slow(60)
    store.go_down()
    store.heal()
    assert call(store, "append_message", "s", HELLO) == 1


def test_faults_follow_one_another_in_the_order_in_which_they_were_told(
    call: Call, store: FlakySessionStore
) -> None:
    store.fail_next(error=StoreBusyError)
    store.lose_answers(error=StoreTimeoutError)
    store.fail_next(error=KeyError)
    told = [failed(call, store, "append_message", "s", HELLO) for _ in range(4)]
    assert told == ["StoreBusyError", "StoreTimeoutError", "KeyError", ""]


def test_a_slow_operation_is_held_back_and_then_answered(
    call: Call, store: FlakySessionStore
) -> None:
    store.slow(0.05, times=1, on="writes")
    store.slow(0.05, times=1)
    started = time.monotonic()
    assert call(store, "append_message", "s", HELLO) == 1
    assert time.monotonic() - started >= 0.1
    assert store.failures == 0


def test_what_is_slower_than_the_timeout_gives_no_answer_in_time(call: Call) -> None:
    with FlakySessionStore(timeout=0.05) as store:
        store.slow(60, times=1)
        started = time.monotonic()
        with pytest.raises(StoreTimeoutError):
            call(store, "append_message", "s", HELLO)
        assert 0.05 <= time.monotonic() - started < 30
        assert call(store, "get_messages", "s") == []
        assert store.failures == 1


def test_the_timeout_is_that_of_the_store_inside_where_none_is_given() -> None:
    with FlakySessionStore(SQLiteSessionStore(timeout=3.0)) as store:
        assert store.timeout == 3.0
    assert FlakySessionStore().timeout is None
    assert FlakySessionStore(SQLiteSessionStore(timeout=3.0), timeout=1.0).timeout == 1.0


def test_an_async_call_that_is_slow_leaves_its_loop_free(store: FlakySessionStore) -> None:
    store.slow(0.2, on="reads")

    async def main() -> list[str]:
        done: list[str] = []

        async def read() -> None:
            await store.aget("s")
            done.append("read")

        async def write() -> None:
            await store.aappend_message("s", HELLO)
            done.append("written")

        await asyncio.gather(read(), write())
        return done

    assert asyncio.run(main()) == ["written", "read"]


def test_exactly_so_many_of_many_threads_meet_a_fault(store: FlakySessionStore) -> None:
    store.fail_next(50, on=Append)

    def write(number: int) -> bool:
        try:
            store.append_message("s", {**HELLO, "id": f"m{number}"})
        except StoreConnectionError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(write, range(200)))
    assert told.count(False) == store.failures == 50
    assert len(store.operations) == 200
    assert len(store.get_messages("s")) == told.count(True)


def test_under_a_fallback_nothing_is_lost_in_an_outage(call: Call) -> None:
    server = FlakySessionStore()
    with FallbackSessionStore(server, retry_after=60, retry_cap=60) as store:
        call(store, "append_message", "s", HELLO)
        with server.outage():
            call(store, "append_message", "s", {**HELLO, "id": "m2"})
            assert store.is_degraded()
            assert [m.id for m in call(store, "get_messages", "s")] == ["m1", "m2"]
            assert not call(store, "recover")
        assert [m.id for m in server.get_messages("s")] == ["m1"]
        assert call(store, "recover")
        assert [m.id for m in server.get_messages("s")] == ["m1", "m2"]


def test_under_a_fallback_a_lost_answer_adds_nothing_twice(call: Call) -> None:
    server = FlakySessionStore()
    with FallbackSessionStore(server, retry_after=0) as store:
        server.lose_answers(on="writes")
        call(store, "append_message", "s", HELLO)
        assert call(store, "recover")
        assert [m.id for m in server.get_messages("s")] == ["m1"]


def test_under_a_fallback_one_slow_session_is_left_alone_by_itself(call: Call) -> None:
    server = FlakySessionStore(timeout=0.05)

    def is_hot(operation: Operation[Any]) -> bool:
        return operation.about == "hot"

    with FallbackSessionStore(server, retry_after=60, retry_cap=60) as store:
        server.slow(60, on=is_hot)
        call(store, "append_message", "hot", HELLO)
        call(store, "append_message", "other", HELLO)
        assert not store.is_degraded()
        assert store.stats().slow_sessions == 1
        assert len(server.get_messages("other")) == 1
        server.heal()
        assert call(store, "recover")
        assert len(server.get_messages("hot")) == 1
