"""A session is restored while the primary is away: replayed once, as what it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from faults import FaultyStore
from msgspec.structs import replace
from test_fallback_faults import Stage, kinds, said
from transfers import session

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    OutageError,
    SessionData,
    SessionExistsError,
    SQLiteSessionStore,
)
from sessionstore.operations import Append, Restore


def stored(stage: Stage) -> SessionData:
    there = stage.primary.inner.get("s")
    assert there is not None
    return there


@pytest.mark.parametrize("lost", [False, True])
def test_a_restore_is_replayed_once(lost: bool) -> None:
    """Also after the answer to its first replay was lost, and others have written since."""
    stage = Stage()
    stage.primary.go_down()
    given = session("s", 3, user_id="alice")
    info = stage.store.run(Restore(given))
    assert info is not None
    assert (info.updated_at, info.message_count) == (given.updated_at, 3)
    assert stage.store.get("s", user_id="alice") == given
    assert stage.store.list_sessions().sessions == [info]
    assert kinds(stage) == ["restore"]
    with pytest.raises(SessionExistsError):
        stage.store.run(Restore(given))
    stage.primary.come_back()
    if lost:
        stage.primary.inner.run(Restore(given))
        stage.primary.inner.append_messages("s", said("later"), user_id="alice")
    assert stage.store.recover()
    assert stage.store.rejected() == []
    there = stored(stage)
    assert there.created_at == given.created_at
    assert stage.kept() == ["m0", "m1", "m2", *(["later"] if lost else [])]
    if not lost:
        assert there == given


def test_a_restore_that_meets_another_session_is_set_aside() -> None:
    """That one stays as it is; what was written behind it goes on."""
    stage = Stage()
    other = replace(session("s", 1), created_at=session("s").created_at - timedelta(days=1))
    stage.primary.inner.run(Restore(other))
    stage.primary.go_down()
    stage.store.run(Restore(session("s", 3)))
    stage.store.append_messages("s", said("behind"))
    stage.primary.come_back()
    assert stage.store.recover()
    [rejected] = stage.store.rejected()
    assert isinstance(rejected.operation, Restore)
    assert rejected.reason == "SessionConflictError"
    assert stage.kept() == ["m0", "behind"]
    assert stored(stage).created_at == other.created_at


def test_a_restore_survives_in_a_file(tmp_path: Path) -> None:
    given = session("s", 3, user_id="alice")
    primary = FaultyStore(InMemorySessionStore())
    primary.go_down()

    def opened() -> FallbackSessionStore:
        file = SQLiteSessionStore(tmp_path / "journal.db")
        return FallbackSessionStore(primary, fallback=file, retry_after=0)

    with opened() as store:
        store.run(Restore(given))
    primary.come_back()
    with opened() as store:
        assert store.recover()
    assert primary.inner.get("s") == given


def test_what_can_not_be_promised_is_refused_in_an_outage() -> None:
    """A part of a session, and to restore it in one step with other writes."""
    stage = Stage()
    stage.store.run(Restore(session("s", 2)))
    stage.primary.go_down()
    part = session("s", 4)
    with pytest.raises(OutageError):
        stage.store.run(Restore(part, expected_version=1))
    with pytest.raises(OutageError):
        stage.store.run([Restore(session("t")), Append("t", said("x"))])
    assert stage.seen() == ["m0", "m1"]
    assert stage.store.get("t") is None


def test_what_was_restored_is_known_in_an_outage() -> None:
    """Also what was restored in parts."""
    stage = Stage()
    stage.store.run(Restore(session("s", 2)))
    whole = session("s", 4)
    stage.store.run(Restore(whole, expected_version=1))
    stage.primary.go_down()
    assert stage.store.get("s") == replace(whole, version=2)
