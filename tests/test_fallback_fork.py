"""A session is forked while the primary is away, and what is known of a fork in an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fallback_contract import faulty
from test_fallback_circuits import SLOW
from test_fallback_faults import Stage, kinds, said

from sessionstore import (
    FallbackSessionStore,
    OutageError,
    SessionAccessError,
    SessionData,
    SessionExistsError,
    SessionInfo,
    SessionNotFoundError,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.operations import Fork


def stage_of(*texts: str, **options: Any) -> Stage:
    stage = Stage(**options)
    made = {"agent_id": "guide", "user_id": "alice", "metadata": {"title": "Trip"}}
    stage.store.create("s", messages=said(*texts), **made)
    return stage


def stored(stage: Stage, session_id: str) -> SessionData:
    session = stage.primary.inner.get(session_id)
    assert session is not None
    return session


# -- In an outage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [None, "b"])
def test_a_fork_in_an_outage_is_the_create_that_it_amounts_to(at: str | None) -> None:
    stage = stage_of("a", "b", "c")
    stage.primary.go_down()
    copied = ["a", "b", "c"] if at is None else ["a", "b"]
    info = stage.store.fork("s", "t", at=at, user_id="alice", metadata={"title": None, "n": 1})
    origin = {"session_id": "s", "message_id": copied[-1]}
    assert isinstance(info, SessionInfo)
    assert (info.agent_id, info.user_id, info.version) == ("guide", "alice", 1)
    assert (info.message_count, info.metadata) == (len(copied), {"n": 1, "forked_from": origin})
    assert kinds(stage) == ["create"]
    assert stage.seen("t") == copied
    assert stage.store.append_messages("t", said("d"), user_id="alice") == 1
    assert stage.seen() == ["a", "b", "c"]
    stage.primary.come_back()
    assert stage.store.recover()
    made = stored(stage, "t")
    assert (made.agent_id, made.user_id, made.metadata) == ("guide", "alice", info.metadata)
    assert stage.kept("t") == stage.seen("t") == [*copied, "d"]
    assert stage.kept() == ["a", "b", "c"]


def test_what_was_written_in_the_outage_is_in_the_fork() -> None:
    stage = stage_of("a")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b", "c"))
    stage.store.delete_messages("s", ["a"])
    stage.store.update("s", metadata={"title": "Another"})
    stage.store.fork("s", "t", at="b")
    stage.store.fork("t", "u")
    assert (stage.seen("t"), stage.seen("u")) == (["b"], ["b"])
    stage.primary.come_back()
    assert stage.store.recover()
    assert (stage.kept("s"), stage.kept("t"), stage.kept("u")) == (["b", "c"], ["b"], ["b"])
    assert stored(stage, "u").metadata["title"] == "Another"
    assert stored(stage, "u").metadata["forked_from"]["session_id"] == "t"


def test_a_session_that_was_made_in_the_outage_is_forked() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.create("s", user_id="alice", messages=said("a"))
    stage.store.append_messages("s", said("b"), user_id="alice")
    assert stage.store.fork("s", "t", user_id="alice").message_count == 2
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("t") == ["a", "b"]
    assert stored(stage, "t").user_id == "alice"


def test_a_fork_is_kept_through_a_crash() -> None:
    stage = stage_of("a", "b")
    stage.primary.go_down()
    stage.store.fork("s", "t", at="a")
    stage.crash()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("t") == ["a"]


def unseen(_: Stage) -> None:
    """Nothing was ever asked of the session."""


def appended_to(stage: Stage) -> None:
    stage.store.append_messages("other", said("d"))


def appended_to_in_the_outage(stage: Stage) -> None:
    stage.primary.go_down()
    stage.store.append_messages("other", said("d"))


def partly_read(stage: Stage) -> None:
    stage.store.get_messages("other", limit=1)


def head_read(stage: Stage) -> None:
    stage.store.get("other", limit=0)


@pytest.mark.parametrize(
    "before", [unseen, appended_to, appended_to_in_the_outage, partly_read, head_read]
)
def test_what_is_not_all_known_is_not_forked_in_an_outage(before: Any) -> None:
    stage = Stage()
    stage.primary.inner.append_messages("other", said("a", "b", "c"))
    before(stage)
    stage.primary.go_down()
    for at in (None, "a", "c", "nope"):
        with pytest.raises(OutageError):
            stage.store.fork("other", "t", at=at)
    assert "create" not in kinds(stage)
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.primary.inner.get("t") is None
    assert stage.store.fork("other", "t", at="b").message_count == 2


def test_a_session_longer_than_is_kept_is_not_forked_in_an_outage() -> None:
    stage = stage_of(*map(str, range(9)), max_messages=4)
    stage.primary.go_down()
    with pytest.raises(OutageError):
        stage.store.fork("s", "t")


def test_errors_in_an_outage_are_those_of_the_primary() -> None:
    stage = stage_of("a", "b")
    stage.store.create("eves", user_id="eve")
    stage.store.create("gone", messages=said("a"))
    stage.primary.go_down()
    stage.store.delete("gone")
    for kind, args, user_id in (
        (SessionNotFoundError, ("gone", "t"), None),
        (SessionNotFoundError, ("s", "t", "c"), None),
        (SessionExistsError, ("s", "s"), "alice"),
        (SessionExistsError, ("s", "eves"), None),
        (SessionAccessError, ("s", "eves"), "alice"),
        (SessionAccessError, ("s", "t"), "eve"),
        (SessionAccessError, ("s", "s"), "eve"),
    ):
        session_id, new_session_id, *at = args
        with pytest.raises(kind):
            stage.store.run(Fork(session_id, new_session_id, *at or [None], user_id))
    assert kinds(stage) == ["delete"]
    assert stage.store.fork("s", "gone").message_count == 2  # that id is free
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("gone") == ["a", "b"]


def test_a_fork_whose_answer_was_lost_is_made_once() -> None:
    stage = stage_of("a", "b")
    stage.primary.script("lost", then="down")
    assert stage.store.fork("s", "t", at="a").message_count == 1
    assert stage.kept("t") == ["a"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert (stage.kept("t"), stage.store.rejected()) == (["a"], [])
    assert stored(stage, "t").version == 1
    assert [info.id for info in stage.primary.inner.list_sessions().sessions] == ["t", "s"]


def test_a_fork_of_a_slow_session_is_answered_by_the_fallback() -> None:
    stage = stage_of("a", "b", retry_after=3600, retry_cap=3600)
    stage.primary.slow["s"] = SLOW
    assert stage.store.fork("s", "t").message_count == 2
    assert not stage.store.is_degraded()
    assert stage.store.stats().slow_sessions == 1
    stage.primary.asked.clear()
    assert stage.store.fork("s", "u", at="a").message_count == 1
    assert ("Fork", "s") not in stage.primary.asked
    assert stage.seen("u") == ["a"]  # replayed before it is read
    assert stage.kept("u") == ["a"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("t") == ["a", "b"]


def test_users_fork_what_they_have_written_in_an_outage() -> None:
    stage = Stage()
    stage.primary.go_down()
    for user in ("alice", "bob"):
        stage.store.create("s", user_id=user, messages=said(f"of {user}"))
        assert stage.store.fork("s", f"fork of {user}", user_id=user).user_id == user
    stage.primary.come_back()
    stage.store.recover()
    for user in ("alice", "bob"):
        assert stage.kept(f"fork of {user}") == [f"of {user}"]


# -- When it is back ------------------------------------------------------------------------------


def test_what_waits_for_the_session_is_replayed_before_it_is_forked() -> None:
    stage = stage_of("a")
    stage.primary.go_down()
    stage.store.append_messages("s", said("b"))
    stage.primary.come_back()
    assert stage.store.fork("s", "t").message_count == 2
    assert stage.kept("t") == ["a", "b"]
    assert stage.store.pending() == []


def test_what_waits_for_the_new_session_is_replayed_before_it_is_made() -> None:
    stage = stage_of("a")
    stage.store.create("t", messages=said("old"))
    stage.primary.go_down()
    stage.store.delete("t")
    stage.store.create("u", messages=said("new"))
    stage.primary.come_back()
    assert stage.store.fork("s", "t").message_count == 1
    assert stage.kept("t") == ["a"]
    with pytest.raises(SessionExistsError):
        stage.store.fork("s", "u")
    assert stage.kept("u") == ["new"]


def test_a_new_session_that_is_slow_does_not_condemn_the_session_that_is_forked() -> None:
    stage = stage_of("a")
    stage.store.create("t")
    stage.primary.slow["t"] = SLOW
    stage.store.delete("t")
    assert stage.store.fork("s", "t").message_count == 1  # behind its deletion, in its journal
    assert kinds(stage) == ["delete", "create"]
    assert stage.store.stats().slow_sessions == 1
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("t") == ["a"]


# -- What is known of a fork ----------------------------------------------------------------------


def test_an_outage_shows_a_fork_of_what_was_known() -> None:
    stage = stage_of("a", "b", "c")
    stage.store.fork("s", "all")
    stage.store.fork("s", "some", at="b")
    stage.store.get("some")  # else what others may have done to it since is not known
    stage.primary.go_down()
    assert (stage.seen("all"), stage.seen("some")) == (["a", "b", "c"], ["a", "b"])
    known = stage.store.get("some")
    assert known == stored(stage, "some")
    assert known.metadata["forked_from"] == {"session_id": "s", "message_id": "b"}
    with pytest.raises(SessionAccessError):
        stage.store.get("some", user_id="eve")
    assert stage.store.list_sessions().sessions[0].id == "some"
    assert stage.store.fork("some", "again").message_count == 2
    stage.store.append_messages("some", said("d"))
    assert (stage.seen(), stage.seen("some")) == (["a", "b", "c"], ["a", "b", "d"])


def test_nobody_writes_to_anothers_session_by_a_fork_of_an_open_one() -> None:
    """The new session would be open, too: the replay could not tell that it is not bob's."""
    stage = Stage()
    stage.store.create("open", messages=said("x", "y"))
    stage.primary.inner.create("alices", user_id="alice", messages=said("secret"))
    stage.primary.go_down()
    for new in ("alices", "new"):
        with pytest.raises(OutageError, match="whose"):
            stage.store.fork("open", new, user_id="bob")
    assert stage.store.fork("open", "opened").message_count == 2
    stage.primary.come_back()
    assert stage.store.recover()
    assert (stage.kept("alices"), stage.kept("opened")) == (["secret"], ["x", "y"])
    assert stage.primary.inner.get("new") is None


def test_what_may_be_missing_after_a_replay_is_read_before_a_fork() -> None:
    stage = stage_of("a")
    stage.primary.go_down()
    stage.store.append_messages("s", said("c"))
    stage.primary.inner.append_messages("s", said("b"))
    stage.primary.come_back()
    assert stage.store.recover()
    stage.primary.go_down()
    with pytest.raises(OutageError, match="not all messages"):
        stage.store.fork("s", "t")
    stage.primary.come_back()
    assert stage.store.recover()
    stage.store.get("s")
    stage.primary.go_down()
    assert stage.store.fork("s", "t").message_count == 3
    assert stage.seen("t") == ["a", "b", "c"]


@pytest.mark.parametrize("known", [True, False])
def test_a_fork_hides_nothing_that_was_acknowledged_meanwhile(known: bool) -> None:
    stage = stage_of("a")
    if not known:
        stage.primary.inner.append_messages("s", said("b"))
    stage.primary.afterwards = lambda: stage.store.append_messages("t", said("x"))
    stage.store.fork("s", "t")
    stage.primary.go_down()
    assert stage.seen("t")[-1] == "x"


def test_a_fork_of_a_long_session_is_known_as_far_as_that_was() -> None:
    names = [str(number) for number in range(12)]
    stage = stage_of(*names, max_messages=4)
    stage.store.get("s")
    stage.store.fork("s", "all")
    stage.store.fork("s", "end", at="10")
    stage.store.fork("s", "start", at="2")
    stage.primary.go_down()
    assert stage.seen("all") == names[-4:]
    assert stage.seen("end") == names[8:11]
    assert stage.store.get("end", limit=2).message_count == 11
    with pytest.raises(StoreUnavailableError):
        stage.store.get_messages("end", before="8", limit=3)
    assert stage.seen("start") == []  # which was never seen
    assert stage.store.append_messages("all", said("0", "11", "x")) == 1


@pytest.mark.parametrize("unknown", ["empty", "raise"])
def test_a_fork_of_what_was_not_known_is_not_known(unknown: Any) -> None:
    stage = stage_of("a", unknown=unknown)
    stage.primary.inner.append_messages("s", said("b"))
    assert stage.store.fork("s", "t").message_count == 2
    stage.primary.inner.append_messages("other", said("a"))
    stage.store.fork("other", "u")
    stage.primary.go_down()
    for session_id in ("t", "u"):
        if unknown == "empty":
            assert stage.seen(session_id) == []
        else:
            with pytest.raises(StoreUnavailableError):
                stage.seen(session_id)


def test_a_fork_of_what_others_have_changed_is_not_known() -> None:
    """Though its last message is."""
    stage = stage_of("a", "b", "c")
    stage.primary.inner.delete_messages("s", ["a"])
    assert stage.store.fork("s", "t").message_count == 2
    stage.primary.inner.delete_messages("s", ["b", "c"])
    assert stage.store.fork("s", "u").message_count == 0
    stage.primary.go_down()
    assert (stage.seen("t"), stage.seen("u")) == ([], [])
    with pytest.raises(OutageError):
        stage.store.fork("t", "v")


def test_a_message_that_others_have_replaced_is_read_anew() -> None:
    stage = stage_of("a", "b")
    stage.store.get("s")
    [changed] = said("a")
    stage.primary.inner.replace_message(  # another process
        "s", {"role": "user", "content": "A", "id": changed.id}
    )
    stage.store.fork("s", "t")
    assert [m.content for m in stage.store.get_messages("t")] == ["A", "b"]
    stage.primary.go_down()
    assert [m.content for m in stage.store.get_messages("t")] == ["A", "b"]


def test_a_fork_of_no_messages_is_known() -> None:
    stage = Stage()
    stage.store.create("s")
    stage.store.fork("s", "t")
    stage.primary.go_down()
    assert stage.store.get("t") == stored(stage, "t")


def test_what_was_known_under_the_id_is_not_taken_for_the_fork() -> None:
    stage = stage_of("a")
    stage.store.create("t", messages=said("old"))
    stage.primary.inner.delete("t")  # by another process
    stage.primary.inner.append_messages("s", said("b"))
    assert stage.store.fork("s", "t").message_count == 2
    stage.primary.go_down()
    assert stage.seen("t") == []


# -- Async, nested, and with faults at each request -----------------------------------------------


def test_a_fork_in_an_outage_is_async_too() -> None:
    async def main() -> None:
        stage = stage_of("a", "b")
        stage.primary.go_down()
        assert (await stage.store.afork("s", "t", at="a")).message_count == 1
        stage.primary.come_back()
        assert await stage.store.arecover()
        assert stage.kept("t") == ["a"]

    asyncio.run(main())


def test_a_fork_goes_through_two_fallbacks(tmp_path: Path) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db") as primary:
        stage = Stage(FallbackSessionStore(primary))
        stage.store.append_messages("s", said("a", "b"))
        assert stage.store.fork("s", "t", at="a").message_count == 1
        assert stage.kept("t") == ["a"]


@pytest.mark.parametrize(
    "faults", [["down"], ["down", None], [None, "lost"], ["lost", None, "down"]]
)
def test_each_fork_is_there_once_whatever_is_lost(faults: list[str | None]) -> None:
    def forever() -> Iterator[str | None]:
        while True:
            yield from faults

    store = faulty(forever)()
    store.create("s", messages=said("a", "b", "c"))
    made: list[str] = []
    for number in range(12):
        new, at = f"fork {number}", "abc"[number % 3]
        try:
            assert store.fork("s", new, at=at).message_count == number % 3 + 1
        except OutageError:  # what was replayed, and not read since, is not all known
            store.get("s")
            continue
        made.append(new)
    assert made
    primary: Any = store.wrapped
    primary.come_back()
    assert store.recover()
    for new in made:
        assert [m.id for m in primary.inner.get_messages(new)] == list(
            "abc"[: int(new[5:]) % 3 + 1]
        )
        assert primary.inner.get(new).version == 1
