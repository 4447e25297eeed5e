"""The fallback, where a fault comes in the middle: of a request, of a replay, of another's call."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from faults import FaultyStore, Killed

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionExistsError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.fallback import obsolete
from sessionstore.fallback.journal_owners import is_present, name_for
from sessionstore.operations import Append


def said(*texts: str) -> list[SessionMessage]:
    return [SessionMessage("user", text, id=text) for text in texts]


def kinds(stage: Stage) -> list[str]:
    """Give what each write does that waits, by the name it has in the journal."""
    writes = [write.operation for write in stage.store.pending()]
    return [str(write.__struct_config__.tag) for write in writes if write is not None]


class Stage:
    """A primary and a fallback store that fail on command, and the store over both."""

    def __init__(self, primary: Any = None, **options: Any) -> None:
        self.primary = FaultyStore(primary or InMemorySessionStore())
        self.fallback = FaultyStore(InMemorySessionStore())
        self.options = {"retry_after": 0, **options}
        self.store = self.open()

    def open(self) -> FallbackSessionStore:
        return FallbackSessionStore(self.primary, fallback=self.fallback, **self.options)

    def crash(self) -> None:
        """Another process takes over."""
        self.store._parts.journal.leave()
        self.fallback.come_back()
        self.store = self.open()

    def seen(self, session_id: str = "s") -> list[str | None]:
        return [message.id for message in self.store.get_messages(session_id)]

    def kept(self, session_id: str = "s") -> list[str | None]:
        return [message.id for message in self.primary.inner.get_messages(session_id)]


def test_a_replayed_batch_holds_each_message_once() -> None:
    with SQLiteSessionStore() as primary:
        stage = Stage(primary)
        stage.primary.go_down()
        stage.store.append_messages("s", said("a"))
        stage.store.append_messages("s", said("a", "b"))
        stage.primary.come_back()
        assert stage.store.recover()
        assert stage.kept() == ["a", "b"]


def test_a_read_on_its_way_hides_nothing_written_meanwhile() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))

    def write_in_an_outage() -> None:
        stage.primary.go_down()
        stage.store.append_messages("s", said("b"))

    stage.primary.afterwards = write_in_an_outage
    stage.store.get("s")
    assert stage.seen() == ["a", "b"]


def test_a_read_on_its_way_hides_nothing_acknowledged_meanwhile() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.primary.afterwards = lambda: stage.store.append_messages("s", said("b"))
    stage.store.get("s")
    stage.primary.go_down()
    assert stage.seen() == ["a", "b"]


def test_a_delete_on_its_way_hides_nothing_acknowledged_meanwhile() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")

    def write_in_an_outage() -> None:
        stage.primary.go_down()
        stage.store.append_messages("s", said("b"))

    stage.primary.afterwards = write_in_an_outage
    assert stage.store.delete("s")
    assert "b" in stage.seen()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["b"]


def test_of_two_creates_of_one_session_in_an_outage_one_is_refused() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.fallback.meanwhile = lambda: stage.store.create("s", messages=said("b"))
    with pytest.raises(SessionExistsError):
        stage.store.create("s", messages=said("a"))
    assert kinds(stage) == ["create"]
    stage.crash()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["b"]


@pytest.mark.parametrize("fault", ["lost", "killed after"])
def test_a_write_that_failed_in_the_journal_is_never_replayed(fault: str) -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.fallback.script(fault)
    with pytest.raises((StoreUnavailableError, Killed)):
        stage.store.delete("s")
    stage.store.append_messages("s", said("b"))  # takes it back
    stage.crash()
    assert stage.seen() == ["a", "b"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b"]


def test_a_journal_of_what_failed_is_deleted_when_nothing_can_get_into_it_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(obsolete, "_LATE", 0)
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.fallback.script("lost")
    with pytest.raises(StoreUnavailableError):
        stage.store.delete("s")
    stage.primary.come_back()
    stage.store.append_messages("s", said("b"))
    assert stage.fallback.inner.list_sessions().sessions == []


def test_replayed_writes_are_not_replayed_again_after_a_crash() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.update("s", metadata={"title": "old"})
    stage.store.append_messages("s", said("b"))
    stage.primary.script(None, None, "killed", then="down")  # ping, update, append
    with pytest.raises(Killed):
        stage.store.recover()
    stage.primary.inner.update("s", metadata={"title": "new"})
    stage.crash()
    assert kinds(stage) == ["append"]
    assert stage.seen() == ["a", "b"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.primary.inner.get("s").metadata == {"title": "new"}


@pytest.mark.parametrize("request_number", range(8))
@pytest.mark.parametrize("fault", ["killed", "killed after"])
@pytest.mark.parametrize("where", ["primary", "fallback"])
def test_a_cancelled_caller_holds_nothing(
    where: str, fault: str, request_number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obsolete, "_LATE", 0)
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.store.update("s", metadata={"x": 1})
    stage.store.append_messages("s", said("c"))
    stage.store.append_messages("t", said("d"))
    stage.primary.come_back()
    getattr(stage, where).script(*[None] * request_number, fault)
    with suppress(Killed):
        stage.store.append_messages("s", said("e"))
    stage.primary.come_back()
    stage.fallback.come_back()
    assert stage.store.recover()
    assert stage.kept() in (["a", "b", "c"], ["a", "b", "c", "e"])
    assert stage.seen() == stage.kept()
    assert (stage.kept("t"), stage.store.pending()) == (["d"], [])
    assert stage.fallback.inner.list_sessions().sessions == []


def test_a_task_that_is_cancelled_while_it_probes_lets_others_probe() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))

    async def main() -> None:
        stuck = asyncio.Event()

        async def hang() -> None:
            stuck.set()
            await asyncio.Event().wait()

        stage.primary.asynchronously = hang
        prober = asyncio.ensure_future(stage.store.aget("s"))
        await stuck.wait()
        assert len(await stage.store.aget_messages("s")) == 1  # nobody waits for it
        prober.cancel()
        await asyncio.wait([prober])
        stage.primary.asynchronously = None
        stage.primary.come_back()
        assert await stage.store.arecover()

    asyncio.run(main())
    assert stage.kept() == ["a"]


def test_while_one_replays_others_are_answered_and_join_behind() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    answers: list[object] = []

    def another() -> None:
        answers.append(stage.seen())
        answers.append(stage.store.append_messages("s", said("c")))
        answers.append(stage.seen())

    def in_the_replay() -> None:
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()

    stage.primary.meanwhile = in_the_replay
    assert stage.store.append_messages("s", said("d")) == 1
    assert answers == [["a", "b"], 1, ["a", "b", "c"]]
    assert stage.store.recover()
    assert stage.kept() == ["a", "b", "c", "d"]


def test_a_primary_that_fails_again_while_all_is_replayed_is_given_up_again() -> None:
    stage = Stage()
    stage.primary.go_down()
    for session_id in "st":
        stage.store.append_messages(session_id, said("a"))
    stage.primary.script(None, None, then="down")
    assert not stage.store.recover()
    assert stage.store.is_degraded()
    assert stage.store.stats().fallbacks == 2


def test_a_primary_that_reads_and_does_not_write_is_not_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sessionstore")
    stage = Stage()
    stage.primary.inner.append_messages("other", said("theirs"))
    stage.primary.take_no_writes()
    stage.store.append_messages("s", said("a"))
    for _ in range(5):
        assert stage.seen("other") == ["theirs"]  # it still answers those who read
        assert stage.seen() == ["a"]
        stage.store.append_messages("t", said("b"))
        assert stage.store.is_degraded()
        assert not stage.store.recover()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stage.primary.come_back()
    stage.store.append_messages("t", said("c"))
    assert not stage.store.is_degraded()
    assert stage.store.recover()
    assert (stage.kept(), stage.kept("t")) == (["a"], ["b", "c"])


def test_a_session_that_can_not_be_replayed_yet_holds_up_no_other() -> None:
    stage = Stage()
    stage.primary.go_down()
    for session_id in ("bad", "good", "late"):
        stage.store.append_messages(session_id, said("a"))
    stage.primary.come_back()

    def full(append: Append) -> None:
        if append.session_id == "bad":
            raise SessionStoreError("the disk is full")

    stage.primary.before[Append] = full
    assert not stage.store.recover()
    assert not stage.store.is_degraded()
    assert (stage.kept("good"), stage.kept("late")) == (["a"], ["a"])
    assert stage.seen("bad") == ["a"]
    assert stage.store.append_messages("bad", said("b")) == 1
    del stage.primary.before[Append]
    assert stage.store.recover()
    assert stage.kept("bad") == ["a", "b"]


def test_a_fallback_that_fails_acknowledges_nothing() -> None:
    stage = Stage()
    stage.primary.go_down()

    def full(_: Append) -> None:
        raise SessionStoreError("the disk is full")

    stage.fallback.before[Append] = full
    with pytest.raises(StoreUnavailableError):
        stage.store.append_messages("s", said("a"))
    assert (stage.store.pending(), stage.seen()) == ([], [])


def test_closing_replays_what_it_can(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.primary.go_down()
    for session_id in "stu":
        stage.store.append_messages(session_id, said("a"))
    stage.primary.come_back()
    stage.store.close()
    assert [stage.kept(session_id) for session_id in "stu"] == [["a"]] * 3
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_delete_of_what_was_made_in_the_outage_spares_what_was_there() -> None:
    stage = Stage()
    stage.primary.inner.append_messages("s", said("theirs"))
    stage.primary.go_down()
    stage.store.create("s", messages=said("ours"))
    assert stage.store.delete("s")
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["theirs"]


def test_a_replayed_delete_spares_messages_that_others_added() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.store.delete("s")
    stage.primary.inner.append_messages("s", said("theirs"))
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["theirs"]


def test_replacing_the_known_part_of_a_long_session_keeps_the_rest() -> None:
    stage = Stage(max_messages=5)
    names = [f"{n}" for n in range(30)]
    for name in names:
        stage.store.append_messages("s", said(name))
    stage.primary.go_down()
    known = stage.store.get_messages("s")
    assert 5 <= len(known) <= 10
    stage.store.update("s", messages=[*known[1:], *said("new")])
    seen = stage.seen()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == [*names[: 30 - len(known)], *seen]


def test_clearing_a_long_session_clears_all_of_it() -> None:
    stage = Stage(max_messages=5)
    for n in range(30):
        stage.store.append_messages("s", said(f"{n}"))
    stage.primary.go_down()
    stage.store.update("s", messages=[])
    assert stage.seen() == []
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == []


def test_messages_deleted_in_an_outage_are_deleted_when_it_is_over() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a", "b", "c"))
    stage.store.get("s")
    stage.primary.go_down()
    assert stage.store.delete_messages("s", ["b", "none"]) == ["b"]
    assert stage.seen() == ["a", "c"]
    with pytest.raises(StoreUnavailableError):
        stage.store.delete_messages("unseen", ["b"])
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "c"]


def test_a_page_older_than_the_known_messages_is_refused() -> None:
    stage = Stage()
    stage.primary.inner.append_messages("s", said(*"abcdef"))
    stage.store.get_messages("s", limit=3)
    stage.primary.go_down()
    page: Callable[..., list[SessionMessage]] = stage.store.get_messages
    assert [m.id for m in page("s", before="f", limit=2)] == ["d", "e"]
    assert stage.store.get("s").message_count == 6
    for options in ({"before": "e", "limit": 2}, {"before": "b"}, {"after": ""}, {"after": "a"}):
        with pytest.raises(StoreUnavailableError):
            page("s", **options)


def test_the_system_message_of_a_long_conversation_is_known() -> None:
    stage = Stage(max_messages=2)
    stage.primary.inner.append_message("s", SessionMessage("system", "Be kind.", id="system"))
    stage.primary.inner.append_messages("s", said(*"abcdef"))
    view = stage.store.get_messages("s", limit=2, keep_system=True)
    stage.primary.go_down()
    assert stage.store.get_messages("s", limit=2, keep_system=True) == view


def test_a_read_with_a_small_limit_keeps_the_cached_messages() -> None:
    stage = Stage()
    stage.store.append_messages("s", said(*"abc"))
    stage.store.get_messages("s", limit=1)
    stage.store.get("s", limit=0)
    stage.primary.go_down()
    assert stage.seen() == ["a", "b", "c"]


def test_messages_that_others_wrote_leave_no_gap_in_the_cache() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.store.get("s")
    stage.primary.inner.append_messages("s", said("b", "c"))
    stage.store.append_messages("s", said("d"))
    stage.store.get_messages("s", limit=2)
    stage.primary.go_down()
    assert stage.seen()[-2:] == ["c", "d"]
    assert "a" not in stage.seen()


def test_a_list_that_was_begun_in_an_outage_goes_on_after_it() -> None:
    stage = Stage()
    for session_id in "stu":
        stage.store.append_messages(session_id, said("a"))
    stage.primary.go_down()
    page = stage.store.list_sessions(limit=2)
    stage.primary.come_back()
    assert stage.store.recover()
    rest = stage.store.list_sessions(limit=2, cursor=page.cursor)
    assert [info.id for info in page.sessions + rest.sessions] == ["u", "t", "s"]
    assert rest.partial


def test_a_fallback_may_be_nested_as_primary_and_as_fallback() -> None:
    inner = Stage()
    backup = Stage()
    store = FallbackSessionStore(inner.store, fallback=backup.store, retry_after=0)
    inner.primary.go_down()
    store.append_messages("s", said("a"))  # the inner one takes it in
    inner.fallback.go_down()
    store.append_messages("s", said("b"))  # the outer one does
    backup.primary.go_down()
    store.append_messages("s", said("c"))  # the fallback's fallback does
    assert [m.id for m in store.get_messages("s")] == ["a", "b", "c"]
    for faulty in (inner.primary, inner.fallback, backup.primary):
        faulty.come_back()
    assert store.recover()
    assert inner.store.recover()
    assert inner.kept() == ["a", "b", "c"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_what_waits_to_its_parent() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    child = os.fork()
    if child == 0:
        stage.primary.come_back()
        stage.store.recover()
        os._exit(len(stage.kept()) + len(stage.store.pending()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(stage.store.pending()) == 1


def test_a_process_that_has_the_number_of_another_is_not_that_one() -> None:
    name = name_for(lambda: None).rsplit("|", 3)
    host, *_ = name
    now = SessionMessage("user", "x").created_at
    parent = os.getppid()
    assert not is_present(f"{host}|{os.getpid()}|0|gone", now)
    if os.path.exists("/proc/self/stat"):
        assert not is_present(f"{host}|{parent}|0|gone", now)
    assert is_present("another host|1|0|x", now)


def test_no_log_shows_a_session_or_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sessionstore")
    stage = Stage()
    stage.store.append_messages("alice@example", said("secret"))
    stage.store.get("alice@example")
    stage.primary.go_down()
    stage.store.update("alice@example", metadata={"title": "secret"})
    stage.primary.inner.delete("alice@example")
    stage.primary.come_back()
    assert stage.store.recover()
    assert len(stage.store.rejected()) == 1
    assert "alice" not in caplog.text
    assert "secret" not in caplog.text
    levels = [record.levelname for record in caplog.records]
    assert sorted(levels) == ["ERROR", "INFO", "WARNING"]


def test_a_journal_that_lingers_does_not_hide_what_others_did_since() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.fallback.script("down")
    with suppress(StoreUnavailableError):
        stage.store.append_messages("s", said("lost"))  # its journal stays, lest it arrive late
    stage.store.append_messages("s", said("a", "b"))
    stage.primary.come_back()
    assert stage.store.recover()
    stage.primary.inner.update("s", messages=said("theirs"))
    assert stage.seen() == ["theirs"]
    stage.primary.go_down()
    stage.store.append_messages("s", said("c"))
    stage.crash()
    assert stage.seen() == ["theirs", "c"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["theirs", "c"]
