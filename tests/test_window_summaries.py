"""A window shows the summary in a session's metadata, whatever else stands there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from sessionstore import InMemorySessionStore, SessionMessage, Window
from sessionstore.flow import play
from sessionstore.models import SUMMARY_INTRODUCTION, summary_of

SUMMARY = {"summary": {"text": "They met.", "until": "m5"}}


def log_of(count: int) -> list[SessionMessage]:
    return [SessionMessage(("user", "assistant")[n % 2], f"t{n}", id=f"m{n}") for n in range(count)]


def ids(messages: list[SessionMessage]) -> list[str | None]:
    return [message.id for message in messages]


@pytest.mark.parametrize(
    "held",
    [
        None,
        "They met.",
        ["They met."],
        {},
        {"text": "They met."},
        {"until": "m5"},
        {"text": "", "until": "m5"},
        {"text": " \n", "until": "m5"},
        {"text": "They met.", "until": ""},
        {"text": "They met.", "until": 5},
        {"text": ["They met."], "until": "m5"},
        {"text": "They met.", "until": {"id": "m5"}},
        {"text": "They met.", "until": "no such message"},
        {"text": "They met.", "until": "x" * 10_000},
    ],
    ids=repr,
)
def test_what_else_an_application_keeps_under_that_key_changes_no_view(held: Any) -> None:
    store = InMemorySessionStore()
    metadata = {} if held is None else {"summary": held}
    store.create("s", messages=log_of(12), metadata=metadata)
    for window in (Window(), Window(max_messages=4), Window(max_tokens=20)):
        view = window.load(store, "s")
        assert view == window.view(store.get_messages("s"))
        assert asyncio.run(window.aload(store, "s")) == view


def test_a_summary_may_have_more_beside_it() -> None:
    held = {"text": "They met.", "until": "m5", "model": "gpt"}
    summary = summary_of({"summary": held, "title": "A talk"})
    assert summary is not None
    assert (summary.text, summary.until) == ("They met.", "m5")
    assert "met" not in repr(summary)


def test_a_summary_is_a_users_message_that_says_what_it_is() -> None:
    view = Window().view(log_of(8), metadata=SUMMARY)
    assert view[0].role == "user"
    assert view[0].content == f"{SUMMARY_INTRODUCTION}They met."
    assert ids(view) == ["summary:m5", "m6", "m7"]


def test_a_view_of_what_was_read_begins_with_it_where_it_ends_before_that() -> None:
    view = Window().view(log_of(11)[8:], metadata=SUMMARY)
    assert ids(view) == ["summary:m5", "m8", "m9", "m10"]


def test_what_follows_a_summary_within_a_turn_is_shown() -> None:
    call = SessionMessage("assistant", id="m7", tool_calls=[{"id": "c", "name": "add", "args": {}}])
    result = SessionMessage("tool", "2", id="m8", tool_call_id="c")
    log = [*log_of(7), call, result, SessionMessage("assistant", "done", id="m9")]
    metadata = {"summary": {"text": "They met.", "until": "m6"}}
    for window in (Window(), Window(max_messages=1), Window(max_tokens=1)):
        assert ids(window.view(log, metadata=metadata)) == ["summary:m6", "m7", "m8", "m9"]
    split = {"summary": {"text": "They met.", "until": "m7"}}  # a result without its call
    assert ids(Window().view(log, metadata=split)) == ["summary:m7", "m9"]


def test_limits_count_what_follows_a_summary_and_its_tokens() -> None:
    assert ids(Window(max_messages=2).view(log_of(12), metadata=SUMMARY)) == [
        "summary:m5",
        "m10",
        "m11",
    ]
    counted: list[list[str | None]] = []

    def count(messages: list[SessionMessage]) -> int:
        counted.append(ids(messages))
        return 10 * len(messages)

    window = Window(max_tokens=50, token_counter=count)
    last = [f"m{n}" for n in range(8, 12)]
    assert ids(window.view(log_of(12), metadata=SUMMARY)) == ["summary:m5", *last]
    assert counted == [["summary:m5"], ["m10", "m11"], ["m8", "m9"], ["m6", "m7"]]


def test_no_more_is_read_than_a_summary_leaves() -> None:
    store = InMemorySessionStore()
    log = log_of(400)
    store.create("s", messages=log, metadata={"summary": {"text": "…", "until": "m379"}})
    before = store.stats().operations
    window = Window(max_tokens=10**6)
    assert ids(window.load(store, "s")) == ["summary:m379", *ids(log[380:])]
    after = store.stats().operations
    assert {name: after[name] - before.get(name, 0) for name in after} == {"Create": 0, "Get": 1}


def test_a_view_before_a_message_has_no_summary_of_what_follows_it() -> None:
    store = InMemorySessionStore()
    store.create("s", messages=log_of(12), metadata=SUMMARY)
    for window in (Window(), Window(max_messages=2), Window(max_tokens=10)):
        before = {
            name: ids(play(window.loading("s", None, before=name), store.run))
            for name in ("m4", "m10")
        }
        assert before["m4"][-1] == "m3"
        assert "summary:m5" not in before["m4"]
        assert (before["m10"][0], before["m10"][-1]) == ("summary:m5", "m9")


@pytest.mark.parametrize("before", [0, 3])
def test_a_system_message_that_is_summed_up_is_shown_where_the_session_begins_with_it(
    before: int,
) -> None:
    log = log_of(12)
    log[:0] = log_of(before)
    log = [replace(message, id=f"m{place}") for place, message in enumerate(log)]
    log[before] = SessionMessage("system", "Be kind.", id="system")
    store = InMemorySessionStore()
    store.create("s", messages=log, metadata={"summary": {"text": "...", "until": log[-5].id}})
    whole = Window().view(log, metadata=store.get("s").metadata)  # type: ignore[union-attr]
    assert ("system" in ids(whole)) == (before == 0)
    window = Window(max_messages=11)
    assert ids(window.load(store, "s")) == ids(whole)
