"""Several operations in one step, while the primary is away and when it is back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from faults import Killed
from test_fallback_faults import Stage, kinds, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    OutageError,
    SessionAccessError,
    SessionNotFoundError,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Update,
)


def stage_in_an_outage(**options: object) -> Stage:
    stage = Stage(**options)
    stage.store.append_messages("s", said("a", "b"))
    stage.store.get("s")
    stage.primary.go_down()
    return stage


def test_a_turn_goes_on_in_an_outage_and_is_replayed() -> None:
    stage = stage_in_an_outage()
    for text, before in (("c", ["a", "b"]), ("d", ["a", "b", "c"])):
        view, added = stage.store.run([GetMessages("s", limit=5), Append("s", said(text))])
        assert ([message.id for message in view], added) == (before, 1)
    assert kinds(stage) == ["append", "append"]
    stage.primary.come_back()
    stage.primary.asked.clear()
    assert stage.store.recover()
    assert stage.primary.asked.count(("Append", "s")) == 1, "appends are replayed as one"
    assert stage.kept() == stage.seen() == ["a", "b", "c", "d"]


def test_several_writes_are_one_entry_and_replayed_in_one_step() -> None:
    stage = stage_in_an_outage()
    swap = [DeleteMessages("s", ["b"]), Append("s", said("c")), Update("s", metadata={"n": 1})]
    deleted, added, info = stage.store.run(swap)
    assert (deleted, added, info.metadata) == (["b"], 1, {"n": 1})
    assert kinds(stage) == ["several"]
    assert stage.seen() == ["a", "c"]
    stage.primary.come_back()
    stage.primary.asked.clear()
    assert stage.store.recover()
    assert stage.primary.asked.count(("Several", "s")) == 1
    assert stage.kept() == stage.seen() == ["a", "c"]
    assert stage.primary.inner.get("s").metadata == {"n": 1}


@pytest.mark.parametrize("fault", ["lost", "killed after"])
def test_a_replay_that_is_broken_off_is_repeated_without_harm(fault: str) -> None:
    stage = stage_in_an_outage()
    stage.store.run([ReplaceMessage("s", said("a")[0]), Append("s", said("c"))])
    stage.primary.script(None, fault, then="down")
    with suppress(Killed):
        stage.store.recover()
    stage.crash()
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["a", "b", "c"]
    assert stage.store.rejected() == []


def test_a_new_process_replays_what_a_killed_one_left(tmp_path: Path) -> None:
    stage = Stage()
    stage.fallback.inner = SQLiteSessionStore(tmp_path / "journal.db")
    stage.store = stage.open()
    stage.store.append_messages("s", said("a"))
    stage.primary.go_down()
    stage.store.run([Append("s", said("b")), Update("s", metadata={"n": 1})])
    stage.crash()
    assert stage.seen() == ["a", "b"]
    assert stage.store.get("s").metadata == {"n": 1}
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b"]
    stage.fallback.inner.close()


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        (ReplaceMessage("s", said("x")[0]), SessionNotFoundError),
        (GetMessages("s", before="x"), InvalidMessageError),
        (Append("s", said("x"), expected_version=1), OutageError),
    ],
    ids=["replace", "read", "version"],
)
def test_one_that_fails_in_an_outage_fails_all(
    failing: Operation[object], error: type[SessionStoreError]
) -> None:
    stage = stage_in_an_outage()
    before = stage.store.get("s")
    with pytest.raises(error):
        stage.store.run([Append("s", said("c")), failing])
    assert stage.store.get("s") == before
    assert stage.store.pending() == []


@pytest.mark.parametrize(
    "write",
    [Delete("s"), Update("s", said("x"))],
    ids=["delete", "update"],
)
def test_what_can_not_be_replayed_in_one_step_is_refused(write: Operation[object]) -> None:
    stage = stage_in_an_outage()
    with pytest.raises(OutageError, match="one step"):
        stage.store.run([Append("s", said("c")), write])
    with pytest.raises(OutageError, match="one step"):
        stage.store.run([Create("new"), Append("new", said("c"))])
    assert stage.store.pending() == []
    data, _ = stage.store.run([Get("s"), write])
    assert [message.id for message in data.messages] == ["a", "b"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ([] if isinstance(write, Delete) else ["x"])


def test_several_that_read_are_answered_from_what_is_known() -> None:
    stage = stage_in_an_outage()
    data, messages = stage.store.run([Get("s"), GetMessages("s", limit=1)])
    assert [message.id for message in data.messages] == ["a", "b"]
    assert [message.id for message in messages] == ["b"]
    assert stage.store.pending() == []


def test_a_session_that_was_never_seen_reads_as_empty_or_raises() -> None:
    turn = [GetMessages("new"), Append("new", said("a"))]
    stage = stage_in_an_outage()
    assert stage.store.run(turn) == [[], 1]
    strict = stage_in_an_outage(unknown="raise")
    with pytest.raises(StoreUnavailableError, match="not seen"):
        strict.store.run(turn)
    with pytest.raises(StoreUnavailableError, match="not seen"):
        strict.store.run([GetMessages("new"), Get("new")])


def test_what_the_primary_gave_is_known_in_an_outage() -> None:
    stage = Stage()
    stage.primary.inner.append_messages("s", said("a", "b"))
    data, added, messages = stage.store.run(
        [Get("s"), Append("s", said("c")), GetMessages("s", limit=2)]
    )
    assert (data.version, added, [message.id for message in messages]) == (1, 1, ["b", "c"])
    stage.primary.go_down()
    assert stage.seen() == ["a", "b", "c"]
    stage.primary.come_back()
    assert stage.store.recover()
    stage.store.run([Append("s", said("d")), Delete("s")])
    stage.primary.go_down()
    assert stage.store.get("s") is None


def test_a_turn_lets_an_outage_forget_nothing_that_it_read() -> None:
    stage = Stage()
    stage.primary.inner.append_messages("s", said("a", "b"), user_id="alice")
    view, _ = stage.store.run(
        [GetMessages("s", user_id="alice"), Append("s", said("c"), user_id="alice")]
    )
    assert [message.id for message in view] == ["a", "b"]
    stage.primary.go_down()
    assert stage.seen() == ["a", "b", "c"]
    with pytest.raises(SessionAccessError):
        stage.store.get("s", user_id="eve")
    stage.store.update("s", messages=said("b", "c", "d"))
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["b", "c", "d"]


def test_a_list_that_reads_ends_no_outage_of_writes() -> None:
    events: list[str] = []
    stage = Stage(
        on_fallback=lambda _: events.append("down"), on_recover=lambda: events.append("up")
    )
    stage.store.append_messages("s", said("a"))
    stage.primary.take_no_writes()
    stage.store.append_messages("s", said("b"))
    for _ in range(3):
        stage.store.run([GetMessages("s"), Get("s")])
    assert events == ["down"]


def test_what_others_learned_meanwhile_is_newer_than_what_several_read() -> None:
    stage = Stage()
    stage.store.append_messages("s", said("a"))
    stage.primary.afterwards = lambda: stage.store.append_messages("s", said("c"))
    stage.store.run([Get("s"), Append("s", said("b"))])
    stage.primary.go_down()
    assert sorted(stage.seen()) == ["a", "b", "c"]


def test_the_owner_is_checked_in_an_outage() -> None:
    with FallbackSessionStore(InMemorySessionStore(), retry_after=0) as healthy:
        stage = Stage(healthy)
        alice = [Append("s", said("a"), user_id="alice"), Get("s", user_id="alice")]
        stage.store.run(alice)
        stage.store.get("s", user_id="alice")
        stage.primary.go_down()
        with pytest.raises(SessionAccessError):
            stage.store.run([Get("s", user_id="eve"), Append("s", said("b"), user_id="eve")])
        assert stage.seen() == ["a"]


@pytest.mark.parametrize("count", [8, 64])
def test_a_crowd_on_one_session_goes_on_in_an_outage(tmp_path: Path, count: int) -> None:
    stage = stage_in_an_outage()
    stage.fallback.inner = SQLiteSessionStore(tmp_path / "journal.db")
    stage.store = stage.open()
    stage.store.run([GetMessages("s"), Append("s", said("first"))])

    async def turns(caller: int) -> list[int]:
        seen = []
        for number in range(4):
            turn = [GetMessages("s"), Append("s", said(f"{caller}-{number}"))]
            view, added = await stage.store.arun(turn)
            seen.append(len(view))
            assert added == 1
        return seen

    async def main() -> list[list[int]]:
        return await asyncio.gather(*map(turns, range(count)))

    seen = list(chain.from_iterable(asyncio.run(main())))
    assert sorted(seen) == list(range(1, 4 * count + 1))
    stage.primary.come_back()
    assert stage.store.recover()
    assert len(stage.kept()) == 2 + 1 + 4 * count
    stage.fallback.inner.close()
