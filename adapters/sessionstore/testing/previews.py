"""Lists for a sidebar: the last messages of each session, and only those of some time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionMessage
from sessionstore.operations import Append, Create, ListSessions
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["PreviewContract"]

_FIRST = datetime.min.replace(tzinfo=timezone.utc)
_LAST = datetime.max.replace(tzinfo=timezone.utc)
_STEP = timedelta(microseconds=1)
_HERE = timezone(timedelta(hours=-5))


def shown(store: SessionStore, **scope: Any) -> dict[str, list[Any]]:
    """Give the sessions of one page, and what each shows."""
    return {info.id: contents(info.messages) for info in store.list_sessions(**scope).sessions}


def listed(store: SessionStore, **scope: Any) -> str:
    """Give the ids of one page, each a letter."""
    return "".join(info.id for info in store.list_sessions(**scope).sessions)


def paged(store: SessionStore, **scope: Any) -> Iterator[str]:
    """Page through the ids to the end."""
    cursor = None
    while True:
        page = store.list_sessions(cursor=cursor, **scope)
        yield "".join(info.id for info in page.sessions)
        cursor = page.cursor
        if cursor is None:
            return


def make(store: SessionStore) -> dict[str, datetime]:
    """Make sessions ``a`` to ``f``, of two agents and two users in turn; give their times."""
    for number, name in enumerate("abcdef"):
        agent, user = "xy"[number % 2], "uv"[number // 3]
        store.create(name, agent_id=agent, user_id=user, messages=conversation(number))
    return {name: stored(store, name).updated_at for name in "abcdef"}


class PreviewContract(StoreSuite):
    """`list_sessions` gives what a sidebar shows, in one step."""

    def test_a_list_shows_no_messages_unless_asked(self, store: SessionStore) -> None:
        """As it always was."""
        make(store)
        assert all(info.messages == [] for info in store.list_sessions().sessions)
        assert all(info.messages == [] for info in store.list_sessions(last=0).sessions)

    @pytest.mark.parametrize("last", [1, 2, 3, 100])
    def test_a_list_shows_the_last_messages(self, store: SessionStore, last: int) -> None:
        """Of each session its own, oldest first, as many as there are."""
        make(store)
        for info in store.list_sessions(last=last).sessions:
            session = stored(store, info.id)
            assert info.messages == session.messages[-last:]
            assert info.message_count == len(session.messages)
        assert list(shown(store, last=last)) == list("fedcba")

    def test_what_is_shown_is_what_is_there(self, store: SessionStore) -> None:
        """After messages were added, replaced, deleted, also at both ends, and all of them."""
        rich = SessionMessage("assistant", [{"type": "text", "text": "1"}], metadata={"a": [1]})
        store.append_messages("s", [*conversation(6), rich])
        store.delete_messages("s", ["m0", "m3", "m5"])
        store.replace_message("s", said("new", "m4"))
        store.append_message("s", said("\N{GRINNING FACE}"))
        store.create("empty")
        store.create("emptied", messages=conversation(3))
        store.update("emptied", messages=[])
        expected = stored(store, "s").messages
        page = store.list_sessions(last=4)
        assert [ids(info.messages) for info in page.sessions] == [[], [], ids(expected[-4:])]
        assert page.sessions[2].messages == expected[-4:]

    def test_previews_come_with_filters_and_pages(self, store: SessionStore) -> None:
        """By agent, by user, by time, a page at a time."""
        times = make(store)
        assert shown(store, user_id="v", last=1) == {
            "f": ["text 4"],
            "e": ["text 3"],
            "d": ["text 2"],
        }
        assert shown(store, agent_id="x", last=1) == {"e": ["text 3"], "c": ["text 1"], "a": []}
        assert shown(store, user_id="v", agent_id="x", last=1) == {"e": ["text 3"]}
        assert shown(store, updated_before=times["c"], last=1) == {"b": ["text 0"], "a": []}
        first = store.list_sessions(limit=2, last=1)
        assert contents(first.sessions[1].messages) == ["text 3"]
        second = store.list_sessions(limit=2, last=1, cursor=first.cursor)
        assert [contents(info.messages) for info in second.sessions] == [["text 2"], ["text 1"]]

    def test_a_page_has_the_same_sessions_with_previews(self, store: SessionStore) -> None:
        """A cursor of one is good for the other."""
        make(store)
        plain, full = store.list_sessions(limit=2), store.list_sessions(limit=2, last=1)
        assert plain.cursor == full.cursor
        assert listed(store, limit=2, last=1, cursor=plain.cursor) == "dc"

    def test_a_list_is_filtered_by_time(self, store: SessionStore) -> None:
        """After and before a moment, each without the moment itself."""
        times = make(store)
        assert listed(store, updated_after=times["c"]) == "fed"
        assert listed(store, updated_before=times["c"]) == "ba"
        assert listed(store, updated_after=times["b"], updated_before=times["e"]) == "dc"
        assert listed(store, updated_after=times["c"] - _STEP) == "fedc"
        assert listed(store, updated_before=times["c"] + _STEP) == "cba"
        assert listed(store, updated_after=times["c"], updated_before=times["c"]) == ""
        assert listed(store, updated_after=times["f"], updated_before=times["a"]) == ""

    def test_times_are_of_any_timezone_and_as_far_as_there_are(self, store: SessionStore) -> None:
        """The same moment is the same, wherever it was told."""
        times = make(store)
        assert listed(store, updated_after=times["c"].astimezone(_HERE)) == "fed"
        assert listed(store, updated_before=times["c"].astimezone(_HERE)) == "ba"
        assert (
            listed(store, updated_after=_FIRST) == listed(store, updated_before=_LAST) == "fedcba"
        )
        assert listed(store, updated_after=_LAST) == listed(store, updated_before=_FIRST) == ""
        for far in (datetime(1900, 1, 1, tzinfo=_HERE), datetime(1970, 1, 1, tzinfo=timezone.utc)):
            assert listed(store, updated_after=far) == "fedcba"
            assert listed(store, updated_before=far) == ""

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_filters_hold_together(self, store: SessionStore, limit: int) -> None:
        """Agent, user and both times, on each page of a list."""
        times = make(store)
        for scope, expected in (
            ({"updated_after": times["a"], "updated_before": times["f"]}, "edcb"),
            ({"updated_after": times["a"], "agent_id": "x"}, "ec"),
            ({"updated_before": times["f"], "user_id": "v"}, "ed"),
            ({"updated_after": times["a"], "user_id": "u", "agent_id": "x"}, "c"),
        ):
            found = list(paged(store, limit=limit, **scope))
            assert found == [expected[at : at + limit] for at in range(0, len(expected), limit)]

    def test_a_page_goes_on_within_the_time(self, store: SessionStore) -> None:
        """A cursor of a list without a time is taken with one, and the other way round."""
        times = make(store)
        cursor = store.list_sessions(limit=2).cursor
        assert listed(store, cursor=cursor, updated_after=times["b"]) == "dc"
        assert listed(store, cursor=cursor, updated_before=times["c"]) == "ba"
        cursor = store.list_sessions(limit=2, updated_before=times["e"]).cursor
        assert listed(store, cursor=cursor) == "ba"

    def test_what_is_new_since_the_last_look(self, store: SessionStore) -> None:
        """The newest time that a reader has is where the next look begins."""
        newest = make(store)["f"]
        assert listed(store, updated_after=newest) == ""
        store.append_message("b", said("more"))
        store.update("c", metadata={"title": "T"})  # which is no activity
        assert shown(store, updated_after=newest, last=1) == {"b": ["more"]}
        assert listed(store, updated_before=newest + _STEP) == "fedca"

    @pytest.mark.parametrize("name", ["updated_after", "updated_before"])
    def test_a_time_without_a_timezone_is_refused(self, store: SessionStore, name: str) -> None:
        """The error says what to do; what is no time at all is a `TypeError`."""
        bad: Any
        naive = datetime.now(timezone.utc).replace(tzinfo=None)
        with pytest.raises(
            InvalidSessionError, match=rf"^{name} must have a timezone.*timezone.utc"
        ):
            listed(store, **{name: naive})
        for bad in ("2026-01-01T00:00:00Z", 1.5, 7, True, naive.date(), b""):
            with pytest.raises(TypeError, match=rf"^{name} must be a datetime"):
                listed(store, **{name: bad})
        with pytest.raises(InvalidSessionError, match="years 1 to 9999"):
            listed(store, **{name: datetime.max.replace(tzinfo=_HERE)})

    def test_a_list_refuses_an_invalid_number_of_messages(self, store: SessionStore) -> None:
        """It shows 0 to 100 of each."""
        bad: Any
        for bad in (-1, 101, 10**30):
            with pytest.raises(InvalidSessionError, match="0 to 100"):
                store.list_sessions(last=bad)
        for bad in ("1", 1.0, None, True, []):
            with pytest.raises(TypeError, match=r"^last must be"):
                store.list_sessions(last=bad)

    def test_a_list_is_of_one_moment(self, store: SessionStore) -> None:
        """What an operation gives that `run` carries out is what the method gives."""
        store.run([Create("s", conversation(3)), Append("s", [said("more", "x")])])
        [info] = store.run(ListSessions(last=2)).sessions
        assert [info] == store.list_sessions(last=2).sessions
        assert (info.message_count, ids(info.messages)) == (4, ["m2", "x"])
