"""What is said of an invalid argument, in words that fit: the same in every store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessionstore import (
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionMessage,
    SessionStore,
    SessionStoreError,
    SQLiteSessionStore,
)


@pytest.mark.parametrize("limit", [-1, 0, 1.0, None, "5", True])
def test_an_invalid_limit_of_a_list_is_refused_with_what_is_valid(limit: Any) -> None:
    with pytest.raises(InvalidSessionError, match="whole number of 1 or more: sessions a page"):
        InMemorySessionStore().list_sessions(limit=limit)


@pytest.mark.parametrize("limit", [-1, 1.0, "5", True])
def test_an_invalid_limit_of_messages_is_refused_with_what_is_valid(limit: Any) -> None:
    store = InMemorySessionStore()
    for read in (store.get, store.get_messages):
        with pytest.raises(InvalidSessionError, match="0 or more: how many messages; or None"):
            read("s", limit=limit)


@pytest.mark.parametrize("metadata", [[1], "title", 3])
def test_metadata_that_is_not_a_dict_is_refused(metadata: Any) -> None:
    words = f"^metadata must be a dict, a JSON object, not {type(metadata).__name__}$"
    store = InMemorySessionStore()
    with pytest.raises(InvalidSessionError, match=words):
        store.create("s", metadata=metadata)
    store.create("s")
    with pytest.raises(InvalidSessionError, match=words):
        store.update("s", metadata=metadata)


ENDLESS: list[Any] = []
ENDLESS += [ENDLESS]


@pytest.mark.parametrize("kind", [InMemorySessionStore, SQLiteSessionStore])
def test_an_invalid_message_id_for_paging_is_refused(kind: Callable[[], SessionStore]) -> None:
    with kind() as store:
        store.append_message("s", SessionMessage("user", "Hello!", id="m0"))
        for ways, words in (
            ({"before": "x"}, "no message 'x' to go before"),
            ({"after": "x"}, "no message 'x' to go on from"),
            ({"after": "m0", "before": "m0"}, "after can't be given together with before"),
            ({"after": "", "keep_system": True}, "after can't be given together with keep_system"),
        ):
            with pytest.raises(InvalidMessageError, match=words):
                store.get_messages("s", **ways)


def test_data_nested_too_deep_is_refused() -> None:
    store = InMemorySessionStore()
    message = SessionMessage("user", "Hello!", id="m0", metadata={"a": ENDLESS})
    with pytest.raises(InvalidMessageError, match="its metadata is nested too deep: at most 64"):
        store.append_message("s", message)
    with pytest.raises(InvalidSessionError, match="metadata is nested too deep: at most 64"):
        store.create("s", metadata={"a": ENDLESS})


@pytest.mark.parametrize("wrong", [3, None, b"s", ["s"]])
def test_an_id_of_another_type_is_a_type_error_too(wrong: Any) -> None:
    store = InMemorySessionStore()
    with pytest.raises(InvalidTypeError, match="session_id must be a string, not"):
        store.get(wrong)
    if wrong is not None:
        with pytest.raises(InvalidTypeError, match="user_id must be a string, not"):
            store.get("s", user_id=wrong)


def test_a_message_whose_content_is_none_is_refused_with_what_to_give() -> None:
    given = {"role": "assistant", "content": None}
    with pytest.raises(InvalidMessageError, match='blocks, not None: give ""'):
        InMemorySessionStore().append_message("s", given)


def test_a_mapping_without_a_role_is_told_from_one_with_an_unknown_field() -> None:
    store = InMemorySessionStore()
    with pytest.raises(InvalidMessageError, match="needs a role"):
        store.append_message("s", {"content": "x"})
    with pytest.raises(InvalidMessageError, match=r"has a field .* else there is into metadata"):
        store.append_message("s", {"role": "user", "contents": "x"})


@pytest.mark.parametrize("given", [[], ({"role": "user", "content": "x"},)])
def test_a_list_in_the_place_of_a_message_is_refused_with_what_takes_one(given: Any) -> None:
    session = InMemorySessionStore().session("s")
    for append in (session.append, session.append_message):
        with pytest.raises(InvalidMessageError, match="append_messages takes a list of them"):
            append(given)


def test_a_url_is_refused_where_the_path_of_a_file_belongs() -> None:
    with pytest.raises(SessionStoreError, match="a URL is for open_store"):
        SQLiteSessionStore("sqlite:///sessions.db")


def test_a_tool_call_in_another_form_is_refused_with_the_form_that_is_taken() -> None:
    function = {"name": "add", "arguments": "{}"}
    calls = [{"id": "c1", "type": "function", "function": function}]
    given = {"role": "assistant", "content": "", "tool_calls": calls}
    with pytest.raises(InvalidMessageError, match=r'A tool call is \{"id"'):
        InMemorySessionStore().append_message("s", given)
