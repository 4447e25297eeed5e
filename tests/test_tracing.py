"""A traced store: what its spans say, whose children they are, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import types
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from handing_on import HandingOn
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from telemetry import Seen

from sessionstore import (
    AgentDb,
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SqliteAgentDb,
    SQLiteSessionStore,
    TracedSessionStore,
    WrapperSessionStore,
)
from sessionstore.operations import Append, Get, GetMessages
from sessionstore.testing import FlakySessionStore, OpenStore

HELLO = {"role": "user", "content": "Hello!", "id": "m1"}


@pytest.fixture
def seen() -> Seen:
    return Seen()


class TestConformance(HandingOn):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> TracedSessionStore:
            return Seen().traced(InMemorySessionStore(**options))

        return opened


# -- What a span says -----------------------------------------------------------------------------


def test_a_span_tells_the_operation_the_session_the_agent_and_numbers(
    seen: Seen, call: Any
) -> None:
    store = seen.traced(InMemorySessionStore(), "chats")
    call(store, "append_messages", "s1", [HELLO, HELLO | {"id": "m2"}], agent_id="helper")
    call(store, "append_message", "s1", HELLO)
    call(store, "get_messages", "s1", limit=1)
    call(store, "list_sessions", last=2)
    call(store, "rewind", "s1", to=None)
    base = {"db.system.name": "memory", "sessionstore.store": "chats", "sessionstore.outcome": "ok"}
    of_one = {**base, "gen_ai.conversation.id": "s1"}
    first, again = ({**of_one, "db.operation.name": "Append"} for _ in range(2))
    assert [dict(span.attributes or {}) for span in seen.spans()] == [
        first
        | {
            "gen_ai.agent.id": "helper",
            "sessionstore.messages.given": 2,
            "sessionstore.messages.written": 2,
        },
        again | {"sessionstore.messages.given": 1, "sessionstore.messages.written": 0},
        of_one
        | {
            "db.operation.name": "GetMessages",
            "sessionstore.messages.limit": 1,
            "sessionstore.messages.read": 1,
        },
        base
        | {
            "db.operation.name": "ListSessions",
            "sessionstore.messages.read": 2,
            "sessionstore.sessions.read": 1,
        },
        of_one | {"db.operation.name": "Rewind", "sessionstore.messages.deleted": 2},
    ]
    assert [span.name for span in seen.spans()][:3] == ["Append", "Append", "GetMessages"]
    scope = seen.spans()[0].instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.schema_url) == (
        "sessionstore",
        "https://opentelemetry.io/schemas/1.44.0",
    )


def test_a_list_is_a_batch_by_the_conventions(seen: Seen, call: Any) -> None:
    store = seen.traced(InMemorySessionStore())
    append = Append("s1", [SessionMessage("user", "Hello!")])
    call(store, "run", [append])  # one is no batch
    call(store, "run", [append, append])
    call(store, "run", [append, Get("s1"), GetMessages("s1")])
    one, same, mixed = seen.spans()
    assert [span.name for span in (one, same, mixed)] == ["Append", "BATCH Append", "BATCH"]
    for span, size in ((one, None), (same, 2), (mixed, 3)):
        assert span.attributes is not None
        assert span.attributes.get("db.operation.batch.size") == size
        assert span.attributes["db.operation.name"] == span.name
    assert mixed.attributes is not None
    assert mixed.attributes["sessionstore.operations"] == ("Append", "Get", "GetMessages")
    assert mixed.attributes["sessionstore.messages.read"] == 2


SECRET = "s3cret"  # noqa: S105 - it is what must not be seen


class Rude(InMemorySessionStore):
    """Raises what a user wrote."""

    def run(self, _: Any) -> Any:
        raise ValueError(SECRET)

    async def arun(self, _: Any) -> Any:
        raise ValueError(SECRET)


def test_nothing_that_was_said_and_no_id_of_a_message_or_user_is_told(
    seen: Seen, call: Any
) -> None:
    store = seen.traced(InMemorySessionStore())
    message = {"role": "user", "content": SECRET, "id": f"{SECRET}-id", "metadata": {"a": SECRET}}
    owner = {"user_id": f"{SECRET}-user"}
    call(store, "create", "s1", messages=[message], metadata={SECRET: SECRET}, **owner)
    call(store, "append_message", "s1", message | {"id": f"{SECRET}-2"}, **owner)
    call(store, "replace_message", "s1", message, **owner)
    call(store, "get_messages", "s1", before=f"{SECRET}-2", **owner)
    call(store, "update", "s1", metadata={"title": SECRET}, **owner)
    call(store, "fork", "s1", "s2", at=f"{SECRET}-id", metadata={"b": SECRET}, **owner)
    call(store, "list_sessions", last=1, **owner)
    with pytest.raises(SessionAccessError):
        call(store, "delete", "s1", user_id=f"{SECRET}-eve")
    call(store, "delete_messages", "s1", [f"{SECRET}-2"], **owner)
    call(store, "rewind", "s1", to=f"{SECRET}-id", **owner)
    with pytest.raises(ValueError, match=SECRET):
        call(seen.traced(Rude()), "get", "s1")
    assert len(seen.spans()) == 11
    told = [span.to_json() for span in seen.spans()]
    data = seen.reader.get_metrics_data()
    assert data is not None
    assert not [text for text in (*told, data.to_json()) if SECRET in text]


def test_an_error_is_told_by_its_class(seen: Seen, call: Any) -> None:
    store = seen.traced(InMemorySessionStore())
    call(store, "create", "s1", user_id="alice")
    with pytest.raises(SessionAccessError):
        call(store, "get", "s1", user_id="eve")
    span = seen.span("Get")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "SessionAccessError"
    assert span.attributes["sessionstore.outcome"] == "error"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.events == ()
    assert seen.span("Create").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("make", "system", "kind"),
    [
        (InMemorySessionStore, "memory", SpanKind.INTERNAL),
        (SQLiteSessionStore, "sqlite", SpanKind.INTERNAL),
        (lambda: DbSessionStore(SqliteAgentDb()), "sqlite", SpanKind.INTERNAL),
        (lambda: RedisSessionStore("redis://localhost:1"), "redis", SpanKind.CLIENT),
        (
            lambda: DbSessionStore(AgentDb("postgresql://localhost:1/none")),
            "postgresql",
            SpanKind.CLIENT,
        ),
        (lambda: DbSessionStore(AgentDb("mysql://localhost:1/none")), "mysql", SpanKind.CLIENT),
        (
            lambda: FallbackSessionStore(RedisSessionStore("redis://localhost:1")),
            "redis",
            SpanKind.CLIENT,
        ),
        (lambda: WrapperSessionStore(SQLiteSessionStore()), "sqlite", SpanKind.INTERNAL),
        (FlakySessionStore, "memory", SpanKind.INTERNAL),
    ],
)
def test_a_span_tells_which_system_keeps_the_sessions(
    seen: Seen, make: Any, system: str, kind: SpanKind
) -> None:
    with seen.traced(make()) as store:
        assert store.system == store.name == system
        with contextlib.suppress(Exception):
            store.ping()
        span = seen.span("Ping")
        assert span.attributes is not None
        assert (span.attributes["db.system.name"], span.kind) == (system, kind)


# -- Whose child it is ----------------------------------------------------------------------------


class Spanning(WrapperSessionStore):
    """Makes a span of its own, as an instrumented driver does."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(InMemorySessionStore())
        self.tracer = seen.tracer

    def run(self, operation: Any) -> Any:
        with self.tracer.start_as_current_span("driver"):
            return super().run(operation)

    async def arun(self, operation: Any) -> Any:
        with self.tracer.start_as_current_span("driver"):
            await asyncio.sleep(0)
            return await super().arun(operation)


def test_a_span_is_the_child_of_the_turns_and_the_parent_of_the_drivers(
    seen: Seen, call: Any
) -> None:
    store = seen.traced(Spanning(seen))
    with seen.tracer.start_as_current_span("turn") as turn:
        call(store, "append_message", "s1", HELLO)
        assert trace.get_current_span() is turn
    own, driver = seen.span("Append"), seen.span("driver")
    assert own.parent == seen.span("turn").context
    assert driver.parent == own.context


def test_turns_at_once_have_each_their_own_spans(seen: Seen) -> None:
    store = seen.traced(Spanning(seen))

    async def turn(number: int) -> None:
        with seen.tracer.start_as_current_span(f"turn {number}"):
            await store.aappend_message(f"s{number}", HELLO)

    def in_thread(number: int) -> None:
        with seen.tracer.start_as_current_span(f"turn {number}"):
            store.append_message(f"s{number}", HELLO)

    async def main() -> None:
        await asyncio.gather(*map(turn, range(20)))

    threads = [threading.Thread(target=in_thread, args=(number,)) for number in range(20, 28)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    spans = {span.context.span_id: span for span in seen.spans() if span.context}
    found = [
        (span.attributes["gen_ai.conversation.id"], spans[span.parent.span_id].name)
        for span in seen.spans("Append")
        if span.attributes and span.parent
    ]
    assert sorted(found) == sorted((f"s{number}", f"turn {number}") for number in range(28))


# -- How it ends ----------------------------------------------------------------------------------


class Stuck(InMemorySessionStore):
    """Never answers."""

    def run(self, _: Any) -> Any:
        raise KeyboardInterrupt

    async def arun(self, _: Any) -> Any:
        await asyncio.Event().wait()


def outcome(seen: Seen, name: str) -> tuple[Any, ...]:
    span = seen.span(name)
    assert span.attributes is not None
    told = span.attributes["sessionstore.outcome"]
    return told, span.attributes.get("error.type"), span.status.status_code


def test_a_call_that_is_cancelled_ends_its_span_as_cancelled(seen: Seen) -> None:
    store = seen.traced(Stuck())

    async def main() -> None:
        task = asyncio.ensure_future(store.aget("s"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.aget_messages("s"), 0.01)

    asyncio.run(main())
    assert outcome(seen, "Get") == ("cancelled", None, StatusCode.UNSET)
    assert outcome(seen, "GetMessages") == ("cancelled", None, StatusCode.UNSET)


class Paused(InMemorySessionStore):
    """Waits for nothing."""

    async def arun(self, _: Any) -> Any:
        await pause()


@types.coroutine
def pause() -> Generator[None, None, None]:
    yield


@pytest.mark.parametrize("same", [True, False])
def test_a_call_that_is_dropped_ends_its_span_wherever_that_is(
    seen: Seen, caplog: pytest.LogCaptureFixture, *, same: bool
) -> None:
    call = seen.traced(Paused()).aget("s")
    begun = contextvars.copy_context()
    begun.run(call.send, None)
    begun.run(call.close) if same else call.close()
    assert outcome(seen, "Get") == ("cancelled", None, StatusCode.UNSET)
    if same:
        assert not begun.run(trace.get_current_span).get_span_context().is_valid
    assert not caplog.records


def test_a_call_that_ctrl_c_breaks_off_ends_its_span_as_cancelled(seen: Seen) -> None:
    with pytest.raises(KeyboardInterrupt):
        seen.traced(Stuck()).get("s")
    assert outcome(seen, "Get") == ("cancelled", None, StatusCode.UNSET)
    assert not trace.get_current_span().get_span_context().is_valid


# -- An SDK that fails, and none ------------------------------------------------------------------


class Broken(SpanProcessor):
    def __init__(self, where: str) -> None:
        self.where = where

    def on_start(self, *_: Any, **__: Any) -> None:
        if self.where == "start":
            raise RuntimeError(SECRET)

    def on_end(self, *_: Any) -> None:
        if self.where == "end":
            raise RuntimeError(SECRET)


class BrokenExporter(SpanExporter):
    def export(self, *_: Any) -> Any:
        raise RuntimeError(SECRET)


class BrokenSampler(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRET)

    def get_description(self) -> str:
        return "broken"


def broken() -> Iterator[Any]:
    for where in ("start", "end"):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Broken(where))
        yield pytest.param(provider, id=where)
    yield pytest.param(TracerProvider(BrokenSampler(), shutdown_on_exit=False), id="sampler")


@pytest.mark.parametrize("provider", list(broken()))
def test_an_sdk_that_fails_fails_no_operation(
    provider: TracerProvider, call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = TracedSessionStore(InMemorySessionStore(), tracer_provider=provider)
    for number in range(3):
        assert call(store, "append_message", "s", HELLO | {"id": f"m{number}"}) == 1
    assert len(call(store, "get_messages", "s")) == 3
    assert not trace.get_current_span().get_span_context().is_valid
    warned = [each for each in caplog.records if each.name == "sessionstore"]
    assert [each.levelno for each in warned] == [logging.WARNING]
    assert "RuntimeError" in warned[0].getMessage()
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("caplog")
def test_an_exporter_that_fails_fails_no_operation(seen: Seen, call: Any) -> None:
    seen.spans_to.add_span_processor(SimpleSpanProcessor(BrokenExporter()))
    assert call(seen.traced(InMemorySessionStore()), "append_message", "s", HELLO) == 1
    assert len(seen.spans()) == 1


def test_a_span_that_is_not_sampled_is_the_parent_all_the_same(call: Any) -> None:
    inner = Seen()
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    store = TracedSessionStore(Spanning(inner), tracer_provider=provider)
    assert call(store, "append_message", "s", HELLO) == 1
    assert inner.spans() == []  # or a driver's spans would be traces of their own


def test_without_an_sdk_nothing_is_recorded(call: Any, tmp_path: Path) -> None:
    with TracedSessionStore(SQLiteSessionStore(tmp_path / "s.db")) as store:
        assert call(store, "append_message", "s", HELLO) == 1
        assert len(call(store, "get_messages", "s")) == 1
        assert store.stats().operations == {"Append": 1, "GetMessages": 1}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"store": "memory:"}, TypeError, "must be a store"),
        ({"store": InMemorySessionStore(), "name": 7}, TypeError, "name must be a string"),
        ({"store": InMemorySessionStore(), "name": ""}, ValueError, "name must not be empty"),
        (
            {"store": InMemorySessionStore(), "tracer_provider": "otlp"},
            TypeError,
            "tracer_provider must be an OpenTelemetry TracerProvider or None, not str",
        ),
        (
            {"store": InMemorySessionStore(), "meter_provider": Seen().spans_to},
            TypeError,
            "meter_provider must be an OpenTelemetry MeterProvider or None, not TracerProvider",
        ),
    ],
)
def test_what_is_no_store_no_name_or_no_provider_is_refused(
    given: Any, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        TracedSessionStore(**given)
