"""A store around another one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from handing_on import HandingOn

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SQLiteSessionStore,
    StoreBounds,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore.testing import OpenStore
from sessionstore.wrapper import unwrapped

PAGE = Path(__file__).parent.parent / "docs" / "extend" / "wrapping_a_store.md"


class TestConformance(HandingOn):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> WrapperSessionStore:
            return WrapperSessionStore(InMemorySessionStore(**options))

        return opened


def test_the_example_of_wrapping_a_store_prints_what_its_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(block, made)  # noqa: S102 - the page's own
    [printed] = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert capsys.readouterr().out == printed
    with made["CountingStore"](InMemorySessionStore()) as store:
        asyncio.run(store.aget("s1"))
        assert store.counts == Counter({"Get": 1})


def test_a_wrapper_has_the_timeout_and_bounds_of_its_store() -> None:
    class Bounded(InMemorySessionStore):
        timeout = 3.0
        bounds = StoreBounds(messages=7)

    inner = Bounded()
    wrapper = WrapperSessionStore(WrapperSessionStore(inner))
    assert wrapper.wrapped.wrapped is inner  # type: ignore[attr-defined]
    assert (wrapper.timeout, wrapper.bounds) == (inner.timeout, inner.bounds)
    assert repr(wrapper).startswith("WrapperSessionStore(WrapperSessionStore(InMemory")


@pytest.mark.parametrize("close", [WrapperSessionStore.close, WrapperSessionStore.aclose])
def test_closing_a_wrapper_closes_its_store(tmp_path: Path, close: Any) -> None:
    inner = SQLiteSessionStore(tmp_path / "sessions.db")
    closing = close(WrapperSessionStore(inner))
    if closing is not None:
        asyncio.run(closing)
    with pytest.raises(Exception, match="closed"):
        inner.get("s")


def test_a_wrapper_around_a_fallback_reports_its_state() -> None:
    class Down(WrapperSessionStore):
        down = True

        def run(self, operation: Any) -> Any:
            if self.down:
                raise StoreConnectionError("down")
            return super().run(operation)

    primary = Down(InMemorySessionStore())
    store = WrapperSessionStore(FallbackSessionStore(primary, retry_after=60, retry_cap=60))
    assert store.append_message("s", SessionMessage("user", "Hello!")) == 1
    assert store.is_degraded()
    assert not store.recover()
    primary.down = False
    assert store.recover()
    assert asyncio.run(store.arecover())
    assert not store.is_degraded()
    assert len(primary.get_messages("s")) == 1


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (InMemorySessionStore, ()),
        (SQLiteSessionStore, ()),
        (WrapperSessionStore, (InMemorySessionStore(),)),
        (FallbackSessionStore, (InMemorySessionStore(),)),
    ],
)
def test_a_subclass_that_counts_in_both_modes_counts_each_operation_once(
    kind: Any, args: Any
) -> None:
    class Counting(kind):  # type: ignore[misc]
        calls = 0

        def run(self, operation: Any) -> Any:
            self.calls += 1
            return super().run(operation)

        async def arun(self, operation: Any) -> Any:
            self.calls += 1
            return await super().arun(operation)

    with Counting(*args) as store:
        store.append_message("s", SessionMessage("user", "Hello!"))
        assert store.calls == 1
        asyncio.run(store.aget("s"))
        assert store.calls == 2


def test_a_fallback_wraps_its_primary_and_is_not_looked_into() -> None:
    class Bounded(InMemorySessionStore):
        timeout = 3.0
        bounds = StoreBounds(messages=7)

    primary = Bounded()
    store = FallbackSessionStore(primary)
    assert store.wrapped is primary
    assert (store.timeout, store.bounds) == (primary.timeout, primary.bounds)
    assert unwrapped(WrapperSessionStore(WrapperSessionStore(primary))) is primary
    # What the store holds may not be in its primary.
    assert unwrapped(WrapperSessionStore(store)) is store


def test_a_store_without_a_fallback_is_never_degraded() -> None:
    store = InMemorySessionStore()
    assert not store.is_degraded()
    assert store.recover()
    assert asyncio.run(store.arecover())


@pytest.mark.parametrize("given", [None, "memory:", InMemorySessionStore], ids=repr)
def test_a_wrapper_refuses_what_is_not_a_store(given: Any) -> None:
    with pytest.raises(TypeError, match="must be a store"):
        WrapperSessionStore(given)
