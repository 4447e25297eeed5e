from __future__ import annotations

from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstore import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionInfo,
    SessionMessage,
    SessionPage,
)
from sessionstore._runtime.clock import wall_microseconds
from sessionstore.models import (
    SessionData,
    decode_message,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    from_microseconds,
    merge_metadata,
    new_id,
    retention_microseconds,
    to_microseconds,
)
from sessionstore.testing.content import BAD_MESSAGES, MESSAGES, NOT_JSON, SECRET
from sessionstore.testing.strategies import MODEST, json_objects, messages

MADE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Role(str, Enum):
    USER = "user"


# -- A message's stored form ----------------------------------------------------------------------


def test_a_plain_message_has_the_documented_stored_form() -> None:
    message = SessionMessage("user", "Hi \N{GRINNING FACE}", id="m", created_at=MADE)
    assert encode_message(message).decode() == (
        '{"role":"user","content":"Hi \N{GRINNING FACE}","id":"m",'
        '"created_at":"2026-01-02T03:04:05.678901Z"}'
    )


def test_a_tool_call_has_the_documented_stored_form() -> None:
    message = SessionMessage(
        "assistant",
        tool_calls=[{"id": "c", "name": "add", "args": {"a": 1}}],
        metadata={"k": None},
        extra={"langchain": {"x": 1}},
        created_at=MADE,
    )
    assert encode_message(message).decode() == (
        '{"role":"assistant","tool_calls":[{"id":"c","name":"add","args":{"a":1}}],'
        '"created_at":"2026-01-02T03:04:05.678901Z",'
        '"metadata":{"k":null},"extra":{"langchain":{"x":1}}}'
    )


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_comes_back_equal(message: SessionMessage) -> None:
    encoded = encode_message(message)
    assert decode_message(encoded) == decode_message(encoded.decode()) == message


@MODEST
@given(messages())
def test_any_messages_come_back_equal(batch: list[SessionMessage]) -> None:
    assert decode_messages("s", map(encode_message, batch)) == batch


BAD_FIELDS = {
    name: bad
    for name, bad in BAD_MESSAGES.items()
    # Times are looked at by the store, which turns them into UTC.
    if isinstance(bad, SessionMessage) and not name.startswith("created_at")
}


@pytest.mark.parametrize("bad", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_what_would_not_come_back_equal_is_refused(bad: SessionMessage) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        encode_message(bad)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        SessionMessage(Text("user"), Text("hello")),
        SessionMessage(Role.USER, [{"type": "text", "text": Text("hello")}]),
        SessionMessage("user", metadata={Text("key"): Text("hello")}),
    ],
)
def test_a_subclass_of_str_is_stored_as_its_text(message: SessionMessage) -> None:
    found = decode_message(encode_message(message))
    assert found == message
    assert type(found.role) is str
    assert "another" not in encode_message(message).decode()


def test_tuples_are_stored_as_lists() -> None:
    blocks: Any = ({"type": "text", "values": (1, (2,))},)
    message = SessionMessage("user", blocks, metadata={"a": ()})
    found = decode_message(encode_message(message))
    assert found.content == [{"type": "text", "values": [1, [2]]}]
    assert found.metadata == {"a": []}


@MODEST
@given(st.binary(max_size=40) | st.text(max_size=40))
@example('{"v":2,"role":"user"}')
@example(b'{"v":2,"role":"user"}')
@example("[" * 100_000)
@example('{"role":"user","content":"\\ud800"}')
def test_bytes_that_are_not_a_message_raise_corrupt_message_error(raw: bytes | str) -> None:
    with pytest.raises(CorruptMessageError) as caught:
        decode_message(raw)
    assert "written by a newer" in str(caught.value) or "can't be read" in str(caught.value)


def test_an_unknown_field_of_a_stored_message_is_ignored() -> None:
    assert decode_message('{"role":"user","content":"x","later":1}').content == "x"


def test_the_error_for_a_corrupt_message_names_its_session() -> None:
    with pytest.raises(CorruptMessageError, match="session 's'"):
        decode_messages("s", [encode_message(SessionMessage("user", "x")), b"{"])


def test_no_repr_shows_what_was_said() -> None:
    message = SessionMessage(
        "user",
        [{"text": SECRET}],
        id="m",
        name=SECRET,
        tool_calls=[{"id": "c", "name": SECRET, "args": {}}],
        metadata={SECRET: SECRET},
        extra={"x": {SECRET: SECRET}},
    )
    head: dict[str, Any] = {
        "id": "s",
        "agent_id": "a",
        "user_id": "u",
        "metadata": {"title": SECRET},
        "created_at": MADE,
        "updated_at": MADE,
        "version": 1,
        "message_count": 1,
    }
    data = SessionData(**head, messages=[message])
    info = SessionInfo(**head)
    for shown in (message, data, info, SessionPage([info], "cursor"), [message]):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
    assert repr(message) == (
        "SessionMessage(role='user', id='m', content=<1 blocks>, tool_calls=<1>)"
    )
    assert repr(data) == "SessionData(id='s', agent_id='a', version=1, messages=<1>)"


def test_messages_and_sessions_are_frozen() -> None:
    message = SessionMessage("user", "x")
    with pytest.raises(AttributeError):
        message.content = "y"  # type: ignore[misc]


def test_a_new_messages_time_is_now_in_utc() -> None:
    before = datetime.now(timezone.utc)
    made = SessionMessage("user", "x").created_at
    assert before <= made <= datetime.now(timezone.utc)
    assert made.tzinfo is timezone.utc


# -- Metadata -------------------------------------------------------------------------------------


@MODEST
@given(json_objects)
def test_metadata_comes_back_equal(metadata: dict[str, Any]) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


@pytest.mark.parametrize("bad", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_metadata_that_is_not_json_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidSessionError, match=r"this holds .+"):
        encode_metadata({"a": [bad]})


@pytest.mark.parametrize("raw", ["", "{", "[]", "7", '{"a":NaN}', b"\xff", "[" * 100_000])
def test_corrupt_metadata_raises_corrupt_message_error(raw: bytes | str) -> None:
    with pytest.raises(CorruptMessageError):
        decode_metadata(raw)


@MODEST
@given(json_objects, st.dictionaries(st.sampled_from("abc"), st.none() | st.integers()))
def test_merging_metadata_sets_keys_and_removes_those_that_are_none(
    old: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = (dict(old), dict(changes))
    merged = merge_metadata(old, changes)
    for key in {*old, *changes}:
        if changes.get(key, 0) is None:
            assert key not in merged
        else:
            assert merged[key] == {**old, **changes}[key]
    assert set(merged) <= {*old, *changes}
    assert (old, changes) == before


# -- Ids and times --------------------------------------------------------------------------------


def test_new_ids_are_unique() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(found) for found in made} == {32}


@MODEST
@given(st.datetimes(timezones=st.just(timezone.utc)))
@example(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc))
@example(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc))
def test_microseconds_are_exact(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment


def test_microseconds_do_not_depend_on_the_timezone() -> None:
    there = MADE.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert to_microseconds(there) == to_microseconds(MADE)


def test_the_wall_clock_gives_the_current_time() -> None:
    before = to_microseconds(datetime.now(timezone.utc))
    assert before <= wall_microseconds() <= to_microseconds(datetime.now(timezone.utc))


def test_retention_is_converted_to_microseconds() -> None:
    assert retention_microseconds(None) is None
    assert retention_microseconds(1) == 86_400_000_000
    assert retention_microseconds(0.5) == 43_200_000_000


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), True, "1"])
def test_an_invalid_retention_is_refused(days: Any) -> None:
    with pytest.raises(InvalidSessionError):
        retention_microseconds(days)
