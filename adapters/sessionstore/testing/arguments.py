"""Whatever a caller hands in: it works, or one clear error says why, and nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import pytest

from sessionstore.bound_session import BoundSession
from sessionstore.errors import InvalidMessageError, InvalidSessionError
from sessionstore.models import SessionMessage
from sessionstore.operations import Append, Create
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["ArgumentContract"]


class Name(str, Enum):
    """Texts that are members of an enum: each is equal to its text, and shown by its name."""

    SESSION = "s"
    MESSAGE = "m0"
    USER = "u"
    AGENT = "a"
    ROLE = "human"
    KEY = "title"


class Odd(str):
    """A text that says of itself that it is another one."""

    __slots__ = ()

    def __str__(self) -> str:
        """Give another text."""
        return "another"


@dataclass
class Call:
    """What a framework of its own may have for a tool call."""

    id: str = "c"
    name: str = "add"
    args: dict[str, Any] = field(default_factory=dict)


class Said:
    """A message of a framework that goes through its fields, as models of pydantic do."""

    content = "Hello!"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Go through the fields."""
        yield "content", self.content


def _numbers() -> Iterator[int]:
    yield 1


_PLAIN: list[Any] = [0, -1, True, 1.5, math.nan, 10**30, b"x", object(), str, len, Call(), Said()]
_TEXTS: list[Any] = ["", "x", "\0", "\ud800", "x" * 1000, Odd("x"), Name.MESSAGE]
_NO_MESSAGES: list[Any] = [
    *_PLAIN,
    *_TEXTS,
    None,
    [],
    ("user", "Hello!"),
    {},
    {"content": "Hello!"},
    {"role": "user", "nosuch": 1},
    {"role": "user", 1: 2},
    {"role": 7},
    {"role": "user", "content": None},
    {"role": "user", "id": ""},
    {"role": "user", "created_at": "2000-01-01T00:00:00Z"},
]
_BAD_FIELDS: dict[str, list[Any]] = {
    "role": [*_PLAIN, None, [], "\ud800"],
    "content": [*_PLAIN, None, {}, {"a"}, ["x"], [1], "\ud800"],
    "id": [*_PLAIN, [], {}, "", "\ud800", "x" * 1000],
    "name": [*_PLAIN, [], "\ud800"],
    "tool_calls": [*_PLAIN, None, *([call] for call in (*_PLAIN, *_TEXTS, None, (), {})), {"a"}],
    "tool_call_id": [*_PLAIN, [], "\ud800"],
    "created_at": [*_PLAIN, *_TEXTS, None, []],
    "metadata": [*_PLAIN, *_TEXTS, None, [], {"a": {1}}, {1: 2}],
    "extra": [*_PLAIN, *_TEXTS, None, [], {"langchain": 1}, {1: {}}],
}


def _field(name: str, bad: Any) -> SessionMessage:
    return SessionMessage(**{"role": "user", "content": "x", "id": "m0", name: bad})


_BAD_MESSAGES = [
    *_NO_MESSAGES,
    *(_field(name, bad) for name, values in _BAD_FIELDS.items() for bad in values),
    # Two faults at once: the error names one, whatever the other is.
    *(SessionMessage("\ud800", tool_calls=bad) for bad in _BAD_FIELDS["tool_calls"]),
]
_NO_LISTS: list[Any] = [*_PLAIN, *_TEXTS, {}, {"role": "user"}, said("x", "m9"), [7], _numbers]
_NO_IDS: list[Any] = [*_PLAIN, [], {}, (), "", "\ud800", "x" * 1000]
_BAD: dict[str, list[Any]] = {
    "session_id": _NO_IDS,
    "new_session_id": _NO_IDS,
    "user_id": _NO_IDS,
    "agent_id": _NO_IDS,
    "at": _NO_IDS,
    "before": _NO_IDS,
    "after": [bad for bad in _NO_IDS if bad != ""],
    "limit": [bad for bad in (*_PLAIN[1:], *_TEXTS, [], {}, math.inf) if bad != 10**30],
    "expected_version": [bad for bad in (*_PLAIN[1:], *_TEXTS, [], {}) if bad != 10**30],
    "keep_system": [*_PLAIN[:2], *_PLAIN[3:], *_TEXTS, None, [], {}],
    "cursor": [*_PLAIN, *_TEXTS, [], {}],
    "updated_after": [*_PLAIN, *_TEXTS, [], {}, datetime(2026, 1, 1)],  # noqa: DTZ001
    "updated_before": [*_PLAIN, *_TEXTS, [], {}, datetime(2026, 1, 1)],  # noqa: DTZ001
    "last": [*_PLAIN[1:], *_TEXTS, [], {}, math.inf, 101],
    "message": _BAD_MESSAGES,
    "messages": [*_NO_LISTS, *([said("x", "m8"), bad] for bad in _BAD_MESSAGES)],
    "message_ids": [
        *_PLAIN,
        *_TEXTS,
        None,
        said("x"),
        _numbers,
        {1: 2},
        *(["m0", bad] for bad in _NO_IDS),
    ],
    "metadata": [
        *_PLAIN,
        *_TEXTS,
        *([], (), {1: 2}, {"a": {1}}, {"a": math.nan}, {"a": "\ud800"}),
    ],
}
"""What no method takes for an argument of this name."""

_METHODS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "create": (
        {"session_id": "new"},
        ["session_id", "agent_id", "user_id", "messages", "metadata"],
    ),
    "get": ({"session_id": "s"}, ["session_id", "limit", "user_id"]),
    "get_messages": (
        {"session_id": "s"},
        ["session_id", "limit", "before", "after", "user_id", "keep_system"],
    ),
    "append_message": (
        {"session_id": "s", "message": said("x", "m8")},
        ["session_id", "message", "agent_id", "user_id", "expected_version"],
    ),
    "append_messages": (
        {"session_id": "s", "messages": [said("x", "m8")]},
        ["session_id", "messages", "agent_id", "user_id", "expected_version"],
    ),
    "replace_message": (
        {"session_id": "s", "message": said("x", "m0")},
        ["session_id", "message", "user_id"],
    ),
    "delete_messages": (
        {"session_id": "s", "message_ids": ["m0"]},
        ["session_id", "message_ids", "user_id", "expected_version"],
    ),
    "update": (
        {"session_id": "s", "metadata": {"a": 2}},
        ["session_id", "messages", "metadata", "user_id", "expected_version"],
    ),
    "fork": (
        {"session_id": "s", "new_session_id": "t"},
        ["session_id", "new_session_id", "at", "user_id", "metadata"],
    ),
    "delete": ({"session_id": "s"}, ["session_id", "user_id"]),
    "list_sessions": (
        {},
        ["agent_id", "user_id", "limit", "cursor", "updated_after", "updated_before", "last"],
    ),
}
"""Each method, with arguments that it takes, and those that are tried with what it does not."""

HELLO = {"role": "user", "content": "Hello!", "id": "m9"}


def _update(store: SessionStore, message: Any) -> None:
    store.create("new")
    store.update("new", messages=[message])


def _replace(store: SessionStore, message: Any) -> None:
    store.append_message("new", said("old", "m9"))
    store.replace_message("new", message)


_WRITES: dict[str, Callable[[SessionStore, Any], object]] = {
    "create": lambda store, message: store.create("new", messages=[message]),
    "append_message": lambda store, message: store.append_message("new", message),
    "append_messages": lambda store, message: store.append_messages("new", iter([message])),
    "replace_message": _replace,
    "update": _update,
    "an operation": lambda store, message: store.run(Append("new", [message])),
    "a list of operations": lambda store, message: store.run([Create("new", [message])]),
    "a handle": lambda store, message: BoundSession(store, "new").append(message),
}


class ArgumentContract(StoreSuite):
    """Arguments are checked at the door: by one clear error, before anything is written."""

    @pytest.mark.parametrize("name", _METHODS)
    def test_invalid_arguments_are_refused(self, store: SessionStore, name: str) -> None:
        """By an error of this package that says so, whatever it is; nothing is written."""
        before = store.create("s", messages=conversation(2), metadata={"a": 1})
        good, arguments = _METHODS[name]
        for argument in arguments:
            for bad in _BAD[argument]:
                with pytest.raises((InvalidSessionError, InvalidMessageError)) as caught:
                    getattr(store, name)(**{**good, argument: bad})
                assert str(caught.value)
        assert stored(store, "s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["s"]

    def test_the_wrong_type_is_a_type_error(self, store: SessionStore) -> None:
        """As everywhere in Python."""
        for argument in ("limit", "keep_system", "expected_version"):
            name = "update" if argument == "expected_version" else "get_messages"
            for bad in ("5", b"5", 1.5):
                with pytest.raises(TypeError, match=argument):
                    getattr(store, name)("s", **{argument: bad})

    @pytest.mark.parametrize("name", _WRITES)
    def test_a_mapping_is_taken_for_a_message(self, store: SessionStore, name: str) -> None:
        """With the fields of a `SessionMessage`, everywhere; the caller's is not touched."""
        given = dict(HELLO)
        _WRITES[name](store, given)
        [found] = store.get_messages("new")
        assert (found.role, found.content, found.id) == ("user", "Hello!", "m9")
        assert given == HELLO

    def test_a_mapping_that_names_no_id_is_given_one(self, store: SessionStore) -> None:
        """And a time, as every message is; only `replace_message` needs an id."""
        given = {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]}
        assert store.append_messages("s", [given, given]) == 2
        first, second = store.get_messages("s")
        assert first.id != second.id
        with pytest.raises(InvalidMessageError, match="id"):
            store.replace_message("s", given)

    @pytest.mark.parametrize("name", _WRITES)
    def test_human_and_ai_are_taken_for_user_and_assistant(
        self, store: SessionStore, name: str
    ) -> None:
        """LangChain's are taken for the contract's own; any other role is kept as it is."""
        names = {"human": "user", "ai": "assistant", Name.ROLE: "user", "Human": "Human"}
        for role, kept in names.items():
            fields: dict[str, Any] = {**HELLO, "role": role}
            for given in (fields, SessionMessage(**fields)):
                _WRITES[name](store, given)
                assert [message.role for message in store.get_messages("new")] == [kept]
                store.delete("new")

    def test_a_member_of_an_enum_is_its_text(self, store: SessionStore) -> None:
        """As an id of anything: no id is there twice."""
        store.append_messages("s", [said("x", Name.MESSAGE), said("y", "m0"), said("z", Odd("m1"))])
        assert store.append_message(Name.SESSION, said("x", Name.MESSAGE)) == 0
        assert store.append_message("s", said("x", "m1")) == 0
        assert ids(store.get_messages(Name.SESSION)) == ["m0", "m1"]
        assert contents(store.get_messages("s", before=Odd("m1"))) == ["x"]
        assert contents(store.get_messages("s", after=Name.MESSAGE)) == ["z"]
        store.replace_message("s", said("better", Name.MESSAGE))
        assert store.delete_messages("s", [Name.MESSAGE, "m0", Odd("m1")]) == ["m0", "m1"]
        made = store.create("t", agent_id=Name.AGENT, user_id=Name.USER)
        assert (made.agent_id, made.user_id) == ("a", "u")
        assert store.list_sessions(user_id=Name.USER) == store.list_sessions(user_id="u")

    def test_a_member_of_an_enum_is_its_text_in_metadata(self, store: SessionStore) -> None:
        """It sets the key of its text, and removes it."""
        store.create("s", metadata={"title": "old", "a": 1})
        assert store.update("s", metadata={Name.KEY: "new"}).metadata == {"title": "new", "a": 1}
        assert store.update("s", metadata={Name.KEY: None}).metadata == {"a": 1}

    def test_the_error_says_what_to_give(self, store: SessionStore) -> None:
        """What to give instead."""
        bad: dict[str, Any] = {
            r"^messages must be a list.* SessionMessage: give \[message\]$": said("x"),
            r"^messages must be a list.* dict: give \[message\]$": dict(HELLO),
            r"^messages must be a list.* Said: give \[message\]$": Said(),
            r"^messages must be a list of messages, not int$": 7,
            r"not tuple; append_messages takes a list of them.* give one such as .*\"role\"": [
                ("user", "Hello!")
            ],
        }
        for words, given in bad.items():
            with pytest.raises(InvalidMessageError, match=words):
                store.append_messages("s", given)
            with pytest.raises(InvalidMessageError, match=words):
                store.create("s", messages=given)
