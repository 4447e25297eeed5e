"""What comes later, in other calls, links to the span that it comes of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from telemetry import Seen

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore.testing import FlakySessionStore


class Pair:
    """A fallback that is traced from without, and its primary, too."""

    def __init__(self) -> None:
        self.seen, self.primary = Seen(), FlakySessionStore()
        inner = self.seen.traced(self.primary, "primary")
        self.fallback = FallbackSessionStore(inner, retry_after=60, retry_cap=60)
        self.store = self.seen.traced(WrapperSessionStore(self.fallback), "chats")

    def say(self, session_id: str, text: str) -> None:
        with self.seen.tracer.start_as_current_span(f"turn {text}"):
            self.store.append_message(session_id, {"role": "user", "content": text})

    def spans(self, store: str, session_id: str, outcome: str = "ok") -> list[Any]:
        return [
            span
            for span in self.seen.spans()
            if span.attributes
            and span.attributes.get("sessionstore.store") == store
            and span.attributes.get("gen_ai.conversation.id") == session_id
            and span.attributes["sessionstore.outcome"] == outcome
        ]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def linked(spans: list[Any]) -> list[Any]:
    return [link.context for span in spans for link in span.links]


def test_a_replayed_write_links_to_the_spans_that_wrote_it(pair: Pair) -> None:
    pair.primary.go_down()
    for text in ("a", "b"):
        pair.say("s1", text)
    pair.say("s2", "c")
    written = {name: pair.spans("chats", name) for name in ("s1", "s2")}
    assert [len(spans) for spans in written.values()] == [2, 1]
    for span in (*written["s1"], *written["s2"]):
        assert span.attributes["sessionstore.fallback.degraded"]
    pair.primary.come_back()
    assert pair.store.recover()  # in no turn
    for name, spans in written.items():
        replayed = pair.spans("primary", name)
        assert linked(replayed) == [span.context for span in spans]
        assert replayed[0].parent is None
    pair.say("s1", "d")
    [*_, own] = pair.spans("primary", "s1")
    assert own.links == ()  # nothing of it waited
    assert own.parent == pair.spans("chats", "s1")[-1].context
    assert "sessionstore.fallback.degraded" not in pair.spans("chats", "s1")[-1].attributes
    pair.store.close()


def test_a_try_that_fails_leaves_the_links_to_the_next(pair: Pair) -> None:
    pair.primary.go_down()
    pair.say("s1", "a")
    [written] = pair.spans("chats", "s1")
    assert not pair.store.recover()
    pair.primary.come_back()
    assert pair.store.recover()
    assert linked(pair.spans("primary", "s1")) == [written.context]
    pair.store.close()


def test_what_follows_a_refused_write_does_not_link_to_that(pair: Pair) -> None:
    pair.primary.go_down()
    pair.store.append_message("s1", {"role": "user", "content": "a"}, user_id="eve")
    [refused] = pair.spans("chats", "s1")
    pair.primary.come_back()
    pair.primary.wrapped.create("s1", user_id="alice")
    assert pair.store.recover()
    assert linked(pair.spans("primary", "s1", "error")) == [refused.context]
    pair.store.append_message("s1", {"role": "user", "content": "b"}, user_id="alice")
    assert linked(pair.spans("primary", "s1")) == []
    pair.store.close()


def test_what_is_remembered_for_links_is_bounded(pair: Pair) -> None:
    pair.primary.go_down()
    for number in range(20):
        pair.say("s1", f"{number}")
    pair.primary.come_back()
    assert pair.store.recover()
    last = [span.context for span in pair.spans("chats", "s1")[-8:]]
    assert linked(pair.spans("primary", "s1")) == last
    pair.store.close()


def test_without_a_traced_primary_there_is_nothing_to_link(pair: Pair) -> None:
    store = pair.seen.traced(FallbackSessionStore(FlakySessionStore()), "alone")
    store.wrapped.wrapped.go_down()  # type: ignore[attr-defined]
    store.append_message("s", {"role": "user", "content": "a"})
    store.wrapped.wrapped.come_back()  # type: ignore[attr-defined]
    assert store.recover()
    assert linked(pair.seen.spans()) == []
    store.close()


class Once(WrapperSessionStore):
    """Is away for the first write, whoever asks."""

    def __init__(self) -> None:
        super().__init__(InMemorySessionStore())
        self.is_away = True

    def run(self, operation: Any) -> Any:
        if self.is_away:
            raise StoreConnectionError("away")
        return super().run(operation)


def test_links_follow_a_primary_within_wrappers() -> None:
    seen, primary = Seen(), Once()
    inner = WrapperSessionStore(seen.traced(primary, "primary"))
    with seen.traced(FallbackSessionStore(inner), "chats") as store:
        store.append_message("s", {"role": "user", "content": "a"})
        [written] = [
            one for one in seen.spans("Append") if one.attributes["sessionstore.store"] == "chats"
        ]  # type: ignore[index]
        primary.is_away = False
        assert store.recover()
        assert linked(seen.spans()) == [written.context]


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_renewal_in_another_thread_links_to_what_took_the_lease() -> None:
    seen = Seen()
    store = seen.traced(InMemorySessionStore())
    with seen.tracer.start_as_current_span("turn"), store.lease("s1") as lease:
        in_thread(lease.renew)
        lease.renew()
    apart, within = seen.spans("RenewLease")
    taken = seen.span("AcquireLease")
    assert (apart.parent, linked([apart])) == (None, [taken.context])
    assert (within.parent, within.links) == (seen.span("turn").context, ())
