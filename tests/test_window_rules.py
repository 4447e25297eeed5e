"""Any view of any log is one that models take: see `message_rules`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from message_rules import check_anthropic, check_openai, role_of

from langchain_sessionstore import (
    SessionChatMessageHistory,
    to_langchain_messages,
    to_session_messages,
)
from langchain_sessionstore.pending import closed, closed_view
from sessionstore import InMemorySessionStore, SessionMessage, SessionStore, SQLiteSessionStore
from sessionstore.models import new_id
from sessionstore.testing.strategies import MODEST
from sessionstore.window import Window

Log = list[SessionMessage]
thorough = settings(MODEST, max_examples=80)


def asking(ids: list[str | None], text: Any = "", role: str = "assistant") -> SessionMessage:
    calls = [{"id": call, "name": "tool", "args": {}} for call in ids]
    return SessionMessage(role, text, id=new_id(), tool_calls=calls)


def saying(role: str, text: Any, call: str | None = None) -> SessionMessage:
    return SessionMessage(role, text, id=new_id(), tool_call_id=call)


texts = st.sampled_from(["", " ", "x", "long " * 20]) | st.just([{"type": "text", "text": "y"}])
# Few ids, so that calls share one, and are answered late, twice, by others' results, or never.
ids = st.sampled_from(["c", "d", "e", "", None])
id_lists = st.lists(ids, min_size=1, max_size=4)
LANGCHAIN = ["system", "user", "assistant"]
LLAMA_INDEX = [*LANGCHAIN, "developer", "function", "chatbot", "model"]


def messages(roles: list[str], results: list[str]) -> st.SearchStrategy[SessionMessage]:
    callers = [role for role in roles if role in ("assistant", "chatbot", "model")]
    return st.one_of(
        st.builds(saying, st.just("user"), texts),
        st.builds(saying, st.sampled_from(roles), texts),
        st.builds(asking, id_lists, texts, st.sampled_from(callers)),
        st.builds(saying, st.sampled_from(results), texts, st.sampled_from(["c", "d", "e", ""])),
        st.builds(saying, st.sampled_from(results), texts, st.sampled_from(["c", "d"])),
    )


logs = st.lists(messages(LLAMA_INDEX, ["tool", "function"]), max_size=30)
langchain_logs = st.lists(messages(LANGCHAIN, ["tool"]), max_size=20)
limits = st.none() | st.integers(1, 15)
windows = st.builds(Window, max_messages=limits, max_tokens=st.none() | st.integers(1, 200))


def accepted(view: Log) -> None:
    check_openai(view)
    check_anthropic(view)


def body(view: Log) -> Log:
    return [message for message in view if role_of(message) != "system"]


def is_plain(message: SessionMessage) -> bool:
    return role_of(message) not in ("system", "tool")


def seen(view: Log) -> list[Any]:
    """Give all but the times of results that were made up."""
    return [(m.role, m.content, m.id, m.tool_calls, m.tool_call_id) for m in view]


@thorough
@given(logs, windows)
@example([saying("user", "u"), asking(["c", "c"]), saying("tool", "r", "c")] * 2, Window())
@example([asking(["c"]), saying("user", "u"), saying("tool", "r", "c")], Window(max_messages=1))
@example([saying("user", "u"), asking([None]), saying("user", "v")], Window())
@example([saying("user", "u"), asking(["c"], role="user"), saying("tool", "r", "c")], Window())
def test_openai_and_anthropic_take_any_view(log: Log, window: Window) -> None:
    before = list(log)
    accepted(window.view(log))
    assert log == before


@thorough
@given(logs, windows)
def test_the_last_turn_is_whole(log: Log, window: Window) -> None:
    starts = [place for place, message in enumerate(log) if message.role == "user"]
    shown = {message.id for message in window.view(log)}
    last = log[starts[-1] :] if starts else []
    assert all(message.id in shown for message in last if is_plain(message))
    assert {m.content if isinstance(m.content, str) else "y" for m in log[:1] if is_system(m)} <= {
        m.content if isinstance(m.content, str) else "y" for m in window.view(log)
    }


def is_system(message: SessionMessage) -> bool:
    return role_of(message) == "system"


@thorough
@given(logs, st.integers(1, 15))
def test_no_more_than_fit_unless_the_last_turn_is_longer(log: Log, size: int) -> None:
    shown = body(Window(max_messages=size).view(log))
    users = [message for message in shown if message.role == "user"]
    assert len(shown) <= size or len(users) == 1


@thorough
@given(logs, windows)
def test_a_view_is_the_end_of_the_unlimited_view(log: Log, window: Window) -> None:
    shown, whole = seen(body(window.view(log))), seen(body(Window().view(log)))
    assert shown == whole[len(whole) - len(shown) :]


@thorough
@given(logs, st.integers(1, 12), st.integers(0, 5), st.integers(1, 150), st.integers(0, 60))
def test_a_larger_window_shows_no_less(log: Log, size: int, more: int, paid: int, by: int) -> None:
    for small, large in (
        (Window(max_messages=size), Window(max_messages=size + more)),
        (Window(max_tokens=paid), Window(max_tokens=paid + by)),
        (Window(size, paid), Window(size + more, paid + by)),
        (Window(size + more, paid + by), Window()),
    ):
        less, all_ = small.view(log), large.view(log)
        assert {m.id for m in body(less)} <= {m.id for m in body(all_)}
        assert {str(m.content) for m in less} <= {str(m.content) for m in all_}


# -- Through stores -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SessionStore]:
    path = tmp_path_factory.mktemp("window") / "sessions.db"
    made = InMemorySessionStore() if request.param == "memory" else SQLiteSessionStore(path)
    with made:
        yield made


@settings(MODEST, max_examples=40)
@given(log=logs, window=windows)
@example(log=[saying("developer", "d")] + [saying("user", "u")] * 60, window=Window(max_tokens=9))
@example(log=[saying("system", "s")] * 51, window=Window(max_tokens=9))
@example(log=[saying("system", "s"), saying("user", "u")] * 25, window=Window(max_tokens=400))
def test_a_view_that_is_loaded_is_the_view_of_the_log(
    store: SessionStore, log: Log, window: Window
) -> None:
    stored = [SessionMessage(m.role, m.content, id=new_id(), tool_calls=m.tool_calls,
                             tool_call_id=m.tool_call_id) for m in log]  # fmt: skip
    session = store.create(messages=stored).id
    expected = seen(window.view(stored))
    assert seen(window.load(store, session)) == expected
    assert seen(asyncio.run(window.aload(store, session))) == expected
    assert store.get_messages(session) == stored


@settings(MODEST, max_examples=40)
@given(log=langchain_logs, window=windows, new=st.booleans())
def test_openai_and_anthropic_take_what_langchain_is_given(
    store: SessionStore, log: Log, window: Window, new: bool
) -> None:
    stored = [SessionMessage(m.role, m.content, id=new_id(), tool_calls=m.tool_calls,
                             tool_call_id=m.tool_call_id) for m in log]  # fmt: skip
    session = store.create(messages=stored).id
    history = SessionChatMessageHistory(session, store, window=window)
    given_ = history.messages
    assert given_ == asyncio.run(history.aget_messages())
    accepted(to_session_messages(given_))
    last = given_[-1] if given_ else None
    calls = last.tool_calls if isinstance(last, AIMessage) else []
    if new and all(call["id"] for call in calls) and len({c["id"] for c in calls}) == len(calls):
        asked = HumanMessage("go on")
        accepted(to_session_messages([*closed(given_, [asked]), asked]))
    assert store.get_messages(session) == stored


INVALID = {"id": "c", "name": "tool", "args": "{", "error": None, "type": "invalid_tool_call"}
invalid = st.builds(
    lambda calls: SessionMessage(
        "assistant", id=new_id(), extra={"langchain": {"invalid_tool_calls": calls}}
    ),
    st.sampled_from([[INVALID], [{**INVALID, "id": None}], []]),
)


@settings(MODEST, max_examples=40)
@given(log=st.lists(langchain_logs | st.lists(invalid, max_size=2), max_size=3), new=st.booleans())
def test_stored_messages_are_closed_as_langchains_are(log: list[Log], new: bool) -> None:
    stored, asked = list(chain.from_iterable(log)), [HumanMessage("go on")] if new else []
    assert closed_view(stored, asked) == closed(to_langchain_messages(stored), asked)


def test_a_result_that_follows_a_pending_call_is_left_to_it() -> None:
    view = [HumanMessage("u"), AIMessage("", tool_calls=[{"id": i, "name": "t", "args": {}}
                                                        for i in "cd"])]  # fmt: skip
    answer = ToolMessage("r", tool_call_id="c")
    shown = [*closed(view, [answer]), answer]
    assert [message.type for message in shown] == ["human", "ai", "tool", "tool"]
    accepted(to_session_messages(shown))
    assert closed(view, []) == view


# -- The rules themselves -------------------------------------------------------------------------

USER, CALL, RESULT = saying("user", "u"), asking(["c"], "a"), saying("tool", "r", "c")


@pytest.mark.parametrize(
    "refused",
    [
        [USER, CALL, USER],
        [USER, CALL, USER, RESULT],
        [USER, RESULT],
        [USER, CALL, RESULT, RESULT],
        [USER, asking(["c", "d"]), RESULT, USER],
        [USER, asking([None]), saying("tool", "r"), USER],
    ],
)
def test_the_checks_of_openai_and_anthropic_refuse_invalid_conversations(refused: Log) -> None:
    for check in (check_openai, check_anthropic):
        with pytest.raises(AssertionError):
            check(refused)


@pytest.mark.parametrize(
    "refused",
    [
        [CALL, RESULT],
        [USER, CALL, RESULT, CALL, RESULT],
        [saying("system", "s"), USER, saying("system", "s")],
        [saying("assistant", "a"), USER],
        [USER, CALL, saying("assistant", "b"), RESULT],
    ],
)
def test_the_check_of_anthropic_refuses_what_openai_takes(refused: Log) -> None:
    with pytest.raises(AssertionError):
        check_anthropic(refused)


def test_the_checks_of_openai_and_anthropic_take_valid_conversations() -> None:
    front = [saying("system", "s"), saying("system", "t")]
    late = [asking(["e", "f"]), saying("tool", "r", "f"), saying("tool", "r", "e")]
    for taken in ([], [USER], [*front, USER, USER, CALL, RESULT, *late, USER], [USER, CALL]):
        accepted(taken)
