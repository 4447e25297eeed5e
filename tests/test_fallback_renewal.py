"""A journal's owner renews its ownership by an entry: metadata alone leaves a session as old."""

from __future__ import annotations

import time

import msgspec
import pytest
from clocks import SECOND, MachineClock
from faults import FaultyStore
from test_fallback_faults import Stage, said

from sessionstore import InMemorySessionStore, SessionInfo
from sessionstore.fallback.journal_form import ADOPTED_BY, ADOPTING, DONE, JOURNALS, renewal_entry
from sessionstore.fallback.lease import claim
from sessionstore.fallback.requests import send
from sessionstore.flow import play
from sessionstore.models import to_microseconds


@pytest.fixture
def stage() -> Stage:
    """A store that has journaled two writes."""
    stage = Stage()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    stage.store.append_messages("s", said("b"))
    return stage


def renew(stage: Stage) -> bool:
    """Let the lease be over, and keep the queue of ``s``."""
    journal = stage.store._parts.journal
    [queue] = journal._queues.values()
    queue.touched = 0.0
    return play(journal.keep(queue), send)


def journal_of(stage: Stage) -> SessionInfo:
    [info] = stage.fallback.inner.list_sessions(agent_id=JOURNALS).sessions
    return info


def test_a_renewal_moves_the_journals_time_and_adds_one_entry_in_all(stage: Stage) -> None:
    before = journal_of(stage)
    for _ in range(5):
        seen = journal_of(stage)
        assert renew(stage)
        assert journal_of(stage).updated_at > seen.updated_at
    assert journal_of(stage).message_count == before.message_count + 1


def test_a_journal_that_is_renewed_outlives_its_stores_retention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = MachineClock(monkeypatch)
    stage = Stage()
    stage.fallback = FaultyStore(InMemorySessionStore(retention_days=1))
    stage.store = stage.open()
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    for _ in range(3):
        clock.let_pass(0.9)
        assert renew(stage)
    stage.crash()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a"]


def test_who_renews_elsewhere_is_taken_for_present(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process in another container only its journals' time tells that it is there."""
    clock = MachineClock(monkeypatch)
    stage = Stage()
    stage.store._parts.journal.owner = "elsewhere|1|1|x"
    stage.primary.go_down()
    stage.store.append_messages("s", said("a"))
    clock.let_pass(70 / 86_400)
    assert renew(stage)
    other = stage.open()
    assert not other.pending()
    assert other._parts.adopter.looks_again_at is not None
    clock.let_pass(70 / 86_400)
    later = stage.open()
    assert [write.session_id for write in later.pending()] == ["s"]
    assert not renew(stage)


def test_a_renewed_journal_is_taken_over_with_nothing_set_aside(stage: Stage) -> None:
    for _ in range(2):
        assert renew(stage)
        stage.store.append_messages("s", said(str(time.monotonic_ns())))
        stage.crash()
    written = stage.seen()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == written
    assert len(written) == 4
    assert stage.store.rejected() == []
    assert stage.fallback.inner.list_sessions().sessions == []


def test_older_releases_can_read_a_renewal() -> None:
    """They know four kinds of entries: this one is word of writes that are done, of none."""
    entry = renewal_entry()
    assert entry.role == DONE == "done"
    assert msgspec.json.decode(str(entry.content), type=list[str]) == []


def test_a_journal_that_an_older_release_renewed_is_renewed_on(stage: Stage) -> None:
    """By metadata alone, which in that release moves the journal's time: its owner is there."""
    owner = stage.store._parts.journal.owner
    info = journal_of(stage)
    stage.fallback.inner.update(info.id, metadata={ADOPTED_BY: owner})
    assert renew(stage)
    stage.fallback.inner.update(info.id, metadata={ADOPTED_BY: "another|1|1|x"})
    assert not renew(stage)


def test_a_claim_counts_what_is_there_and_is_one_step(stage: Stage) -> None:
    store, info = stage.fallback, journal_of(stage)
    assert play(claim(store, "me|1|1|x", info.id, info.version + 1), send) is None
    assert journal_of(stage) == info
    requests = store.requests
    for version in (info.version, None):
        found = journal_of(stage).version if version is None else version
        assert play(claim(store, "me|1|1|x", info.id, found), send) == info.message_count + 1
    assert store.requests == requests + 2
    assert journal_of(stage).metadata == {ADOPTED_BY: "me|1|1|x"}
    assert play(claim(store, "me|1|1|x", "gone", 1), send) is None


def test_who_takes_over_says_so_by_the_time_of_its_mark(stage: Stage) -> None:
    """Another one, elsewhere, waits while that is fresh."""
    file = stage.fallback.inner
    made = file.create(ADOPTING, agent_id=ADOPTING, metadata={ADOPTED_BY: "gone|1|1|x"})
    time.sleep(0.001)
    assert play(claim(file, "me|1|1|x", ADOPTING, made.version), send) == 1
    found = file.get(ADOPTING)
    assert found is not None
    assert to_microseconds(found.updated_at) - to_microseconds(made.updated_at) < 60 * SECOND
    assert found.updated_at > made.updated_at
