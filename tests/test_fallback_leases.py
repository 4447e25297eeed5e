"""Leases in a fallback: the primary keeps them, and in an outage nobody does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from faults import FaultyStore
from servers import redis as redis_servers
from servers.process import wait_until
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    OutageError,
    RedisSessionStore,
    SessionAccessError,
    SessionLeasedError,
    StoreTimeoutError,
)
from sessionstore.leases import Lease
from sessionstore.operations import (
    AcquireLease,
    Append,
    Fence,
    Get,
    GetMessages,
    ReleaseLease,
    RenewLease,
    Rewind,
    Update,
)

_ASKED: dict[str, Callable[[int], Any]] = {
    "acquire": lambda _: AcquireLease("s"),
    "take over": lambda _: AcquireLease("s", take_over=True),
    "renew": lambda token: RenewLease("s", token),
    "release": lambda _: ReleaseLease("s", "me"),
    "fence": lambda token: Fence("s", token),
    "read": lambda token: [Fence("s", token), GetMessages("s")],
    "write": lambda token: [Fence("s", token), Append("s", said("x"))],
    "late fence": lambda token: [GetMessages("s"), Append("s", said("x")), Fence("s", token)],
    "rewind": lambda token: [Fence("s", token), Rewind("s", "a"), Update("s", metadata={"a": 1})],
}
_each = pytest.mark.parametrize("name", _ASKED)


def leased(**options: Any) -> tuple[Stage, int]:
    """Give a stage whose session is known, and the token of its lease."""
    stage = Stage(**options)
    stage.store.append_messages("s", said("a", "b"))
    stage.store.get("s")
    return stage, stage.store.run(AcquireLease("s", 600, holder="me"))


def refused(stage: Stage, asked: Any) -> None:
    """Require that nothing is promised, sync or async, and nothing waits to be replayed."""
    seen, pending = stage.store._parts.cache.run(Get("s")), stage.store.pending()
    with pytest.raises(OutageError, match="lease"):
        stage.store.run(asked)
    with pytest.raises(OutageError, match="lease"):
        asyncio.run(stage.store.arun(asked))
    assert stage.store.pending() == pending
    assert stage.store._parts.cache.run(Get("s")) == seen


@_each
def test_no_lease_is_kept_in_an_outage(name: str) -> None:
    stage, token = leased()
    stage.primary.go_down()
    refused(stage, _ASKED[name](token))
    assert stage.store.is_degraded()
    stage.primary.come_back()
    assert stage.store.recover()
    stage.store.run([Fence("s", token), Append("s", said("y"))])
    assert stage.kept() == stage.seen() == ["a", "b", "y"]


@_each
def test_no_lease_is_kept_where_the_primary_gives_no_answer_in_time(name: str) -> None:
    """That is the session's alone, as for all else."""
    stage, token = leased(retry_after=60, retry_cap=60)
    stage.primary.slow["s"] = StoreTimeoutError("too slow")
    refused(stage, _ASKED[name](token))
    assert not stage.store.is_degraded()
    with stage.store.lease("t") as lease:
        assert stage.store.append_messages("t", said("x"), lease=lease) == 1
    stage.primary.slow.clear()
    refused(stage, _ASKED[name](token))  # its circuit is open


@_each
def test_a_lost_answer_is_an_outage(name: str) -> None:
    stage, token = leased()
    if name == "acquire":
        stage.primary.inner.run(ReleaseLease("s", "me"))
    stage.primary.script("lost", then="down")
    with pytest.raises(OutageError):
        stage.store.run(_ASKED[name](token))
    assert stage.store.pending() == []


def test_a_primary_that_only_reads_keeps_no_lease_but_knows_whose_it_is() -> None:
    stage, token = leased()
    stage.primary.take_no_writes()
    for name in ("acquire", "renew", "release", "write"):
        refused(stage, _ASKED[name](token))
    assert stage.store.run(_ASKED["fence"](token)) is None
    assert len(stage.store.run(_ASKED["read"](token))) == 2
    assert stage.store.append_messages("s", said("c")) == 1
    refused(stage, _ASKED["fence"](token))  # it is not what the session is like
    stage.primary.come_back()
    assert stage.store.run(AcquireLease("s", 600, holder="me")) == token
    assert not stage.store.is_degraded()
    assert stage.kept() == ["a", "b", "c"]


@_each
def test_what_waits_comes_before_a_lease(name: str) -> None:
    stage, token = leased()
    stage.primary.go_down()
    stage.store.append_messages("s", said("c"))
    stage.primary.come_back()
    stage.primary.asked.clear()
    if name in ("acquire", "take over"):
        stage.primary.inner.run(ReleaseLease("s", "me"))
    stage.store.run(_ASKED[name](token))
    asked = [kind for kind, about in stage.primary.asked if about == "s"]
    assert asked[0] == "Append"
    assert len(asked) == 2
    assert stage.store.pending() == []


def test_a_lease_of_another_is_no_outage() -> None:
    stage, token = leased()
    stage.store.create("theirs", user_id="u")
    for asked in (
        AcquireLease("s"),
        RenewLease("s", token + 1),
        Fence("s", token + 1),
        [Fence("s", token + 1), Append("s", said("x"))],
        [GetMessages("s"), Fence("s", token + 1)],
    ):
        with pytest.raises(SessionLeasedError):
            stage.store.run(asked)
    with pytest.raises(SessionAccessError):
        stage.store.run(AcquireLease("theirs", user_id="v"))
    stats = stage.store.stats()
    assert (stats.fallbacks, stats.slow_sessions, stats.pending, stats.rejected) == (0, 0, 0, 0)


def test_a_lease_that_was_lost_in_an_outage_writes_nothing_after_it() -> None:
    """Others, who reach the primary, have taken it, and have written."""
    stage, _ = leased()
    with stage.store.lease("t", seconds=600) as lease:
        stage.store.append_messages("t", said("a"), lease=lease)
        stage.primary.go_down()
        with stage.primary.inner.lease("t", take_over=True) as other:
            stage.primary.inner.append_messages("t", said("theirs"), lease=other)
            with pytest.raises(OutageError):
                stage.store.append_messages("t", said("late"), lease=lease)
            stage.primary.come_back()
            for write in (
                lambda: stage.store.append_messages("t", said("late"), lease=lease),
                lambda: stage.store.rewind("t", to="a", lease=lease),
                lease.renew,
            ):
                with pytest.raises(SessionLeasedError):
                    write()
    assert stage.kept("t") == ["a", "theirs"]


@pytest.mark.parametrize("fence_first", [True, False])
def test_what_a_fenced_list_did_is_known_in_an_outage(fence_first: bool) -> None:
    stage, token = leased()
    fence = Fence("s", token)
    turn = [GetMessages("s"), Rewind("s", "a"), Append("s", said("c")), Update("s", metadata={})]
    stage.store.run([fence, *turn] if fence_first else [*turn, fence])
    stage.store.run([fence, Append("s", said("d"))])
    stage.store.run([fence])
    stage.primary.inner.append_messages("s", said("e"))
    stage.store.run([fence, GetMessages("s", 3), fence])
    stage.primary.go_down()
    assert stage.seen() == ["a", "c", "d", "e"]


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_a_lease_in_a_server_that_was_killed(appendonly: str) -> None:
    """Who held it goes on where the server has kept it, and else writes nothing more."""
    with redis_servers.single(appendonly=appendonly, appendfsync="always") as server:
        store = FallbackSessionStore(RedisSessionStore(server.url), retry_after=0)
        with store, store.lease("s", seconds=600) as lease:
            store.append_messages("s", said("a"), lease=lease)
            server.kill()
            for refused in (
                lambda: store.append_messages("s", said("b"), lease=lease),
                lease.renew,
                lambda: store.lease("t").__enter__(),
            ):
                with pytest.raises(OutageError):
                    refused()
            assert store.append_messages("s", said("c")) == 1
            server.start()
            wait_until(store.recover, "the server is back")
            if appendonly == "yes":
                assert store.append_messages("s", said("d"), lease=lease) == 1
                expected = ["a", "c", "d"]
            else:
                with pytest.raises(SessionLeasedError):
                    store.append_messages("s", said("d"), lease=lease)
                expected = ["c"]
            assert [message.id for message in store.get_messages("s")] == expected


def test_fallbacks_nest() -> None:
    inner = FaultyStore(InMemorySessionStore())
    store = FallbackSessionStore(FallbackSessionStore(inner, retry_after=0), retry_after=0)
    with store.lease("s", seconds=600) as lease:
        store.append_messages("s", said("a"), lease=lease)
        inner.go_down()
        with pytest.raises(OutageError):
            store.append_messages("s", said("b"), lease=lease)
        with pytest.raises(OutageError):
            lease.renew()
        assert store.pending() == []
        assert not store.is_degraded()
        assert store.wrapped.is_degraded()
        inner.come_back()
        store.append_messages("s", said("c"), lease=lease)
    with pytest.raises(SessionLeasedError):
        store.run(Fence("s", lease.token))
    assert [message.id for message in store.get_messages("s")] == ["a", "c"]


def test_leases_that_can_not_be_given_back_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage, _ = leased()
    leases: list[Lease] = [stage.store.lease(str(n)).__enter__() for n in range(100)]
    with caplog.at_level(logging.WARNING, "sessionstore"):
        stage.primary.go_down()
        for lease in leases:
            lease.release()
        assert len(caplog.records) == 1
        assert "is unavailable" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "sessionstore"):
        stage.store.lease("s").release()
    assert "runs out by itself" in caplog.text
    stage.primary.come_back()
    assert stage.store.recover()
    with pytest.raises(SessionLeasedError):
        stage.store.lease("7").__enter__()
