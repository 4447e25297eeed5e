"""Windows by tokens: what is counted, how often, and what a counter may say."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction
from typing import Any

import pytest
from hooked import HookedStore

from sessionstore import InMemorySessionStore, SessionMessage, Window
from sessionstore.models import new_id
from sessionstore.operations import Get, GetMessages
from sessionstore.window import INTERRUPTED
from sessionstore.window.tokens import approximate_tokens

Log = list[SessionMessage]


def said(role: str, text: str = "12345") -> SessionMessage:
    return SessionMessage(role, text, id=new_id())


def turns(count: int) -> Log:
    return [message for _ in range(count) for message in (said("user"), said("assistant"))]


class Counting:
    """Counts characters, and which messages it was given how often."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def __call__(self, messages: Log) -> int:
        self.asked += [message.id for message in messages]
        return sum(len(message.content) for message in messages)


@pytest.mark.parametrize("count", [200, 5000])
def test_each_message_is_counted_once_and_none_that_cannot_be_seen(count: int) -> None:
    store = InMemorySessionStore()
    log = [said("system"), *turns(count // 2)]
    store.append_messages("s", log)
    counter = Counting()
    view = Window(max_tokens=1005, token_counter=counter).load(store, "s")
    assert view == [log[0], *log[-200:]]
    assert len(counter.asked) == len(set(counter.asked))
    assert len(counter.asked) <= 1 + 200 + 2


def test_messages_that_can_not_be_shown_are_not_counted() -> None:
    counter = Counting()
    log = turns(1000)
    assert Window(4, 10**6, counter).view(log) == log[-4:]
    assert len(counter.asked) == 4
    huge = [said("user"), said("tool", "x" * 10**6), said("assistant", "y" * 1000)]
    store = InMemorySessionStore()
    store.append_messages("s", [*turns(1000), *huge])
    counter = Counting()
    assert len(Window(max_tokens=10, token_counter=counter).load(store, "s")) == 2
    assert counter.asked == [huge[0].id, huge[2].id]


def test_a_huge_result_hides_its_turn_and_what_is_older_but_not_the_last() -> None:
    call = SessionMessage(
        "assistant", "", id="a", tool_calls=[{"id": "c", "name": "t", "args": {}}]
    )
    huge = SessionMessage("tool", "x" * 10_000, id="t", tool_call_id="c")
    log = [*turns(2), said("user"), call, huge]
    window = Window(max_tokens=50, token_counter=Counting())
    assert window.view(log) == log[-3:]
    assert window.view([*log, *turns(1)])[0].role == "user"
    assert len(window.view([*log, *turns(1)])) == 2


def test_a_last_turn_beyond_all_limits_is_read_whole() -> None:
    calls = [
        message
        for n in range(300)
        for message in (
            SessionMessage("assistant", tool_calls=[{"id": f"c{n}", "name": "t", "args": {}}]),
            SessionMessage("tool", "result", tool_call_id=f"c{n}"),
        )
    ]
    store = InMemorySessionStore()
    store.append_messages("s", [*turns(500), said("user"), *calls])
    for window in (Window(max_messages=3), Window(max_tokens=3), Window(3, 3), Window(70, 10**6)):
        view = window.load(store, "s")
        assert len(view) == 601
        assert asyncio.run(window.aload(store, "s")) == view


def test_a_system_message_that_is_repeated_costs_once() -> None:
    log = [message for _ in range(3) for message in (said("system"), *turns(1))]
    assert len(Window(max_tokens=35, token_counter=Counting()).view(log)) == 7
    assert len(Window(max_tokens=34, token_counter=Counting()).view(log)) == 5


def test_both_limits_read_no_more_than_the_smaller_needs() -> None:
    reads: list[int] = []

    class Reading(HookedStore):
        def after(self, operation: Any, result: Any) -> None:
            if isinstance(operation, (Get, GetMessages)):
                reads.append(len(result.messages if isinstance(operation, Get) else result))

    store = Reading()
    store.append_messages("s", turns(2000))
    assert len(Window(60, 10**6).load(store, "s")) == 60
    assert sum(reads) == 61
    reads.clear()
    assert len(Window(max_messages=60).load(store, "s")) == 60
    assert reads == [61]
    reads.clear()
    assert len(Window(max_tokens=10, token_counter=Counting()).load(store, "s")) == 2
    assert reads == [50]


# -- What a counter may say -----------------------------------------------------------------------


async def counts_later(_: Log) -> int:
    return 1


@pytest.mark.parametrize(
    ("counter", "error", "says"),
    [
        (counts_later, TypeError, "coroutine.*async"),
        (lambda _: "7", TypeError, "a number, not str"),
        (lambda _: None, TypeError, "a number, not NoneType"),
        (lambda _: -1, ValueError, "0 or more, not -1"),
        (lambda _: math.nan, ValueError, "0 or more, not nan"),
        (lambda _: 1 / 0, ZeroDivisionError, "division"),
    ],
)
def test_invalid_counts_of_a_token_counter_are_refused(
    counter: Any, error: type[Exception], says: str
) -> None:
    window = Window(max_tokens=5, token_counter=counter)
    store = InMemorySessionStore()
    store.append_messages("s", turns(2))
    for attempt in (
        lambda: window.view(turns(2)),
        lambda: window.load(store, "s"),
        lambda: asyncio.run(window.aload(store, "s")),
    ):
        with pytest.raises(error, match=says):
            attempt()


@pytest.mark.parametrize("each", [0.5, Fraction(1, 2), math.inf, 0])
def test_any_number_of_0_or_more_is_a_valid_count(each: Any) -> None:
    log = turns(4)
    window = Window(max_tokens=1, token_counter=lambda messages: len(messages) * each)
    assert len(window.view(log)) == {0: 8, math.inf: 2}.get(each, 2)


@pytest.mark.parametrize("counter", ["approximate", 7, []])
def test_a_token_counter_that_can_not_be_called_is_refused(counter: Any) -> None:
    with pytest.raises(TypeError, match="function or a model"):
        Window(max_tokens=5, token_counter=counter)


class Model:
    """As much of a LangChain model as the core knows of."""

    def get_num_tokens_from_messages(self, messages: Any, /) -> int:
        return len(messages)


def test_a_langchain_model_as_a_counter_is_refused_with_a_hint() -> None:
    window = Window(max_tokens=5, token_counter=Model())
    with pytest.raises(TypeError, match="langchain_token_counter"):
        window.view(turns(2))


def test_an_image_costs_the_same_however_large() -> None:
    image = {"type": "image", "base64": "x" * 10**6, "mime_type": "image/png"}
    text = {"type": "text", "text": "x" * 400}
    cost = approximate_tokens([SessionMessage("user", [image])])
    assert cost == 88
    both = approximate_tokens([SessionMessage("user", [image, text])])
    assert cost + 100 < both < cost + 120


# -- Ids of calls ---------------------------------------------------------------------------------


def call(*ids: str | None, id: str = "m", content: Any = "") -> SessionMessage:
    calls = [{"id": one, "name": "t", "args": {"n": n}} for n, one in enumerate(ids)]
    return SessionMessage("assistant", content, id=id, tool_calls=calls)


def test_the_newest_of_the_calls_with_one_id_keeps_it() -> None:
    first, second = call("call_0", id="a"), call("call_0", id="b")
    results = [SessionMessage("tool", n, id=n, tool_call_id="call_0") for n in "12"]
    log = [said("user"), first, results[0], said("user"), second, results[1]]
    view = Window().view(log)
    assert view[3:] == log[3:]
    own = view[1].tool_calls[0]["id"]
    assert own != "call_0"
    assert view[2].tool_call_id == own
    assert (view[2].content, view[1].id) == ("1", "a")
    later = [said("user"), call("other", id="z"), said("user")]
    assert Window().view([*log, *later])[:6] == view, "an id of its own is always the same"
    assert first.tool_calls[0]["id"] == "call_0"


def test_a_block_that_names_its_call_has_the_calls_new_id() -> None:
    """OpenAI's Responses name a call in a block by its ``call_id``, beside an id of the block."""
    blocks: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_0", "name": "t", "arguments": ""},
        {"type": "custom_tool_call", "id": "call_0", "call_id": "call_1", "input": ""},
        {"type": "function_call", "id": "fc_2", "call_id": "call_9", "name": "t", "arguments": ""},
    ]
    first, second = call("call_0", "call_1", id="a", content=blocks), call("call_0", "call_1")
    results = [SessionMessage("tool", n, tool_call_id=f"call_{n}") for n in "01"]
    view = Window().view([said("user"), first, *results, said("user"), second, *results])
    ids = [result.tool_call_id for result in view[2:4]]
    assert not {"call_0", "call_1"}.intersection(ids)
    shown: Any = view[1].content
    assert [block.get("call_id") for block in shown] == [None, *ids, "call_9"]
    assert [block["id"] for block in shown] == [block["id"] for block in blocks]


def test_two_results_of_one_message_answer_its_two_calls_with_one_id() -> None:
    results = [SessionMessage("tool", n, id=n, tool_call_id="c") for n in "12"]
    blocks = [{"type": "tool_call", "id": "c"}, {"type": "text", "text": "c"}, {"type": "tool_use"}]
    asked = call("c", "c", None, content=[*blocks, {"type": "tool_use", "id": "c"}])
    view = Window().view([said("user"), asked, *results, said("user")])
    ids = [one["id"] for one in view[1].tool_calls]
    assert [message.tool_call_id for message in view[2:5]] == ids
    assert [message.content for message in view[2:5]] == ["1", "2", INTERRUPTED]
    assert len({*ids}) == 3
    assert ids[0] == "c"
    assert [block.get("id") for block in view[1].content] == [ids[0], None, ids[2], ids[1]]
    assert [one["args"]["n"] for one in view[1].tool_calls] == [0, 1, 2]
