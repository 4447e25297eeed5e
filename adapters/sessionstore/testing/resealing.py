"""`Reseal`: what is still as it was is swapped for what says the same, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionAccessError,
)
from sessionstore.models import SessionMessage
from sessionstore.operations import Append, Reseal
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite
from sessionstore.testing.samples import NASTY_IDS, conversation, said, stored

__all__ = ["ResealContract"]

_LOG = [
    SessionMessage("system", "Be brief.", id="m0"),
    SessionMessage("user", [{"type": "text", "text": "sealed \N{SNOWMAN} 0"}], id="m1"),
    said("", "m2", extra={"e": {"n": 1.0, "list": [], "map": {}}}, metadata={"a": None}),
    SessionMessage(
        "assistant", "", id="m3", tool_calls=[{"id": "c", "name": "f", "args": {"x": "1"}}]
    ),
    SessionMessage("tool", "result", id="m4", tool_call_id="c", name="f"),
    said("not sealed", "m5"),
]
_METADATA = {"title": "sealed 0", "tags": ["a", "b"], "gone": None, "number": 1, "plain": "p"}


def _sealed(messages: Sequence[SessionMessage], number: int = 1) -> list[SessionMessage]:
    """Give what the same messages look like when they are sealed with another key."""
    return [
        SessionMessage(
            message.role,
            f"sealed {number} {message.id}",
            id=message.id,
            created_at=message.created_at,
            extra={"sealed": {"key": number}},
        )
        for message in messages
    ]


def _values(metadata: dict[str, Any], number: int = 1) -> dict[str, Any]:
    return {key: f"sealed {number} {key}" for key in metadata}


class ResealContract(StoreSuite):
    """What is still as it was is swapped, in one step; version, times and order stay."""

    def test_what_is_still_as_it_was_is_swapped(self, store: SessionStore) -> None:
        """And nothing else of the session changes, nor its place in lists."""
        store.create("s", user_id="u", agent_id="g", messages=_LOG, metadata=_METADATA)
        store.append_message("s", said("more", "m6"))
        store.delete_messages("s", ["m4"])
        store.append_message("later", said("hello"))
        before, listed = stored(store, "s"), store.list_sessions(last=1)
        old = [message for message in before.messages if message.id in ("m0", "m1", "m2", "m3")]
        values = {key: before.metadata[key] for key in ("title", "tags", "gone", "number")}
        asked = Reseal("s", old, _sealed(old), values, _values(values), "u")
        assert store.run(asked) == 8
        after = stored(store, "s")
        assert after == replace(
            before,
            messages=_sealed(old) + before.messages[4:],
            metadata={**before.metadata, **_values(values)},
        )
        assert store.run(asked) == 0
        assert stored(store, "s") == after
        [first, second] = store.list_sessions(last=1).sessions
        assert first == listed.sessions[0]
        assert second == replace(listed.sessions[1], metadata=after.metadata)

    def test_what_is_not_any_more_as_it_was_is_left_alone(self, store: SessionStore) -> None:
        """What was replaced, deleted or made again, and metadata that was updated."""
        store.create("s", messages=_LOG, metadata=_METADATA)
        before = stored(store, "s")
        store.replace_message("s", said("edited", "m1"))
        store.delete_messages("s", ["m2", "m5"])
        store.append_message("s", said("said again", "m5"))
        store.update("s", metadata={"title": "edited", "tags": None, "number": True})
        edited = stored(store, "s")
        missing = said("never there", "x")
        old = [*before.messages, missing]
        values = {**before.metadata, "never": "there"}
        assert store.run(Reseal("s", old, _sealed(old), values, _values(values))) == 5
        sealed = {message.id: message for message in _sealed(old)}
        assert stored(store, "s") == replace(
            edited,
            messages=[
                sealed[message.id] if message.id in ("m0", "m3", "m4") else message
                for message in edited.messages
            ],
            metadata={**edited.metadata, **_values({"gone": 0, "plain": 0})},
        )

    def test_values_are_compared_as_json(self, store: SessionStore) -> None:
        """The order of keys is no matter; a number is no other number, nor true."""
        log = [said(name, name, extra={"e": {"n": 1, "a": "b"}}) for name in "abc"]
        store.create("s", messages=log, metadata={"x": {"n": 1, "a": "b"}, "y": 1, "z": 0})
        extras: list[dict[str, Any]] = [{"a": "b", "n": 1}, {"n": 1.0, "a": "b"}, {"n": True}]
        pairs = zip(stored(store, "s").messages, extras, strict=True)
        old = [replace(message, extra={"e": extra}) for message, extra in pairs]
        values = {"x": {"a": "b", "n": 1}, "y": 1.0, "z": False}
        assert store.run(Reseal("s", old, _sealed(old), values, _values(values))) == 2
        after = stored(store, "s")
        assert [m.content for m in after.messages] == ["sealed 1 a", "b", "c"]
        assert after.metadata == {"x": "sealed 1 x", "y": 1, "z": 0}

    def test_none_is_a_value_of_metadata(self, store: SessionStore) -> None:
        """It comes instead of another, and another instead of it; what is missing is no such."""
        store.create("s", metadata={"a": None, "b": 1})
        none = {"a": None, "b": 1, "c": None}
        assert store.run(Reseal("s", [], [], none, {"a": 1, "b": None, "c": 1})) == 2
        assert stored(store, "s").metadata == {"a": 1, "b": None}

    def test_a_session_that_is_not_there(self, store: SessionStore) -> None:
        """There is nothing to swap, and none is made."""
        log = conversation(2)
        assert store.run(Reseal("s", log, _sealed(log), {"a": 1}, {"a": 2}, "u")) == 0
        assert store.get("s") is None
        store.create("s", messages=log)
        assert store.run(Reseal("s")) == 0
        assert stored(store, "s").version == 1

    def test_another_users_session_is_left_alone(self, store: SessionStore) -> None:
        """Whatever is asked, the error says nothing of the session."""
        store.create("s", user_id="u", messages=_LOG, metadata=_METADATA)
        before = stored(store, "s")
        for old in (before.messages, []):
            with pytest.raises(SessionAccessError):
                store.run(Reseal("s", old, _sealed(old), user_id="eve"))
        assert stored(store, "s") == before

    def test_any_ids_are_resealed(self, store: SessionStore) -> None:
        """Each finds its own, in a long session with gaps, and costs no more than it."""
        log = [said("x", name) for name in NASTY_IDS] + conversation(2000)
        store.append_messages("s", log)
        store.delete_messages("s", [f"m{number}" for number in range(0, 2000, 3)])
        before = stored(store, "s")
        assert store.run(Reseal("s", before.messages, _sealed(before.messages))) == len(
            before.messages
        )
        assert stored(store, "s") == replace(before, messages=_sealed(before.messages))

    def test_what_can_not_be_swapped_is_refused(self, store: SessionStore) -> None:
        """Before anything is written."""
        store.create("s", messages=_LOG, metadata=_METADATA)
        before = stored(store, "s")
        [first, second, *_] = old = before.messages
        new = _sealed(old)
        later = replace(new[1], created_at=new[0].created_at.replace(year=2001))
        for messages in (
            new[1:],
            new[::-1],
            [replace(new[0], id="other"), *new[1:]],
            [replace(new[0], role="user"), *new[1:]],
            [new[0], later, *new[2:]],
            [replace(new[0], metadata={"a": object()}), *new[1:]],
            7,
        ):
            with pytest.raises(InvalidMessageError):
                store.run(Reseal("s", old, messages))  # type: ignore[arg-type]
        with pytest.raises(InvalidMessageError):
            store.run(Reseal("s", [first, second, first], [*new[:2], new[0]]))
        for values in ({}, {"other": 1}, {"title": 1, "tags": 2}, {"title": {1, 2}}, 7):
            with pytest.raises(InvalidSessionError):
                store.run(Reseal("s", old, new, {"title": "sealed 0"}, values))  # type: ignore[arg-type]
        with pytest.raises(InvalidTypeError):
            store.run([Append("s", [said("x")]), Reseal("s", old, new)])
        assert stored(store, "s") == before

    def test_resealing_while_others_write_loses_nothing(self, stores: Stores) -> None:
        """Appends, edits and deletions at the same time: all of them are there in the end."""
        store = stores.open()
        log = conversation(40)
        store.create("s", messages=log, metadata={"title": "T", "edits": 0})

        def seal() -> None:
            for key in range(10):
                now = stored(store, "s")
                old, title = now.messages, now.metadata["title"]
                new = [replace(message, content=_under(key, message.content)) for message in old]
                values = {"title": title}, {"title": _under(key, title)}
                store.run(Reseal("s", old, new, *values))

        def append() -> None:
            for number in range(10):
                store.append_message("s", said("added", f"a{number}"))

        def edit() -> None:
            for number in range(10):
                store.replace_message("s", said("edited", f"m{2 * number}"))
                store.update("s", metadata={"edits": number})

        def delete() -> None:
            for number in range(10):
                store.delete_messages("s", [f"m{2 * number + 1}"])

        stores.at_once(seal, append, edit, delete)
        after = stored(store, "s")
        assert after.version == 41
        said_now = {message.id: _plain(message.content) for message in after.messages}
        expected = {f"m{number}": "edited" for number in range(0, 20, 2)}
        expected |= {f"m{number}": f"text {number}" for number in range(20, 40)}
        expected |= {f"a{number}": "added" for number in range(10)}
        assert said_now == expected
        assert {**after.metadata, "title": _plain(after.metadata["title"])} == {
            "title": "T",
            "edits": 9,
        }


def _under(key: int, text: Any) -> str:
    return f"key {key}: {_plain(text)}"


def _plain(text: Any) -> str:
    return str(text).rpartition(": ")[2]
