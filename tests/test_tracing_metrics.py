"""The metrics of a traced store, its own and those that it reads from `stats`."""

from __future__ import annotations

import asyncio
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from children import Children
from telemetry import Seen
from warm import Warm

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SessionNotFoundError,
    SQLiteSessionStore,
    StoreStats,
)
from sessionstore.operations import Append, GetMessages
from sessionstore.testing import FlakySessionStore

HELLO = {"role": "user", "content": "Hello!"}
FALLBACK = "sessionstore.fallback."


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_how_long_it_took_is_told_by_operation_and_outcome(seen: Seen, call: Any) -> None:
    store = seen.traced(InMemorySessionStore(), "chats")
    for _ in range(3):
        call(store, "append_message", "s", HELLO)
    with pytest.raises(SessionNotFoundError):
        call(store, "update", "t")
    points = {
        each.attributes["db.operation.name"]: each
        for each in seen.points("db.client.operation.duration")
    }
    assert dict(points["Append"].attributes) == {
        "db.system.name": "memory",
        "db.operation.name": "Append",
        "sessionstore.store": "chats",
        "sessionstore.outcome": "ok",
    }
    assert points["Append"].count == 3
    assert points["Append"].explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert points["Update"].attributes["sessionstore.outcome"] == "error"
    assert points["Update"].attributes["error.type"] == "SessionNotFoundError"


def test_a_call_that_is_cancelled_is_measured_as_that(seen: Seen) -> None:
    class Stuck(InMemorySessionStore):
        async def arun(self, _: Any) -> Any:
            raise asyncio.CancelledError

    store = seen.traced(Stuck())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(store.aget("s"))
    [point] = seen.points("db.client.operation.duration")
    assert point.attributes["sessionstore.outcome"] == "cancelled"


def test_messages_and_lists_are_counted(seen: Seen, call: Any) -> None:
    store = seen.traced(InMemorySessionStore())
    call(store, "append_messages", "s", [HELLO, HELLO])
    call(store, "append_messages", "s", [SessionMessage("user", "a", id="m1")])
    call(store, "append_messages", "s", [SessionMessage("user", "a", id="m1")])  # already there
    call(store, "get_messages", "s", limit=2)
    call(store, "run", [GetMessages("s"), Append("s", [SessionMessage("user", "b")])])
    written, read = "sessionstore.messages.written", "sessionstore.messages.read"
    by_name = {each.attributes["db.operation.name"]: each for each in seen.points(written)}
    assert (by_name["Append"].sum, by_name["Append"].count) == (3, 3)
    assert by_name["BATCH"].sum == 1
    by_name = {each.attributes["db.operation.name"]: each for each in seen.points(read)}
    assert (by_name["GetMessages"].sum, by_name["BATCH"].sum) == (2, 3)
    [size] = seen.points("sessionstore.batch.size")
    assert (size.count, size.sum) == (1, 2)


def test_the_state_of_a_fallback_is_observed(seen: Seen) -> None:
    primary = FlakySessionStore()
    with seen.traced(FallbackSessionStore(primary, retry_after=60, retry_cap=60)) as store:
        assert seen.value(FALLBACK + "degraded") == 0
        primary.go_down()
        for number in range(3):
            store.append_message(f"s{number}", HELLO, user_id="eve")
        assert seen.value(FALLBACK + "degraded") == 1
        assert seen.value(FALLBACK + "pending") == 3
        assert seen.value(FALLBACK + "outages") == 1
        assert seen.value(FALLBACK + "replayed") == 0
        primary.come_back()
        primary.wrapped.create("s0", user_id="alice")
        assert store.recover()
        assert seen.value(FALLBACK + "degraded") == seen.value(FALLBACK + "pending") == 0
        assert seen.value(FALLBACK + "replayed") == 2
        assert seen.value(FALLBACK + "rejected") == 1
        assert seen.value(FALLBACK + "degraded_time") > 0
        assert seen.value("sessionstore.operations") == 3


def test_operations_errors_and_connections_are_observed(seen: Seen) -> None:
    with seen.traced(SQLiteSessionStore()) as store:
        store.append_message("s", HELLO)
        store.run([GetMessages("s"), GetMessages("s")])
        with pytest.raises(SessionNotFoundError):
            store.update("t")
        counts = {
            each.attributes["db.operation.name"]: each.value
            for each in seen.points("sessionstore.operations")
        }
        assert counts == {"Append": 1, "BATCH": 1, "Update": 1}
        assert seen.value("sessionstore.errors", type="SessionNotFoundError") == 1
        assert seen.value("db.client.connection.count", state="idle") == 1
        assert seen.value("db.client.connection.count", state="used") == 0
        [most] = seen.points("db.client.connection.max")
        assert (most.value, most.attributes["db.client.connection.pool.name"]) == (1, "sqlite")
        assert seen.points(FALLBACK + "degraded") == []  # it has none


def test_stores_are_told_apart_by_their_names(seen: Seen) -> None:
    stores = [seen.traced(InMemorySessionStore()) for _ in range(2)]
    stores.append(seen.traced(InMemorySessionStore(), "chats"))
    assert [store.name for store in stores] == ["memory", "memory-2", "chats"]
    for number, store in enumerate(stores):
        for _ in range(number + 1):
            store.get("s")
    for number, store in enumerate(stores):
        assert seen.value("sessionstore.operations", store=store.name) == number + 1


def test_stores_that_threads_make_at_once_have_each_a_name(seen: Seen) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            made = [threads.submit(seen.traced, InMemorySessionStore()) for _ in range(300)]
        assert len({each.result().name for each in made}) == 300
    finally:
        sys.setswitchinterval(interval)


def test_a_store_that_is_dropped_is_let_go_of(seen: Seen) -> None:
    kept, dropped = seen.traced(InMemorySessionStore()), seen.traced(InMemorySessionStore(), "b")
    for store in (kept, dropped):
        store.get("s")
    assert len(seen.points("sessionstore.operations")) == 2
    del store, dropped
    gc.collect()
    kept.get("s")
    assert seen.value("sessionstore.operations") == 2


def test_a_store_that_can_not_tell_keeps_no_other_from_it(seen: Seen) -> None:
    class Mute(InMemorySessionStore):
        def stats(self) -> StoreStats:
            raise RuntimeError("no")

    mute, other = seen.traced(Mute(), "mute"), seen.traced(InMemorySessionStore(), "other")
    for store in (mute, other):
        store.get("s")
    assert seen.value("sessionstore.operations") == 1


def test_a_closed_store_is_observed_to_the_end(seen: Seen) -> None:
    with seen.traced(InMemorySessionStore()) as store:
        store.get("s")
    assert seen.value("sessionstore.operations") == 1


LATER = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from sessionstore import InMemorySessionStore, TracedSessionStore

    stores = [TracedSessionStore(InMemorySessionStore()) for _ in range(2)]
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    stores.append(TracedSessionStore(InMemorySessionStore()))
    given = metrics.get_meter_provider()
    stores.append(TracedSessionStore(InMemorySessionStore(), meter_provider=given))
    for store in stores:
        store.get("s")
    [resource] = reader.get_metrics_data().resource_metrics
    found = {each.name: each.data.data_points for each in resource.scope_metrics[0].metrics}
    for name in ("db.client.operation.duration", "sessionstore.operations"):
        print(*sorted(point.attributes["sessionstore.store"] for point in found[name]))
    print(len(exporter.get_finished_spans()))
"""


def test_an_sdk_that_is_set_later_is_told_of_all_stores(warm: Warm) -> None:
    with Children(warm) as children:
        told = children.run(LATER).splitlines()
    assert told == ["memory memory-2 memory-3 memory-4"] * 2 + ["4"]
