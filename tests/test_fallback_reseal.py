"""`Reseal` in a fallback: the primary does it, what is known follows, and an outage refuses it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import FaultyStore
from msgspec.structs import replace
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    OutageError,
    SessionMessage,
    StoreTimeoutError,
)
from sessionstore.operations import Get, GetMessages, Reseal
from sessionstore.testing.samples import contents

WORD = "CANARY"
SYSTEM = SessionMessage("system", f"{WORD} system", id="system")
LOG = [SYSTEM, *(replace(each, content=f"{WORD} {each.id}") for each in said(*"abcdef"))]
SEALED = [replace(message, content=f"sealed {message.id}") for message in LOG]
VALUES = {"title": f"{WORD} title"}, {"title": "sealed title"}
RESEAL = Reseal("s", LOG, SEALED, *VALUES)


def stage(**options: Any) -> Stage:
    """Give a stage whose session is known."""
    made = Stage(**options)
    made.store.create("s", messages=LOG, metadata=VALUES[0])
    made.store.get("s")
    return made


def known(stage: Stage) -> str:
    """Give all that is known of sessions, and all that the fallback store holds."""
    cache = stage.store._parts.cache
    held = [[s.bodies, s.system, s.metadata] for s in cache.sessions.values()]
    journals = stage.fallback.inner.list_sessions().sessions
    return repr([held, [stage.fallback.inner.get(info.id) for info in journals]])


@pytest.mark.parametrize("warm_messages", [100, 2])
def test_what_is_known_is_swapped_too(warm_messages: int) -> None:
    """Also a system message that is kept though those behind it are not."""
    there = stage(max_messages=warm_messages)
    assert WORD in known(there)
    assert there.store.run(RESEAL) == 8
    assert WORD not in known(there)
    requests = there.primary.requests
    there.primary.go_down()
    seen = there.store.get("s", limit=2)
    assert seen is not None
    assert (contents(seen.messages), seen.metadata) == (["sealed e", "sealed f"], VALUES[1])
    assert (seen.version, there.primary.requests - requests) == (1, 1)
    [first, *_] = there.store.get_messages("s", limit=2, keep_system=True)
    assert first.content == "sealed system"


def test_what_waits_comes_before_a_reseal() -> None:
    """So what was written in an outage is sealed anew as well, and waits nowhere any more."""
    there = stage()
    there.primary.go_down()
    late = [replace(message, content=f"{WORD} late") for message in said("late")]
    there.store.append_messages("s", late)
    sealed = [replace(late[0], content="sealed late")]
    there.primary.come_back()
    assert there.store.run(Reseal("s", [*LOG, *late], [*SEALED, *sealed], *VALUES)) == 9
    assert contents(there.primary.inner.get_messages("s")) == contents([*SEALED, *sealed])
    assert there.store.recover()
    assert WORD not in known(there)


@pytest.mark.parametrize("edited", [True, False])
def test_what_the_primary_left_alone_is_read_anew(edited: bool) -> None:
    """Others had edited it, or sealed it anew: what was known of it was no more, and goes."""
    there = stage()
    other = replace(LOG[3], content="another's")
    if edited:
        there.primary.inner.replace_message("s", other)
    else:
        there.primary.inner.run(Reseal("s", LOG[3:4], [other]))
    assert there.store.run(RESEAL) == 7
    assert WORD not in known(there)
    there.store.get("s")
    there.primary.go_down()
    expected = ["sealed b", "another's", "sealed d"]
    assert contents(there.store.get_messages("s"))[2:5] == expected


def test_what_another_process_sealed_anew_is_known_from_the_next_read_on() -> None:
    """The session is at the version that it had: its last message tells."""
    there = stage()
    other = FallbackSessionStore(FaultyStore(there.primary.inner))
    assert other.run(RESEAL) == 8
    assert WORD in known(there)
    there.store.get("s", limit=2)
    assert WORD not in known(there)
    assert there.primary.inner.run(Reseal("s", SEALED, LOG)) == 7
    there.store.run(Get("s"))
    there.primary.go_down()
    assert contents(there.store.get_messages("s")) == contents(LOG)


@pytest.mark.parametrize("read", [Get("s"), Get("s", 3), GetMessages("s", 3)])
def test_what_another_process_left_alone_at_the_end_hides_nothing(read: Any) -> None:
    """A session in use ends with what was under the newer key from the beginning."""
    there = stage()
    new = [replace(SEALED[-1], id=name, extra={"encryption": {}}) for name in "xy"]
    there.store.append_messages("s", new)
    there.store.get("s")
    sealed = [replace(message, extra={"encryption": {}}) for message in SEALED]
    assert there.primary.inner.run(Reseal("s", LOG, sealed, *VALUES)) == 8
    there.store.run(read)
    if type(read) is Get:
        assert WORD not in known(there)
    assert WORD not in str(known(there)).partition("title")[0]
    there.primary.go_down()
    assert contents(there.store.get_messages("s", limit=3))[1:] == contents(new)


@pytest.mark.parametrize("limit", [None, 0, 2])
def test_metadata_that_another_process_sealed_anew_is_known_from_the_next_read_on(
    limit: int | None,
) -> None:
    there = stage()
    assert there.primary.inner.run(Reseal("s", [], [], *VALUES)) == 1
    there.store.get("s", limit=limit)
    there.primary.go_down()
    session = there.store.get("s")
    assert session is not None
    assert (session.metadata, contents(session.messages)) == (VALUES[1], contents(LOG))


@pytest.mark.parametrize("fault", ["down", "lost", "slow", "open circuit", "read only"])
def test_nothing_is_sealed_anew_in_an_outage(fault: str) -> None:
    """Nothing waits to be replayed, and what is known stays; it can be done when that is over."""
    later = {"retry_after": 60, "retry_cap": 60} if fault in ("slow", "open circuit") else {}
    there = stage(**later)
    if fault in ("down", "lost"):
        there.primary.script(fault, then="down")
    elif fault == "read only":
        there.primary.take_no_writes()
    else:
        there.primary.slow["s"] = StoreTimeoutError("too slow")
    if fault == "open circuit":
        there.store.get("s")
        there.primary.slow.clear()
    before = known(there)
    for _ in range(2):
        with pytest.raises(OutageError, match="sealed anew"):
            there.store.run(RESEAL)
        with pytest.raises(OutageError, match="sealed anew"):
            asyncio.run(there.store.arun(RESEAL))
    assert there.store.pending() == []
    assert known(there) == before
    there.primary.come_back()
    assert there.store.recover() or fault == "read only"  # which a write that is taken ends
    done = there.store.run(RESEAL)
    assert done == (0 if fault == "lost" else 8)
    assert WORD not in known(there)
    assert contents(there.primary.inner.get_messages("s")) == contents(SEALED)


def test_of_what_is_not_known_nothing_is_learned() -> None:
    primary = InMemorySessionStore()
    primary.create("s", messages=LOG, metadata=VALUES[0])
    there = Stage(primary)
    assert there.store.run(RESEAL) == 8
    assert not there.store._parts.cache.sessions
