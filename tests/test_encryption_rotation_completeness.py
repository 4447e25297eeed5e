"""A rotation that says it is complete: the keys that it made needless can be destroyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sessionstore import (
    DecryptionError,
    EncryptedSessionStore,
    InMemorySessionStore,
    SessionMessage,
    WrapperSessionStore,
)
from sessionstore.encryption.keys import Key
from sessionstore.encryption.records import key_of
from sessionstore.operations import GetMessages

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


class Watched(WrapperSessionStore):
    """Does something before it is asked."""

    before: Callable[[Any], object] = staticmethod(lambda _: None)

    def run(self, operation: Any) -> Any:
        self.before(operation)
        return super().run(operation)


@pytest.fixture
def held() -> Watched:
    return Watched(InMemorySessionStore())


def said(count: int) -> list[SessionMessage]:
    return [SessionMessage("user", f"text {n}", id=f"m{n}") for n in range(count)]


def test_what_is_deleted_and_said_again_hides_nothing(held: Watched) -> None:
    """The message that it is at stands behind all others then."""
    EncryptedSessionStore(held, {"old": OLD}).create("s", messages=said(40))
    store = EncryptedSessionStore(held, {"new": NEW, "old": OLD})

    def move(operation: Any) -> None:
        at = getattr(operation, "after", "") or getattr(operation, "before", "")
        if type(operation) is GetMessages and at:
            held.before = lambda _: None
            store.delete_messages("s", [at])
            store.append_message("s", SessionMessage("user", "again", id=at))

    held.before = move
    assert store.rotate(batch=10).complete
    assert {key_of(message.extra) for message in held.get_messages("s")} == {"new"}
    assert len(EncryptedSessionStore(held, {"new": NEW}).get_messages("s")) == 40


def test_what_only_claims_the_first_key_is_left_and_named(held: Watched) -> None:
    """Another process may have been given other bytes by the same name."""
    wrong = EncryptedSessionStore(held, {"new": OLD})
    wrong.create("s", messages=said(1), metadata={"title": "T"})
    store = EncryptedSessionStore(held, {"new": NEW})
    store.append_message("s", SessionMessage("user", "Hello", id="right"))
    report = store.rotate()
    assert (report.messages, report.values, report.complete) == (0, 0, False)
    assert report.left[0].why.startswith("2 left: ")
    assert report.missing_keys == ["new"]


@pytest.mark.parametrize("key_id", ["k" * 10_000, 1, None])
def test_a_name_that_no_key_has_is_a_damaged_record(held: Watched, key_id: Any) -> None:
    EncryptedSessionStore(held, {"1": OLD}).create("s", messages=said(1))
    [message] = held.get_messages("s")
    record = {**message.extra["encryption"], "key": key_id}
    held.replace_message("s", SessionMessage("user", id="m0", extra={"encryption": record}))
    report = EncryptedSessionStore(held, {"1": OLD}).rotate()
    assert "has a damaged record" in report.left[0].why
    assert (report.missing_keys, report.complete) == ([], False)


@pytest.mark.parametrize("plain", [b"no JSON", b'{"another name": 1}', b"[]"])
def test_metadata_of_another_form_is_left_and_named(held: Watched, plain: bytes) -> None:
    """It opens with its key, and holds what this version does not write."""
    store = EncryptedSessionStore(held, {"k": OLD})
    about = msgspec.json.encode(("sessionstore metadata", 1, "s", "title"))
    record = {"v": 1, "key": "k", "sealed": Key("k", OLD).sealed(plain, about)}
    held.create("s", metadata={"title": {"encryption": record}})
    with pytest.raises(DecryptionError, match="'title'"):
        store.get("s")
    assert [info.metadata for info in store.list_sessions().sessions] == [{}]
    assert [left.session_id for left in store.rotate().left] == ["s"]
