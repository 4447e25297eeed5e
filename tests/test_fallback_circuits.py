"""Whom an error of the primary condemns: one session, the whole store, or nobody."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore
from servers.process import wait_until
from stopwatch import Stopwatch
from test_fallback_faults import Stage, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    SessionMessage,
    SessionStore,
    SessionStoreError,
    SQLiteSessionStore,
    StoreBounds,
    StoreBusyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.fallback import refusals
from sessionstore.operations import Append, Ping

SLOW = StoreTimeoutError("the store did not answer in time")
BUSY = StoreBusyError("a lock stands in the way")


def stage_of(*sessions: str, **options: Any) -> Stage:
    stage = Stage(**options)
    for session_id in sessions:
        stage.store.append_messages(session_id, said("a"))
        stage.store.get(session_id)
    return stage


# -- One session -------------------------------------------------------------------------------


def test_a_session_that_is_slow_is_answered_by_the_fallback_and_no_other_is() -> None:
    stage = stage_of("slow", "other", retry_after=3600, retry_cap=3600)
    stage.primary.slow["slow"] = SLOW
    assert stage.store.append_messages("slow", said("b")) == 1
    assert stage.seen("slow") == ["a", "b"]
    assert not stage.store.is_degraded()
    assert stage.store.stats().slow_sessions == 1
    stage.primary.asked.clear()
    for number in range(20):
        assert stage.store.append_messages("slow", said(str(number))) == 1
        assert stage.store.append_messages("other", said(str(number))) == 1
    assert stage.kept("other")[-1] == "19"
    assert {session_id for _, session_id in stage.primary.asked} == {"other"}
    assert stage.store.stats().fallbacks == 0
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("slow") == ["a", "b", *map(str, range(20))]
    assert stage.store.stats().slow_sessions == 0


def test_a_session_that_is_slow_again_and_again_never_takes_the_store_down() -> None:
    stage = stage_of("slow", "other")
    stage.primary.slow["slow"] = SLOW
    for number in range(20):
        stage.store.append_messages("slow", said(str(number)))
        assert not stage.store.is_degraded()
        assert stage.seen("other") == ["a"]
    assert not stage.store.recover()  # its writes wait
    assert not stage.store.is_degraded()


def test_the_pause_of_a_session_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_of("slow", retry_after=1.0, retry_cap=8.0)
    now = [time.monotonic()]
    monkeypatch.setattr("sessionstore.fallback.circuits.time.monotonic", lambda: now[0])
    stage.primary.slow["slow"] = SLOW
    stage.primary.asked.clear()
    pauses = []
    for number in range(6):
        before = now[0]
        while ("Append", "slow") not in stage.primary.asked:
            stage.store.append_messages("slow", said(f"{number} {now[0]}"))
            now[0] += 0.25
        pauses.append(now[0] - before)
        stage.primary.asked.clear()
    for pause, expected in zip(pauses[1:], [1, 2, 4, 8, 8], strict=True):
        assert expected <= pause <= expected * 1.25 + 0.5


def test_two_sessions_that_are_slow_one_after_the_other_are_an_outage() -> None:
    stage = stage_of("s", "t")
    stage.primary.script("slow", "slow", then="down")
    stage.store.append_messages("s", said("b"))
    assert not stage.store.is_degraded()
    stage.store.append_messages("t", said("b"))
    assert stage.store.is_degraded()
    stage.primary.come_back()
    assert stage.store.recover()


def late_in(batch: object) -> StoreTimeoutError:
    error = StoreTimeoutError("the store did not answer in time")
    error.batch = batch
    return error


def test_sessions_that_shared_a_late_batch_count_as_one() -> None:
    stage = stage_of("s", "t", "u", "v")
    first, second = object(), object()
    stage.primary.slow = {name: late_in(first) for name in "stu"}
    for name in "stu":
        stage.store.append_messages(name, said("b"))
    assert not stage.store.is_degraded()
    assert stage.store.stats().slow_sessions == 3
    stage.primary.slow["v"] = late_in(second)
    stage.store.append_messages("v", said("b"))
    assert stage.store.is_degraded()


def test_an_answer_in_between_shows_that_the_store_is_there() -> None:
    stage = stage_of("s", "t", "other", retry_after=3600, retry_cap=3600)
    stage.primary.script("slow", None, "slow")
    stage.store.append_messages("s", said("b"))
    stage.store.append_messages("other", said("b"))
    stage.store.append_messages("t", said("b"))
    assert not stage.store.is_degraded()
    assert stage.store.stats().slow_sessions == 2


def test_a_slow_list_opens_no_circuit() -> None:
    stage = stage_of("s")
    for _ in range(3):
        stage.primary.script("slow")
        assert stage.store.list_sessions().partial
    stage.primary.script("slow")
    stage.store.append_messages("s", said("b"))
    assert not stage.store.is_degraded()


def test_two_slow_pings_are_an_outage() -> None:
    stage = stage_of("s")
    stage.primary.script("slow", "slow", then="slow")
    stage.store.ping()
    assert not stage.store.is_degraded()
    stage.store.ping()
    assert stage.store.is_degraded()


def test_calls_on_other_sessions_do_not_touch_a_slow_one() -> None:
    stage = stage_of("slow", "other", retry_after=3600, retry_cap=3600)
    stage.primary.slow["slow"] = SLOW
    stage.store.append_messages("slow", said("b"))
    stage.primary.go_down()
    stage.store.append_messages("other", said("b"))
    stage.primary.fault = lambda: None
    assert not stage.store.recover()
    assert not stage.store.is_degraded()
    stage.primary.asked.clear()
    assert stage.seen("other") == ["a", "b"]
    assert {session_id for _, session_id in stage.primary.asked} == {"other"}


def test_sessions_behind_a_slow_one_are_replayed_by_others() -> None:
    stage = stage_of("slow", "other", "third", retry_after=3600, retry_cap=3600)
    stage.primary.slow["slow"] = SLOW
    stage.store.append_messages("slow", said("b"))
    stage.primary.slow["other"] = SLOW
    stage.store.append_messages("third", said("b"))
    stage.store.append_messages("other", said("b"))
    del stage.primary.slow["other"]
    stage.store._parts.circuits.answered("other")
    assert stage.seen("third") == ["a", "b"]
    assert stage.kept("other") == ["a", "b"]
    assert stage.kept("slow") == ["a"]


# -- An outage ends with an answer -------------------------------------------------------------


def test_a_prober_that_is_answered_ends_the_outage_whatever_waits() -> None:
    stage = stage_of("slow", "other")
    stage.primary.go_down()
    for session_id in ("slow", "other"):
        stage.store.append_messages(session_id, said("b"))
    stage.primary.come_back()
    stage.primary.slow["slow"] = SLOW
    assert stage.store.get("slow")
    assert not stage.store.is_degraded()
    assert stage.kept("other") == ["a", "b"] or stage.seen("other") == ["a", "b"]


def test_reads_are_answered_by_a_read_only_primary() -> None:
    stage = stage_of("s", retry_after=3600, retry_cap=3600)
    stage.primary.inner.append_messages("unseen", said("theirs"))
    stage.primary.take_no_writes()
    assert stage.store.append_messages("s", said("b")) == 1
    assert stage.store.is_degraded()
    assert stage.seen("unseen") == ["theirs"]
    assert {info.id for info in stage.store.list_sessions().sessions} == {"s", "unseen"}
    assert stage.seen() == ["a", "b"]  # what waits is seen, too
    stage.primary.go_down()
    assert stage.seen("unseen") == ["theirs"]  # remembered
    stage.primary.asked.clear()
    assert stage.seen("unseen") == ["theirs"]
    assert stage.primary.asked == []  # it is away now: nobody waits for it


@pytest.mark.parametrize(
    "error", [StoreBusyError("no connection is left"), SessionStoreError("the login is refused")]
)
def test_a_call_that_probes_is_answered_though_its_probe_fails(error: SessionStoreError) -> None:
    """The call that happens to probe is answered as the others are, and the next probe waits."""
    stage = stage_of("s", retry_after=0.001, retry_cap=3600)
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.primary.come_back()

    def refused(_: Ping) -> None:
        raise error

    stage.primary.before[Ping] = refused
    for number in range(50):
        assert stage.store.append_messages("s", said(str(number))) == 1
        assert len(stage.seen()) == number + 3
    assert stage.store.is_degraded()
    assert stage.store.stats().probes < 25
    assert not stage.store.recover()
    del stage.primary.before[Ping]
    assert stage.store.recover()
    assert len(stage.kept()) == 52


def test_a_busy_store_refuses_recover_and_opens_no_circuit() -> None:
    stage = stage_of("s")

    def refused(_: Ping) -> None:
        raise BUSY

    stage.primary.before[Ping] = refused
    assert not stage.store.recover()
    assert not stage.store.is_degraded()


def test_a_session_that_probed_in_vain_is_not_left_alone_when_the_store_is_back() -> None:
    stage = stage_of("s", "t", "old", retry_after=0, retry_cap=0)
    stage.primary.script("slow", "slow", then="slow")
    stage.store.append_messages("s", said("b"))
    stage.store.append_messages("t", said("b"))
    assert stage.store.is_degraded()
    stage.store._parts.circuits._retry_after = stage.store._parts.circuits._retry_cap = 3600
    for _ in range(5):
        stage.seen("old")
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.store.stats().slow_sessions == 0
    stage.primary.inner.append_messages("old", said("theirs"))
    assert stage.seen("old") == ["a", "theirs"]


def test_only_a_write_ends_an_outage_that_a_read_only_primary_began() -> None:
    callbacks: list[str] = []
    stage = Stage(on_recover=lambda: callbacks.append("back"))
    stage.store.append_messages("s", said("a"))
    stage.primary.take_no_writes()
    with pytest.raises(StoreUnavailableError):
        stage.store.delete("unseen")  # nothing waits
    for _ in range(3):
        assert not stage.store.recover()
    assert callbacks == []
    stage.primary.come_back()
    stage.store.append_messages("s", said("b"))
    assert callbacks == ["back"]
    assert stage.store.recover()


# -- Busy --------------------------------------------------------------------------------------


def test_a_busy_error_reaches_the_caller_and_is_no_outage() -> None:
    stage = stage_of("s", "other")
    stage.primary.slow["s"] = BUSY
    for _ in range(20):
        with pytest.raises(StoreBusyError):
            stage.store.append_messages("s", said("b"))
        with pytest.raises(StoreBusyError):
            stage.store.get("s")
        assert not stage.store.is_degraded()
    assert (stage.store.pending(), stage.store.stats().fallbacks) == ([], 0)
    assert stage.seen("other") == ["a"]


def test_a_write_replayed_while_its_session_is_busy_waits() -> None:
    stage = stage_of("s")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    stage.primary.slow["s"] = BUSY
    assert not stage.store.recover()
    assert not stage.store.is_degraded()
    assert stage.store.append_messages("s", said("c")) == 1
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b", "c"]


# -- A call takes its timeout ------------------------------------------------------------------


class Timed(FaultyStore):
    """A primary with a timeout, whose requests take their time."""

    timeout: float = 0.2  # type: ignore[assignment]
    takes: float = 0.0

    def run(self, operation: Any) -> Any:
        time.sleep(self.takes)
        return super().run(operation)


def test_the_first_call_after_an_outage_replays_only_part_of_a_long_queue() -> None:
    primary = Timed(InMemorySessionStore())
    store = FallbackSessionStore(primary, retry_after=0)
    store.append_messages("s", said("a"))
    primary.go_down()
    for number in range(30):  # updates, which are replayed one by one
        store.update("s", metadata={"n": number})
        store.append_messages("s", said(str(number)))
    primary.come_back()
    primary.takes = 0.03
    with Stopwatch() as watch:
        assert store.append_messages("s", said("last")) == 1
    assert watch.seconds < 10 * primary.takes < 60 * primary.takes
    assert 0 < store.stats().pending < 60
    assert [m.id for m in store.get_messages("s")][-1] == "last"
    assert store.recover()
    assert [m.id for m in primary.inner.get_messages("s")] == ["a", *map(str, range(30)), "last"]
    assert store.timeout == primary.timeout


def test_a_locked_fallback_file_delays_no_call_beyond_its_timeout(tmp_path: Path) -> None:
    primary = Timed(InMemorySessionStore())
    file = SQLiteSessionStore(tmp_path / "outage.db")
    store = FallbackSessionStore(primary, fallback=file, retry_after=0)
    store.append_messages("s", said("a"))
    primary.go_down()
    store.append_messages("s", said("b"))
    with closing(sqlite3.connect(tmp_path / "outage.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        calls: list[Any] = [
            lambda: store.append_messages("s", said("c")),
            lambda: store.get("s"),
            lambda: store.get("other"),
        ]
        for is_back in (False, True):
            for call in calls:
                with Stopwatch() as watch, suppress(StoreUnavailableError):
                    call()
                assert watch.seconds < 4 * primary.timeout < file.timeout
            if not is_back:
                primary.come_back()
    wait_until(store.recover, "all is replayed")
    assert [m.id for m in primary.inner.get_messages("s")] == ["a", "b"]
    store.close()


def test_batches_grow_again_after_one_that_was_too_slow() -> None:
    stage = stage_of("s", retry_after=0, retry_cap=0)
    stage.primary.go_down()
    for number in range(1000):
        stage.store.append_messages("s", said(str(number)))
    stage.primary.come_back()
    stage.primary.slow["s"] = SLOW
    for _ in range(12):
        assert not stage.store.recover()
    stage.primary.come_back()
    stage.primary.asked.clear()
    assert stage.store.recover()
    requests = [one for one in stage.primary.asked if one == ("Append", "s")]
    assert len(requests) < 20
    assert len(stage.kept()) == 1001


# -- What the primary never takes --------------------------------------------------------------


@pytest.mark.parametrize("directly", [False, True])
def test_a_write_that_the_primary_never_takes_is_set_aside_at_last(
    directly: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refusals, "_PATIENCE", 0)
    stage = stage_of("bad", "good")
    stage.primary.go_down()
    stage.store.append_messages("bad", said("b"))
    stage.primary.come_back()

    def refuse(append: Append) -> None:
        if any(message.id == "b" for message in append.messages):
            raise SessionStoreError("a trigger of the database refuses this")

    stage.primary.before[Append] = refuse
    for _ in range(10):
        stage.store.recover()
    assert [write.session_id for write in stage.store.pending()] == ["bad"]  # it takes no others
    for number in range(10):
        if directly:
            stage.store.append_messages("good", said(str(number)))
        else:
            stage.primary.go_down()
            stage.store.append_messages("good", said(str(number)))
            stage.primary.come_back()
        stage.store.recover()
    assert stage.store.recover()
    assert [write.reason for write in stage.store.rejected()] == ["SessionStoreError"]
    assert stage.store.append_messages("bad", said("c")) == 1
    assert stage.kept("bad") == ["a", "c"]
    assert [r.levelname for r in caplog.records].count("ERROR") == 1
    assert not stage.store.is_degraded()


def test_a_write_too_large_for_the_primary_is_refused_in_an_outage_too() -> None:
    class Small(FaultyStore):
        bounds = StoreBounds(messages=2, message_bytes=1000)  # type: ignore[assignment]

    primary = Small(InMemorySessionStore())
    store = FallbackSessionStore(primary, retry_after=0)
    primary.go_down()
    with pytest.raises(InvalidMessageError, match="3 messages are too many"):
        store.append_messages("s", said(*"abc"))
    with pytest.raises(InvalidMessageError, match="too large"):
        store.create("s", messages=[SessionMessage("user", "x" * 1000)])
    assert store.append_messages("s", said(*"ab")) == 2
    assert store.stats().pending == 1
    assert store.bounds == primary.bounds


def test_logs_of_one_slow_session_are_not_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sessionstore")
    stage = stage_of("slow")
    stage.primary.slow["slow"] = SLOW
    for number in range(5):
        stage.store.append_messages("slow", said(str(number)))
    assert "unavailable" not in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "for one session" in caplog.text


def test_any_store_may_be_the_primary() -> None:
    """One that knows nothing of these classes is given up at its first error, as ever."""
    stage = stage_of("s")
    assert isinstance(stage.primary, SessionStore)
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    assert stage.store.is_degraded()
