"""What an argument that can't be is told, in words that fit: the same in every store."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstore import InMemorySessionStore, InvalidSessionError


@pytest.mark.parametrize("limit", [-1, 0, 1.0, None, "5", True])
def test_a_limit_of_a_list(limit: Any) -> None:
    with pytest.raises(InvalidSessionError, match="whole number of 1 or more: sessions a page"):
        InMemorySessionStore().list_sessions(limit=limit)


@pytest.mark.parametrize("limit", [-1, 1.0, "5", True])
def test_a_limit_of_messages(limit: Any) -> None:
    store = InMemorySessionStore()
    for read in (store.get, store.get_messages):
        with pytest.raises(InvalidSessionError, match="0 or more: how many messages; or None"):
            read("s", limit=limit)


@pytest.mark.parametrize("metadata", [[1], "title", 3])
def test_metadata_that_is_no_dict(metadata: Any) -> None:
    words = f"^metadata must be a dict, a JSON object, not {type(metadata).__name__}$"
    store = InMemorySessionStore()
    with pytest.raises(InvalidSessionError, match=words):
        store.create("s", metadata=metadata)
    store.create("s")
    with pytest.raises(InvalidSessionError, match=words):
        store.update("s", metadata=metadata)
