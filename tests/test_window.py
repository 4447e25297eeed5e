from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hooked import HookedStore
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    SessionAccessError,
    SessionMessage,
    Window,
)
from sessionstore.models import new_id
from sessionstore.operations import Get, GetMessages
from sessionstore.testing.strategies import MODEST
from sessionstore.window import INTERRUPTED, approximate_tokens

Log = list[SessionMessage]


def user(text: str = "u") -> SessionMessage:
    return SessionMessage("user", text, id=new_id())


def system(text: str) -> SessionMessage:
    return SessionMessage("system", text, id=new_id())


def assistant(text: str = "a", *calls: str) -> SessionMessage:
    return SessionMessage(
        "assistant",
        text,
        id=new_id(),
        tool_calls=[{"id": call, "name": "tool", "args": {}} for call in calls],
    )


def result(call: str) -> SessionMessage:
    return SessionMessage("tool", f"result of {call}", id=new_id(), tool_call_id=call)


def conversation(count: int) -> Log:
    return [(user, assistant)[number % 2]() for number in range(count)]


def characters(messages: Iterable[SessionMessage]) -> int:
    return sum(len(message.content) for message in messages)


# Few ids, so that calls are answered late, twice, by others' results, or never.
calls = st.sampled_from("cdef")
some_message = st.one_of(
    st.builds(user),
    st.builds(user, st.text("xy", max_size=30)),
    st.builds(assistant),
    st.builds(assistant, st.text("xy", max_size=30)),
    st.lists(calls, min_size=1, max_size=3, unique=True).map(lambda ids: assistant("", *ids)),
    st.builds(result, calls),
    st.builds(result, calls),
    st.builds(system, st.sampled_from(["be kind", "be brief", "be just"])),
)
logs = st.lists(some_message, max_size=30)
windows = st.builds(
    Window,
    max_messages=st.none() | st.integers(1, 12),
    max_tokens=st.none() | st.integers(1, 120),
    token_counter=st.sampled_from([None, characters]),
)
thorough = settings(MODEST, max_examples=100)


def parts(view: Log) -> tuple[Log, Log]:
    """Part the system messages in front from the rest."""
    front = [message for message in view if message.role == "system"]
    return front, view[len(front) :]


def turns_of(log: Log) -> list[Log]:
    """Cut a log at its users' messages, leaving out what is before the first."""
    turns: list[Log] = []
    for message in log:
        if message.role == "user":
            turns.append([])
        if turns:
            turns[-1].append(message)
    return turns


# -- Any view of any log --------------------------------------------------------------------------


@thorough
@given(logs, windows)
def test_system_messages_come_first_and_once(log: Log, window: Window) -> None:
    front, rest = parts(window.view(log))
    assert "system" not in [message.role for message in rest]
    assert len({message.content for message in front}) == len(front)
    places = [log.index(message) for message in front]
    assert places == sorted(places)
    if log and log[0].role == "system":
        assert front[0] is log[0]


@thorough
@given(logs, windows)
def test_a_view_starts_at_a_users_message(log: Log, window: Window) -> None:
    _, rest = parts(window.view(log))
    assert not rest or rest[0].role == "user"


@thorough
@given(logs, windows)
def test_the_last_turn_is_always_shown(log: Log, window: Window) -> None:
    users = [message for message in log if message.role == "user"]
    _, rest = parts(window.view(log))
    shown = [message for message in rest if message.role == "user"]
    assert shown == users[len(users) - len(shown) :]
    assert bool(shown) == bool(users)


@thorough
@given(logs, windows)
def test_a_turn_is_shown_whole(log: Log, window: Window) -> None:
    """Nothing but results without a call, and what is before the turns shown, is left out."""
    _, rest = parts(window.view(log))
    shown = {message.id for message in rest}
    started = False
    for message in log:
        started = started or (bool(rest) and message is rest[0])
        if message.role in ("user", "assistant"):
            assert (message.id in shown) == started
    assert [m.id for m in rest if m.role in ("user", "assistant")] == [
        m.id for m in log if m.id in shown and m.role in ("user", "assistant")
    ]


@thorough
@given(logs, windows)
def test_each_call_is_followed_by_its_results(log: Log, window: Window) -> None:
    """By exactly one for each, of the log where it has one; a call that is pending has none."""
    _, rest = parts(window.view(log))
    last = [message for message in log if message.role != "system"][-1:]
    place = 0
    while place < len(rest):
        message = rest[place]
        assert message.role != "tool", "a result without its call"
        answers = rest[place + 1 : place + 1 + len(message.tool_calls)]
        if [message] == last:
            answers = []
        else:
            assert all(answer.role == "tool" for answer in answers)
            asked = [call["id"] for call in message.tool_calls]
            assert sorted(a.tool_call_id or "" for a in answers) == sorted(map(str, asked))
        place += 1 + len(answers)


@thorough
@given(logs, windows)
def test_a_result_is_made_up_only_where_there_is_none(log: Log, window: Window) -> None:
    held = {message.id: message for message in log}
    _, rest = parts(window.view(log))
    for place, message in enumerate(rest):
        if message.id not in held:
            assert (message.role, message.content) == ("tool", INTERRUPTED)
            caller = next(m for m in reversed(rest[:place]) if m.role != "tool")
            asked = [call["id"] for call in caller.tool_calls].index(message.tool_call_id)
            written = held[caller.id]
            call_id = written.tool_calls[asked]["id"]  # a newer call may have the same
            after = log[log.index(written) + 1 :]
            again = [m for m in after if any(c["id"] == call_id for c in m.tool_calls)]
            until = after[: after.index(again[0])] if again else after
            assert call_id not in [m.tool_call_id for m in until if m.role == "tool"]


@thorough
@given(logs, windows)
def test_limits_hold_for_more_than_one_turn(log: Log, window: Window) -> None:
    view = window.view(log)
    _, rest = parts(view)
    if len(turns_of(rest)) > 1:
        if window.max_messages is not None:
            assert len(rest) <= window.max_messages
        if window.max_tokens is not None:
            assert (window.token_counter or approximate_tokens)(view) <= window.max_tokens


@thorough
@given(logs, st.integers(1, 12))
def test_a_view_has_as_many_turns_as_fit(log: Log, size: int) -> None:
    _, shown = parts(Window(max_messages=size).view(log))
    _, whole = parts(Window().view(log))
    turns = turns_of(whole)
    kept = len(turns_of(shown))
    assert shown == [message for turn in turns[len(turns) - kept :] for message in turn]
    if kept < len(turns):
        assert len(shown) + len(turns[-kept - 1]) > size


@thorough
@given(logs)
def test_without_limits_the_whole_log_is_shown(log: Log) -> None:
    front, rest = parts(Window().view(log))
    assert {m.content for m in front} == {m.content for m in log if m.role == "system"}
    assert [m for m in rest if m.role == "user"] == [m for m in log if m.role == "user"]


@thorough
@given(logs, windows)
def test_a_view_does_not_change_its_log(log: Log, window: Window) -> None:
    before = list(log)
    window.view(log)
    assert log == before


# -- Reading a view -------------------------------------------------------------------------------


class CountingStore(HookedStore):
    """Counts the messages that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def after(self, operation: Any, result: Any) -> None:
        if isinstance(operation, (Get, GetMessages)):
            self.read += len(result.messages if isinstance(operation, Get) else result)


def shown(messages: Log) -> list[Any]:
    """Give all but the times of results that were made up."""
    return [(m.role, m.content, m.id, m.tool_call_id) for m in messages]


@thorough
@given(logs, windows)
@example([system("a"), system("b"), user(), assistant()], Window(max_messages=2))
@example([system("a"), system("b"), assistant(), user()], Window(max_messages=1))
@example([user(), assistant(), user(), result("c"), result("c")], Window(max_messages=3))
@example([user(), assistant("", "c"), user(), result("c")], Window(max_messages=2))
@example([user(), system("a"), assistant(), user(), assistant()], Window(max_messages=2))
def test_a_view_that_is_read_is_the_view_of_the_log(log: Log, window: Window) -> None:
    store = InMemorySessionStore()
    store.append_messages("s", log)
    expected = shown(window.view(log))
    assert shown(window.load(store, "s")) == expected
    assert shown(asyncio.run(window.aload(store, "s"))) == expected


@MODEST
@given(st.integers(1, 60), st.integers(1, 5), st.booleans())
def test_the_cost_of_a_window_follows_max_messages(size: int, turn: int, begins: bool) -> None:
    store = CountingStore()
    store.append_messages("s", [system("be kind")] if begins else [])
    for _ in range(100):
        store.append_messages("s", [user(), *[assistant() for _ in range(turn - 1)]])
    size = max(size, turn)
    view = Window(max_messages=size).load(store, "s")
    assert len(view) == size - size % turn + begins
    assert store.read <= size + 2


@pytest.mark.parametrize("count", [200, 20_000])
def test_the_cost_of_a_window_follows_max_tokens(count: int) -> None:
    store = CountingStore()
    store.append_messages("s", conversation(count))
    view = Window(max_tokens=300).load(store, "s")
    assert len(view) == 100
    assert store.read <= 200


def test_the_cost_of_a_long_last_turn_follows_its_length() -> None:
    store = CountingStore()
    store.append_messages("s", conversation(10_000))
    long = [message for n in range(100) for message in (assistant("", f"c{n}"), result(f"c{n}"))]
    store.append_messages("s", [user(), *long])
    view = Window(max_messages=10).load(store, "s")
    assert len(view) == 201
    assert store.read <= 3 * 201


def test_the_view_of_a_session_that_does_not_exist_is_empty() -> None:
    for window in (Window(), Window(max_messages=2), Window(max_tokens=9)):
        assert window.load(InMemorySessionStore(), "s") == []
        assert asyncio.run(window.aload(InMemorySessionStore(), "s")) == []


def test_loading_a_view_checks_the_owner() -> None:
    store = InMemorySessionStore()
    store.create("s", user_id="alice", messages=[user()])
    for window in (Window(), Window(max_messages=2)):
        assert len(window.load(store, "s", user_id="alice")) == 1
        with pytest.raises(SessionAccessError):
            window.load(store, "s", user_id="eve")
        with pytest.raises(SessionAccessError):
            asyncio.run(window.aload(store, "s", user_id="eve"))


class ReplacedBetweenPages(HookedStore):
    """Replaces all messages once, between the first page and the second."""

    replaced = False

    def after(self, operation: Any, result: Any) -> None:  # noqa: ARG002
        if isinstance(operation, Get) and not self.replaced:
            self.replaced = True
            self.update(operation.session_id, messages=[user("new"), assistant("new")])


def test_a_view_is_read_again_where_messages_are_replaced_between_two_pages() -> None:
    store = ReplacedBetweenPages()
    store.append_messages("s", [user(), *[assistant() for _ in range(20)]])
    view = Window(max_messages=3).load(store, "s")
    assert [message.content for message in view] == ["new", "new"]


class ReplacedBetweenAllPages(HookedStore):
    """Replaces all messages after each page; gives up what would not end."""

    pages = 0

    def before(self, operation: Any) -> None:
        self.pages += isinstance(operation, (Get, GetMessages))
        assert self.pages <= 20, "it reads for ever"

    def after(self, operation: Any, result: Any) -> None:  # noqa: ARG002
        if isinstance(operation, (Get, GetMessages)):
            messages = [user(), *[assistant() for _ in range(20)]]
            self.update(operation.session_id, messages=messages)


def test_a_view_gives_up_where_messages_are_replaced_again_and_again() -> None:
    store = ReplacedBetweenAllPages()
    store.append_messages("s", [user(), *[assistant() for _ in range(20)]])
    with pytest.raises(InvalidMessageError):
        Window(max_messages=3).load(store, "s")
    assert store.pages == 6


# -- Examples -------------------------------------------------------------------------------------


def test_a_pending_call_is_left_open() -> None:
    log = [user(), assistant("", "c")]
    assert Window().view(log) == log


def test_a_call_that_was_interrupted_is_closed() -> None:
    log = [user(), assistant("", "c", "d"), result("d"), user("again")]
    view = Window().view(log)
    assert [m.content for m in view] == ["u", "", INTERRUPTED, "result of d", "again"]
    made_up = view[2]
    assert (made_up.role, made_up.tool_call_id, made_up.name) == ("tool", "c", "tool")
    assert made_up.created_at == log[1].created_at


def test_a_late_result_is_shown_behind_its_call() -> None:
    asking, late = assistant("", "c"), result("c")
    log = [user("first"), asking, user("second"), late, assistant("done")]
    assert Window().view(log) == [log[0], asking, late, log[2], log[4]]


def test_a_message_that_is_in_a_log_twice_is_shown_twice() -> None:
    asking, question = assistant("", "c"), user()
    view = Window().view([question, asking] * 2)
    assert [message.role for message in view] == ["user", "assistant", "tool", "user", "assistant"]


@pytest.mark.parametrize("limit", [0, -1, 1.0, True, "2"])
@pytest.mark.parametrize("name", ["max_messages", "max_tokens"])
def test_invalid_limits_are_refused(name: str, limit: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Window(**{name: limit})


def test_approximate_tokens_is_about_a_quarter_of_the_characters() -> None:
    assert approximate_tokens([]) == 0
    assert approximate_tokens([user("")]) == 3
    assert approximate_tokens([user("x" * 400)]) == 103
    assert approximate_tokens([assistant("", "c")]) > 3
    assert approximate_tokens([SessionMessage("user", [{"text": "x" * 400}])]) > 103


def test_a_token_counter_decides_what_fits() -> None:
    counter: Callable[[Log], int] = characters
    log = [user("12345"), assistant("12345"), user("123"), assistant("123")]
    assert Window(max_tokens=6, token_counter=counter).view(log) == log[2:]
    assert Window(max_tokens=16, token_counter=counter).view(log) == log
    assert Window(max_tokens=15, token_counter=counter).view(log) == log[2:]


def test_a_view_takes_mappings_for_messages() -> None:
    """As a store takes them; what is neither a message nor a mapping is refused."""
    log: list[Any] = [
        {"role": "human", "content": "1"},
        SessionMessage("ai", "2"),
        {"role": "user", "content": "3"},
    ]
    seen = Window(max_messages=2).view(log)
    assert [(message.role, message.content) for message in seen] == [("user", "3")]
    seen = Window().view(log)
    assert [message.role for message in seen] == ["user", "assistant", "user"]
    with pytest.raises(InvalidMessageError, match=r"not tuple; .*: give one such as"):
        Window().view([("user", "1")])  # type: ignore[list-item]
