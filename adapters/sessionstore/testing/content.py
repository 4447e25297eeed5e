"""What messages and metadata may hold: it comes back equal, or is refused before it is written."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest
from hypothesis import given

from sessionstore.arguments import MAX_DEPTH
from sessionstore.errors import InvalidMessageError, InvalidSessionError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import conversation, said, stored
from sessionstore.testing.strategies import MODEST, json_objects, messages

__all__ = ["ContentContract"]

T = TypeVar("T")

TEXTS = {
    "empty": "",
    "NUL": "a\0b\0",
    "emoji": "\N{GRINNING FACE}\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80",
    "separators": "\r\n\u2028\u2029\ufeff",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd",
    "not composed": "e\u0301 is not \u00e9",
    "last of Unicode": "\uffff\U0010ffff",
    "quotes": "'\"`\\ $1 %s {} ?",
    "JSON": '{"role":"user"}',
    "a later form": '{"v":2}',
    "a megabyte": "0123456789abcde\n" * 65536,
}

BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": "a\0b", "annotations": [{"type": "citation", "url": "x"}]},
    "reasoning": {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "s"}},
    "image": {"type": "image", "url": "https://example.org/a.png", "id": "i"},
    "image data": {"type": "image", "base64": "aGVsbG8=", "mime_type": "image/png"},
    "audio": {"type": "audio", "file_id": "f"},
    "video": {"type": "video", "url": "https://example.org/a.mp4"},
    "file": {"type": "file", "base64": "aGVsbG8=", "mime_type": "application/pdf"},
    "plain text": {"type": "text-plain", "text": "x", "mime_type": "text/plain", "title": "T"},
    "tool call": {"type": "tool_call", "id": None, "name": "add", "args": {"a": 1}},
    "tool call chunk": {"type": "tool_call_chunk", "id": "c", "args": '{"a"', "index": 0},
    "invalid tool call": {"type": "invalid_tool_call", "args": "{", "error": "cut"},
    "server tool call": {"type": "server_tool_call", "id": "c", "name": "search", "args": {}},
    "server tool result": {"type": "server_tool_result", "tool_call_id": "c", "output": [1]},
    "non-standard": {"type": "non_standard", "value": {"thinking": {"deep": [None, True]}}},
    "unknown": {"type": "hologram", "\N{GRINNING FACE}": {"": [[], {}]}},
    "without a type": {"text": "x"},
    "empty": {},
}

JSON: dict[str, Any] = {
    "none": None,
    "yes": True,
    "no": False,
    "small": -(2**63),
    "large": 2**64 - 1,
    "huge": 10**40,
    "floats": [0.0, -0.0, 0.1, 1e308, -5e-324, 1.0, 2.5e-8, 1e22],
    "texts": list(TEXTS.values())[:-1],
    "": {"": {"": []}},
    "a\0'\"{}": "key",
    "nested": [[[[[{"a": [{"b": {}}]}]]]]],
}

MESSAGES = {
    **{f"text: {name}": said(text) for name, text in TEXTS.items()},
    **{f"block: {name}": SessionMessage("user", [block]) for name, block in BLOCKS.items()},
    "no blocks": SessionMessage("assistant", []),
    "all blocks": SessionMessage("assistant", list(BLOCKS.values())),
    "tool calls": SessionMessage(
        "assistant",
        tool_calls=[
            {"id": "c", "name": "add", "args": {"a": 1, "b": [2.5, None]}},
            {"id": "c", "name": "", "args": {}},
            {"id": None, "name": "a\0b", "args": JSON},
        ],
    ),
    "tool result": SessionMessage("tool", "3", name="add", tool_call_id="c"),
    "metadata": said("x", metadata=JSON),
    "extra": said("x", extra={"langchain": JSON, "": {}}),
    **{
        f"role: {role!r}": SessionMessage(role, "x")
        for role in ("function", "", "a\0", "R\u00f4le")
    },
    "name": said("x", name="\N{GRINNING FACE}\0"),
    **{
        f"made in {moment.year}": said("x", created_at=moment)
        for moment in (
            datetime(1, 1, 1, tzinfo=timezone.utc),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
            datetime(2000, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        )
    },
}

SECRET = "s3cret"  # noqa: S105 - what a user wrote


def nested(depth: int, inmost: object) -> object:
    """Put a value into as many lists."""
    for _ in range(depth):
        inmost = [inmost]
    return inmost


def deep_in_the_stack(call: Callable[[], T], frames: int = 200) -> T:
    """Call where the stack is deep already, as within an agent of a graph of a server."""
    return call() if frames == 0 else deep_in_the_stack(call, frames - 1)


DEEP: dict[str, Callable[[int], dict[str, Any]]] = {
    "content": lambda depth: {"content": [{"type": "x", "value": nested(depth - 2, "x")}]},
    "args": lambda depth: {
        "tool_calls": [{"id": "c", "name": "n", "args": {"a": nested(depth - 1, "x")}}]
    },
    "metadata": lambda depth: {"metadata": {"a": nested(depth - 1, "x")}},
    "extra": lambda depth: {"extra": {"langchain": {"a": nested(depth - 2, "x")}}},
}
"""A field of a message, nested to a given depth."""

NOT_JSON: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": -math.inf,
    "a set": {SECRET},
    "bytes": SECRET.encode(),
    "a datetime": datetime(2000, 1, 1, tzinfo=timezone.utc),
    "a complex number": 1j,
    "an object": object(),
    "a key that is a number": {1: SECRET},
    "a key that is None": {None: SECRET},
    "keys of two kinds": {"1": SECRET, 1: SECRET},
    "a surrogate": SECRET + "\ud800",
    "a surrogate in a key": {SECRET + "\udfff": 1},
    "a deep list": nested(100_000, SECRET),
    "an object in a deep list": nested(900, object()),
    "a set in a deep list": nested(900, {SECRET}),
    "NaN in a deep list": nested(900, math.nan),
}


def _with(**fields: Any) -> SessionMessage:
    return SessionMessage(**{"role": "user", "content": SECRET, **fields})


BAD_MESSAGES: dict[str, Any] = {
    **{f"metadata: {name}": _with(metadata={SECRET: bad}) for name, bad in NOT_JSON.items()},
    **{
        f"{field}: {name}": _with(**{field: holding(NOT_JSON[name])})
        for name in ("NaN", "a set", "a surrogate", "an object in a deep list")
        for field, holding in (
            ("content", lambda bad: [{SECRET: bad}]),
            ("extra", lambda bad: {"langchain": {SECRET: bad}}),
            ("tool_calls", lambda bad: [{"id": "c", "name": "n", "args": {SECRET: bad}}]),
        )
    },
    "text: a surrogate": _with(content=SECRET + "\ud800"),
    "role: a surrogate": _with(role="\ud800"),
    "role: a number": _with(role=7),
    "role: None": _with(role=None),
    "content: None": _with(content=None),
    "content: a number": _with(content=7),
    "content: bytes": _with(content=SECRET.encode()),
    "content: a dict": _with(content={"type": "text", "text": SECRET}),
    "content: a list of texts": _with(content=[SECRET]),
    "name: a number": _with(name=7),
    "tool_call_id: a number": _with(tool_call_id=7),
    "tool_calls: None": _with(tool_calls=None),
    "tool_calls: no name": _with(tool_calls=[{"id": "c", "args": {}}]),
    "tool_calls: text for arguments": _with(tool_calls=[{"id": "c", "name": "n", "args": SECRET}]),
    "tool_calls: what has no place": _with(
        tool_calls=[{"id": "c", "name": "n", "args": {}, SECRET: 1}]
    ),
    "metadata: a list": _with(metadata=[SECRET]),
    "metadata: None": _with(metadata=None),
    "extra: no dict within": _with(extra={"langchain": SECRET}),
    "created_at: naive": _with(created_at=datetime(2000, 1, 1)),  # noqa: DTZ001 - the fault
    "created_at: a text": _with(created_at="2000-01-01T00:00:00Z"),
    "created_at: a naive text": _with(created_at="2000-01-01T00:00:00"),
    "created_at: a number": _with(created_at=7),
    "created_at: None": _with(created_at=None),
    "created_at: after the last year": _with(
        created_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
    ),
    "a dict without a role": {"content": SECRET},
    "a dict with what has no place": {"role": "user", "content": "x", SECRET: SECRET},
    "a text": SECRET,
    "None": None,
}


def _fields(message: SessionMessage) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def _named(message: Any, id: str) -> Any:
    if isinstance(message, SessionMessage):
        return SessionMessage(**{**_fields(message), "id": id})
    return message


CALLS: dict[str, Callable[[SessionStore, Any], Any]] = {
    "create": lambda store, bad: store.create("new", messages=[said("good"), bad]),
    "append": lambda store, bad: store.append_messages("s", [said("good"), bad, said("good")]),
    "append to none": lambda store, bad: store.append_message("new", bad),
    "replace": lambda store, bad: store.replace_message("s", _named(bad, "m0")),
    "update": lambda store, bad: store.update("s", messages=[bad], metadata={"a": 2}),
}


class ContentContract(StoreSuite):
    """All that JSON can say comes back equal; anything else is an error, and nothing is written."""

    @pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
    def test_a_message_comes_back_equal(self, store: SessionStore, message: SessionMessage) -> None:
        """Through every method that writes one, and every method that reads one."""
        message = _named(message, "m")
        made = store.create("made", messages=[message])
        store.append_messages("appended", [message])
        store.append_message("replaced", said("old", "m"))
        store.replace_message("replaced", message)
        store.create("updated")
        store.update("updated", messages=[message])
        assert made.messages == [message]
        for session_id in ("made", "appended", "replaced", "updated"):
            [found] = store.get_messages(session_id)
            assert _fields(found) == _fields(message)
            assert found.created_at.utcoffset() == timedelta(0)
            assert stored(store, session_id).messages == [message]

    def test_any_messages_come_back_equal(self, store: SessionStore) -> None:
        """Whatever hypothesis thinks of."""

        @MODEST
        @given(messages())
        def check(batch: list[SessionMessage]) -> None:
            session = store.create(messages=batch)
            assert store.get_messages(session.id) == batch == session.messages

        check()

    def test_floats_stay_floats_and_booleans_booleans(self, store: SessionStore) -> None:
        """Values that are equal in Python keep their types."""
        values = [1, 1.0, True, 0, 0.0, False, -0.0]
        store.create("s", metadata={"v": values}, messages=[said("x", "m", metadata={"v": values})])
        session = stored(store, "s")
        assert repr(session.metadata["v"]) == repr(values)
        assert repr(session.messages[0].metadata["v"]) == repr(values)

    @pytest.mark.parametrize("bad", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
    def test_a_bad_message_is_refused(self, store: SessionStore, bad: Any) -> None:
        """By every method, before anything is written, and without a word of what it holds."""
        before = store.create("s", messages=conversation(2), metadata={"a": 1})
        for call in CALLS.values():
            with pytest.raises(InvalidMessageError) as caught:
                call(store, bad)
            assert SECRET not in f"{caught.value} {caught.value!r} {_causes(caught.value)}"
        assert stored(store, "s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["s"]

    @pytest.mark.parametrize("metadata", [{}, JSON, {"texts": TEXTS}, {"a": {"b": None}}])
    def test_metadata_comes_back_equal(self, store: SessionStore, metadata: dict[str, Any]) -> None:
        """Given to `create` or to `update`, read by all that read it."""
        assert store.create("made", metadata=metadata).metadata == metadata
        store.create("updated", metadata={"a": 1, "stays": 1})
        merged = {"a": 1, "stays": 1, **{k: v for k, v in metadata.items() if v is not None}}
        assert store.update("updated", metadata=metadata).metadata == merged
        assert stored(store, "made").metadata == metadata
        assert stored(store, "updated").metadata == merged
        listed = {info.id: info.metadata for info in store.list_sessions().sessions}
        assert listed == {"made": metadata, "updated": merged}

    def test_any_metadata_comes_back_equal(self, store: SessionStore) -> None:
        """Whatever hypothesis thinks of."""

        @MODEST
        @given(json_objects)
        def check(metadata: dict[str, Any]) -> None:
            session = store.create(metadata=metadata)
            assert stored(store, session.id).metadata == metadata

        check()

    @pytest.mark.parametrize("bad", NOT_JSON.values(), ids=NOT_JSON.keys())
    def test_bad_metadata_is_refused(self, store: SessionStore, bad: Any) -> None:
        """Nothing of the call is written, and the error has no word of it."""
        before = store.create("s", messages=conversation(2), metadata={"a": 1})
        with pytest.raises(InvalidSessionError) as made:
            store.create("new", messages=conversation(1), metadata={SECRET: bad})
        with pytest.raises(InvalidSessionError) as updated:
            store.update("s", messages=[], metadata={"a": None, SECRET: bad})
        for caught in (made, updated):
            assert SECRET not in f"{caught.value} {caught.value!r} {_causes(caught.value)}"
        assert stored(store, "s") == before
        assert store.get("new") is None

    @pytest.mark.parametrize("bad", [[], "text", 7, [("a", 1)]], ids=repr)
    def test_metadata_that_is_no_dict_is_refused(self, store: SessionStore, bad: Any) -> None:
        """Nothing else will do."""
        store.create("s", metadata={"a": 1})
        with pytest.raises(InvalidSessionError):
            store.create("new", metadata=bad)
        with pytest.raises(InvalidSessionError):
            store.update("s", metadata=bad)
        assert stored(store, "s").metadata == {"a": 1}
        assert store.get("new") is None

    @pytest.mark.parametrize("where", DEEP.values(), ids=DEEP.keys())
    def test_a_message_may_nest_as_deep_as_the_limit(
        self, store: SessionStore, where: Callable[[int], dict[str, Any]]
    ) -> None:
        """It is written and read deep in the stack, too; one level deeper is refused by all."""
        message = SessionMessage("user", **{"id": "m0", "content": "x", **where(MAX_DEPTH)})
        store.create("s", messages=[message])
        store.append_message("t", message)
        store.replace_message("t", message)
        store.create("u", messages=[said("x")])
        store.update("u", messages=[message])
        for session_id in "stu":
            assert deep_in_the_stack(lambda: stored(store, session_id).messages) == [message]  # noqa: B023
            assert deep_in_the_stack(lambda: store.get_messages(session_id)) == [message]  # noqa: B023
        before = stored(store, "s")
        deeper = SessionMessage("user", **{"id": "m0", "content": "x", **where(MAX_DEPTH + 1)})
        for call in CALLS.values():
            with pytest.raises(InvalidMessageError):
                call(store, deeper)
        assert stored(store, "s") == before
        assert store.get("new") is None

    def test_metadata_may_nest_as_deep_as_the_limit(self, store: SessionStore) -> None:
        """It is listed deep in the stack, too; one level deeper is refused."""
        metadata = {"a": nested(MAX_DEPTH - 1, "x")}
        store.create("s", metadata=metadata)
        store.create("t")
        assert store.update("t", metadata=metadata).metadata == metadata
        listed = deep_in_the_stack(lambda: store.list_sessions().sessions)
        assert [info.metadata for info in listed] == [metadata] * 2
        before = stored(store, "s")
        deeper = {"a": nested(MAX_DEPTH, "x")}
        with pytest.raises(InvalidSessionError):
            store.create("new", metadata=deeper)
        with pytest.raises(InvalidSessionError):
            store.update("s", messages=[], metadata=deeper)
        assert stored(store, "s") == before
        assert store.get("new") is None

    def test_data_that_contains_itself_is_refused(self, store: SessionStore) -> None:
        """It is endlessly deep, and wide."""
        endless: list[Any] = []
        endless += [endless, endless]
        with pytest.raises(InvalidMessageError):
            store.append_message("s", SessionMessage("user", "x", metadata={"a": endless}))
        with pytest.raises(InvalidSessionError):
            store.create("s", metadata={"a": endless})
        assert store.get("s") is None

    def test_later_changes_of_the_callers_objects_change_nothing(self, store: SessionStore) -> None:
        """What was stored is what it was at the call."""
        metadata: dict[str, Any] = {"tags": ["a"]}
        blocks: list[dict[str, Any]] = [{"type": "text", "text": "before"}]
        store.create("s", metadata=metadata)
        store.append_message("s", SessionMessage("user", blocks, id="m", metadata=metadata))
        before = stored(store, "s")
        metadata["tags"].append("b")
        blocks[0]["text"] = "after"
        blocks.append({})
        assert before == stored(store, "s")
        assert before.metadata == before.messages[0].metadata == {"tags": ["a"]}
        assert before.messages[0].content == [{"type": "text", "text": "before"}]

    def test_changes_of_what_was_read_change_nothing(self, store: SessionStore) -> None:
        """Each reader has a copy of its own."""
        message = SessionMessage("user", [{"type": "text", "text": "x"}], id="m")
        store.create("s", messages=[message], metadata={"tags": []})
        before, spoilt = stored(store, "s"), stored(store, "s")
        [listed] = store.list_sessions().sessions
        updated = store.update("s", metadata={})
        for metadata in (spoilt.metadata, listed.metadata, updated.metadata):
            metadata["tags"].append("b")
        for content in (spoilt.messages[0].content, store.get_messages("s")[0].content):
            assert isinstance(content, list)
            content[0]["text"] = "y"
        assert stored(store, "s").messages == before.messages
        assert stored(store, "s").metadata == {"tags": []}


def _causes(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, None))
