"""Operations: values that are checked once, and say nothing of what was said."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    SessionData,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Restore,
    Rewind,
    Scrub,
    Setup,
    Update,
)

WORDS = "my words"
SAID = SessionMessage("user", WORDS, id="m1")
SESSION = SessionData(
    id="s",
    agent_id="helper",
    user_id="alice",
    metadata={"title": WORDS},
    created_at=SAID.created_at,
    updated_at=SAID.created_at,
    version=1,
    message_count=1,
    messages=[SAID],
)
ALL: list[Operation[Any]] = [
    Create("s", [SAID], "helper", "alice", {"title": WORDS}),
    Get("s", 3, "alice"),
    GetMessages("s", 3, before="m1", user_id="alice", keep_system=True),
    Append("s", [SAID], "helper", "alice", 2),
    ReplaceMessage("s", SAID, "alice"),
    DeleteMessages("s", ["m1"], "alice", 2),
    Rewind("s", "m1", "alice", 2),
    Update("s", [SAID], {"title": WORDS}, "alice", 2),
    Delete("s", "alice"),
    Restore(SESSION, 2),
    Reseal("s", [SAID], [SAID], {"title": WORDS}, {"title": WORDS}, "alice"),
    Fork("s", "t", "m1", "alice", {"title": WORDS}),
    AcquireLease("s", 5, "alice", True, WORDS),
    RenewLease("s", 7, 5, "alice"),
    ReleaseLease("s", WORDS, "alice"),
    Fence("s", 7, "alice"),
    ListSessions("helper", "alice", 7, "cursor", SAID.created_at, SAID.created_at, 5),
    Prune(),
    Scrub("alice", ["s", "t"], True),
    Ping(),
    Setup(),
]
_decoder: Any = msgspec.json.Decoder(
    Create  # type: ignore[arg-type]
    | Get
    | GetMessages
    | Append
    | ReplaceMessage
    | DeleteMessages
    | Rewind
    | Update
    | Delete
    | Restore
    | Reseal
    | Fork
    | AcquireLease
    | RenewLease
    | ReleaseLease
    | Fence
    | ListSessions
    | Prune
    | Scrub
    | Ping
    | Setup
)


@pytest.mark.parametrize("operation", ALL, ids=lambda one: type(one).__name__)
def test_an_operation_comes_back_equal_from_json(operation: Operation[Any]) -> None:
    assert _decoder.decode(msgspec.json.encode(operation)) == operation


@pytest.mark.parametrize("operation", ALL, ids=lambda one: type(one).__name__)
def test_the_repr_of_an_operation_shows_no_content_and_no_names(operation: Operation[Any]) -> None:
    shown = f"{operation!r}{operation}{operation.__rich_repr__()}"
    assert WORDS not in shown
    assert "alice" not in shown


@pytest.mark.parametrize("operation", ALL, ids=lambda one: type(one).__name__)
def test_an_operation_can_not_be_changed(operation: Operation[Any]) -> None:
    for name in operation.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(operation, name, None)


def test_an_operation_says_which_session_it_is_about_and_whether_it_writes() -> None:
    assert [one.about for one in ALL] == ["s"] * 16 + [None] * 5
    writes = {Create, Append, ReplaceMessage, DeleteMessages, Rewind, Update, Delete, Fork, Prune}
    writes |= {Restore, Reseal, AcquireLease, RenewLease, ReleaseLease, Scrub}
    assert {type(one) for one in ALL if one.is_write} == writes


def test_arguments_are_normalised_when_an_operation_is_made() -> None:
    made = Append("s", [{"role": "human", "content": "Hello!"}])  # type: ignore[list-item]
    [message] = made.messages
    assert (message.role, message.content) == ("user", "Hello!")
    assert message.id
    assert [m.content for m in Append("s", [SAID, SAID]).messages] == [WORDS]
    assert DeleteMessages("s", ["a", "b", "a"]).message_ids == ["a", "b"]
    first, second = Create(), Create()
    assert first.session_id
    assert first.session_id != second.session_id
    assert Fork("s").new_session_id
    assert Fork("s").new_session_id != Fork("s").new_session_id
    assert AcquireLease("s").holder
    assert AcquireLease("s").holder != AcquireLease("s").holder
    assert Create("s", metadata=None).metadata == {}  # type: ignore[arg-type]


def test_an_operation_with_invalid_arguments_is_refused() -> None:
    bad: list[tuple[type[Exception], Any]] = [
        (InvalidSessionError, lambda: Get("")),
        (InvalidSessionError, lambda: Get("s", -1)),
        (InvalidSessionError, lambda: Delete("s", user_id="")),
        (InvalidSessionError, lambda: Fork("")),
        (InvalidSessionError, lambda: Fork("s", "x" * 513)),
        (InvalidMessageError, lambda: Fork("s", at="")),
        (InvalidSessionError, lambda: Fork("s", metadata=[])),  # type: ignore[arg-type]
        (InvalidSessionError, lambda: ListSessions(limit=0)),
        (InvalidSessionError, lambda: ListSessions(last=101)),
        (InvalidSessionError, lambda: ListSessions(updated_after=datetime(2026, 1, 1))),  # noqa: DTZ001
        (TypeError, lambda: ListSessions(updated_before="2026-01-01")),  # type: ignore[arg-type]
        (InvalidSessionError, lambda: Append("s", [SAID], expected_version=-1)),
        (InvalidMessageError, lambda: Append("s", [7])),  # type: ignore[list-item]
        (InvalidMessageError, lambda: ReplaceMessage("s", SessionMessage("user", "x"))),
        (InvalidMessageError, lambda: GetMessages("s", before="a", after="b")),
        (InvalidMessageError, lambda: DeleteMessages("s", "m1")),  # type: ignore[arg-type]
        (InvalidMessageError, lambda: Rewind("s", "")),
        (InvalidMessageError, lambda: Rewind("s", 7)),  # type: ignore[arg-type]
        (InvalidSessionError, lambda: Rewind("s", None, expected_version=-1)),
        (InvalidSessionError, lambda: AcquireLease("", 60)),
        (InvalidSessionError, lambda: AcquireLease("s", 0)),
        (InvalidSessionError, lambda: AcquireLease("s", float("nan"))),
        (InvalidSessionError, lambda: AcquireLease("s", user_id="")),
        (InvalidSessionError, lambda: AcquireLease("s", holder="")),
        (TypeError, lambda: AcquireLease("s", take_over="yes")),  # type: ignore[arg-type]
        (TypeError, lambda: RenewLease("s", "7")),  # type: ignore[arg-type]
        (InvalidSessionError, lambda: RenewLease("s", 7, 86_401)),
        (InvalidSessionError, lambda: RenewLease("s", -1)),
        (TypeError, lambda: ReleaseLease("s", 7)),  # type: ignore[arg-type]
        (InvalidSessionError, lambda: ReleaseLease("s", "x" * 513)),
        (InvalidSessionError, lambda: Fence("s", 2**63)),
        (TypeError, lambda: Fence("s", True)),
    ]
    for kind, make in bad:
        with pytest.raises(kind):
            make()


class Invented(Operation[int], frozen=True, tag="invented"):
    session_id: str


def test_a_store_refuses_an_unknown_operation_by_name(tmp_path: Path) -> None:
    for store in (InMemorySessionStore(), SQLiteSessionStore(tmp_path / "sessions.db")):
        with store, pytest.raises(SessionStoreError, match=r"does not know .*Invented"):
            store.run(Invented("s"))
