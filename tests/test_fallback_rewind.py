"""Rewinding in a fallback: what is known afterwards, and what comes of it in an outage."""

from __future__ import annotations

import pytest
from test_fallback_faults import Stage, kinds, said

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    OutageError,
    SessionAccessError,
    SessionMessage,
    SessionNotFoundError,
    SQLiteSessionStore,
    StoreTimeoutError,
)
from sessionstore.operations import Append, DeleteMessages, Get, GetMessages, Rewind, Update


def stage_of(*names: str, **options: object) -> Stage:
    """Give one whose session is known."""
    stage = Stage(**options)
    stage.store.append_messages("s", said(*names))
    stage.store.get("s")
    return stage


# -- What is learned while the primary answers -----------------------------------------------------


@pytest.mark.parametrize("to", ["a", "c", None])
def test_what_was_rewound_is_not_shown_in_an_outage(to: str | None) -> None:
    stage = stage_of(*"abcd")
    gone = stage.store.rewind("s", to=to)
    left = [name for name in "abcd" if name not in gone]
    stage.primary.go_down()
    assert stage.seen() == left
    assert stage.store.get("s").message_count == len(left)
    assert stage.store.append_messages("s", said("d", "e")) == 2
    assert stage.seen() == [*left, "d", "e"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == [*left, "d", "e"]


def test_what_a_list_has_rewound_is_not_shown_in_an_outage() -> None:
    stage = stage_of(*"abcd")
    for parts, seen in (
        ([Rewind("s", "b"), Append("s", said("d", "e"))], "abde"),
        ([Rewind("s", "a")], "a"),
        ([Append("s", said("x")), Rewind("s", None), Update("s", metadata={"n": 1})], ""),
        ([Rewind("s", None), Append("s", said("z")), Get("s")], "z"),
    ):
        stage.store.run(parts)
        stage.primary.go_down()
        known = stage.store.get("s")
        assert [message.id for message in known.messages] == list(seen)
        assert known.version == stage.primary.inner.get("s").version
        stage.primary.come_back()
        assert stage.store.recover()


def test_a_rewind_to_a_message_that_is_not_kept_is_learned() -> None:
    stage = Stage(max_messages=2)
    names = [f"m{number}" for number in range(50)]
    stage.store.append_messages("s", said(*names))
    stage.store.get("s", limit=2)
    assert stage.store.rewind("s", to="m3") == names[4:]
    stage.primary.go_down()
    assert stage.seen() == []
    assert stage.store.get("s").message_count == 4


def test_a_rewind_hides_nothing_that_was_acknowledged_meanwhile() -> None:
    stage = stage_of(*"abc")
    stage.primary.afterwards = lambda: stage.store.append_messages("s", said("d"))
    assert stage.store.rewind("s", to="a") == ["b", "c"]
    stage.primary.go_down()
    assert stage.seen() == ["a", "d"]


@pytest.mark.parametrize("together", [False, True])
def test_what_others_had_rewound_before_is_gone_here_too(together: bool) -> None:
    stage = stage_of(*"abc")
    stage.primary.inner.rewind("s", to="a")
    if together:
        append = Append("s", said("d"))
        assert stage.store.run([Rewind("s", "a"), append]) == [[], 1]
    else:
        assert stage.store.rewind("s", to="a") == []
    stage.primary.go_down()
    assert stage.seen() == (["a", "d"] if together else ["a"])


def test_a_rewind_of_another_user_of_an_open_session_is_learned() -> None:
    primary = InMemorySessionStore()
    primary.append_messages("s", said(*"abcd"))
    stage = Stage(primary)
    for user in ("alice", "bob"):
        stage.store.get_messages("s", limit=3, keep_system=True, user_id=user)
    assert stage.store.rewind("s", to="b", user_id="bob") == ["c", "d"]
    stage.primary.go_down()
    assert [m.id for m in stage.store.get_messages("s", limit=3, user_id="alice")] == ["b"]


# -- In an outage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lasting", [False, True])
def test_a_rewind_in_an_outage_is_replayed_and_spares_what_others_wrote(lasting: bool) -> None:
    stage = stage_of(*"abcd")
    stage.primary.go_down()
    assert stage.store.rewind("s", to="b") == ["c", "d"]
    assert kinds(stage) == ["remove"]
    assert stage.store.append_messages("s", said("c", "e")) == 2
    stage.primary.inner.append_messages("s", said("theirs"))
    if lasting:
        stage.crash()
    assert stage.seen() == ["a", "b", "c", "e"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b", "theirs", "c", "e"]


def test_a_rewind_of_all_in_an_outage_is_replayed() -> None:
    stage = stage_of(*"abc")
    stage.primary.go_down()
    assert stage.store.rewind("s", to=None) == ["a", "b", "c"]
    stage.primary.inner.append_messages("s", said("theirs"))
    assert stage.seen() == []
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["theirs"]


def test_nothing_waits_of_a_rewind_that_had_nothing_to_delete() -> None:
    stage = stage_of(*"abc")
    stage.store.create("empty")
    stage.primary.go_down()
    assert stage.store.rewind("s", to="c") == stage.store.rewind("empty", to=None) == []
    assert stage.store.pending() == []
    assert stage.store.run([Rewind("s", "c"), Append("s", said("d"))]) == [[], 1]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == list("abcd")


def test_a_list_with_a_rewind_is_one_entry_and_replayed_in_one_step() -> None:
    stage = stage_of(*"abc")
    stage.primary.go_down()
    turn = [GetMessages("s"), Rewind("s", "a"), Append("s", said("b", "x")), Get("s")]
    before, gone, added, after = stage.store.run(turn)
    assert [message.id for message in before] == ["a", "b", "c"]
    assert (gone, added) == (["b", "c"], 2)
    assert [message.id for message in after.messages] == ["a", "b", "x"]
    [entry] = stage.store.pending()
    assert [type(part) for part in entry.operation.operations] == [DeleteMessages, Append]
    assert entry.operation.operations[0].message_ids == ["b", "c"]
    assert stage.store.run([Append("s", said("y", "z")), Rewind("s", "x")]) == [2, ["y", "z"]]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == stage.seen() == ["a", "b", "x"]


def test_a_rewind_behind_what_is_not_known_is_refused_in_an_outage() -> None:
    stage = Stage(max_messages=2)
    stage.primary.inner.append_messages("s", said(*(f"m{number}" for number in range(20))))
    stage.store.get("s", limit=2)
    stage.store.append_messages("appended", said("a"))
    stage.primary.inner.append_messages("appended", said("theirs"))
    stage.store.append_messages("appended", said("b"))
    stage.store.get("appended", limit=1)
    stage.primary.go_down()
    seen = stage.seen()
    for to in ("m3", None, "nope"):
        for parts in ([Rewind("s", to)], [Append("s", said("x")), Rewind("s", to)]):
            with pytest.raises(OutageError):
                stage.store.run(parts)
    for session_id, to in (("unseen", None), ("unseen", "a"), ("appended", "a")):
        with pytest.raises(OutageError):
            stage.store.rewind(session_id, to=to)
    assert (stage.store.pending(), stage.seen()) == ([], seen)
    assert stage.store.rewind("s", to="m18") == ["m19"]


def test_a_rewind_to_no_message_is_refused_in_an_outage_as_ever() -> None:
    stage = stage_of(*"abc")
    stage.primary.go_down()
    with pytest.raises(SessionNotFoundError):
        stage.store.rewind("s", to="nope")
    stage.store.delete("s")
    assert stage.store.rewind("s", to=None) == []
    with pytest.raises(SessionNotFoundError):
        stage.store.rewind("s", to="a")
    assert kinds(stage) == ["delete"]


def test_a_rewind_that_expects_a_version_is_refused_in_an_outage() -> None:
    stage = stage_of(*"abc")
    stage.primary.go_down()
    for parts in ([Rewind("s", "a", None, 1)], [Rewind("s", "a", None, 1), Get("s")]):
        with pytest.raises(OutageError):
            stage.store.run(parts)
    assert stage.store.pending() == []


def test_another_user_can_not_rewind_in_an_outage() -> None:
    stage = Stage()
    stage.store.create("s", user_id="alice", messages=said(*"abc"))
    stage.primary.go_down()
    for to in ("a", "nope", None):
        with pytest.raises(SessionAccessError):
            stage.store.rewind("s", to=to, user_id="eve")
    assert stage.store.rewind("s", to="a", user_id="alice") == ["b", "c"]


def test_a_session_that_was_begun_in_an_outage_can_be_rewound() -> None:
    stage = Stage()
    stage.primary.go_down()
    stage.store.create("made", messages=said(*"abc"))
    stage.store.append_messages("appended", said(*"abc"))
    for name in ("made", "appended"):
        assert stage.store.rewind(name, to="b") == ["c"]
        stage.store.append_messages(name, said("d"))
    assert stage.store.rewind("made", to=None) == ["a", "b", "d"]
    with pytest.raises(OutageError):  # the primary may hold more of it
        stage.store.rewind("appended", to=None)
    stage.primary.inner.append_messages("appended", said("before"))
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept("made") == []
    assert stage.kept("appended") == ["before", "a", "b", "d"]


def test_what_may_be_missing_after_a_replay_is_read_before_a_rewind() -> None:
    stage = stage_of(*"ab")
    stage.primary.go_down()
    stage.store.append_messages("s", said("c"))
    stage.primary.inner.append_messages("s", said("theirs"))
    stage.primary.come_back()
    assert stage.store.recover()
    stage.primary.go_down()
    with pytest.raises(OutageError):
        stage.store.rewind("s", to="a")
    stage.primary.come_back()
    stage.store.get("s")
    stage.primary.go_down()
    assert stage.store.rewind("s", to="a") == ["b", "theirs", "c"]


def test_a_rewind_whose_answer_was_lost_is_answered_by_the_fallback() -> None:
    stage = stage_of(*"abc")
    stage.primary.script("lost", then="down")
    assert stage.store.rewind("s", to="a") == ["b", "c"]
    assert stage.kept() == stage.seen() == ["a"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["a"]


@pytest.mark.parametrize("faults", [["lost"], ["down", "lost"]])
@pytest.mark.parametrize("again", ["bd", "cb", "db"])
def test_what_is_said_again_after_a_rewind_stays_in_its_place(
    faults: list[str], again: str
) -> None:
    """Done a second time, as an answer was lost: what has the id of a message that was deleted."""
    stage = stage_of(*"abc")
    stage.primary.script(*faults)
    stage.store.run([Rewind("s", "a"), Append("s", said(*again))])
    for _ in faults:
        back = stage.store.recover()
    assert back
    assert stage.kept() == stage.seen() == ["a", *again]


def test_an_edit_of_the_last_message_is_replayed() -> None:
    stage = stage_of(*"ab")
    edited = SessionMessage("user", "edited", id="b")
    stage.primary.go_down()
    stage.store.run([Rewind("s", "a"), Append("s", [edited])])
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.primary.inner.get_messages("s")[1] == edited


def test_a_session_that_is_late_is_rewound_by_the_fallback() -> None:
    stage = stage_of(*"abc")
    stage.primary.slow["s"] = StoreTimeoutError("late")
    assert stage.store.rewind("s", to="b") == ["c"]
    assert not stage.store.is_degraded()
    stage.primary.slow.clear()
    assert stage.store.recover()
    assert stage.kept() == ["a", "b"]


def test_a_rewind_in_an_outage_outlives_the_process(tmp_path: object) -> None:
    primary = Stage().primary
    primary.inner.append_messages("s", said(*"abc"))
    with FallbackSessionStore(
        primary, fallback=SQLiteSessionStore(f"{tmp_path}/outage.db"), retry_after=0
    ) as first:
        first.get("s")
        primary.go_down()
        first.rewind("s", to="a")
    primary.come_back()
    with FallbackSessionStore(
        primary, fallback=SQLiteSessionStore(f"{tmp_path}/outage.db"), retry_after=0
    ) as second:
        assert [message.id for message in second.get_messages("s")] == ["a"]
        assert second.recover()
    assert [message.id for message in primary.inner.get_messages("s")] == ["a"]
