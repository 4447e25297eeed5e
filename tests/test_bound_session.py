"""A handle on one session gives what the store's own methods give."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionMessage,
    SessionStore,
)
from sessionstore.bound_session import BoundSession

Do = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Do:
    """Call a method of a handle, sync or async."""
    if request.param == "sync":
        return lambda session, name, *args, **kwargs: getattr(session, name)(*args, **kwargs)
    return lambda session, name, *args, **kwargs: asyncio.run(
        getattr(session, f"a{name}")(*args, **kwargs)
    )


def said(text: str, message_id: str) -> SessionMessage:
    return SessionMessage("user", text, id=message_id)


def test_a_bound_session_does_what_the_methods_of_its_store_do(do: Do) -> None:
    store = InMemorySessionStore()
    session = store.session("s", agent_id="helper", user_id="alice")
    assert do(session, "get") is None
    assert do(session, "append_message", {"role": "user", "content": "Hello!"}) == 1
    assert do(session, "append_messages", [said("a", "a"), said("b", "b")]) == 2
    assert do(session, "get") == store.get("s")
    assert do(session, "get", limit=1).messages == store.get_messages("s", limit=1)
    assert [m.id for m in do(session, "get_messages", before="b", limit=1)] == ["a"]
    assert [m.id for m in do(session, "get_messages", after="a")] == ["b"]
    do(session, "replace_message", said("A", "a"))
    assert do(session, "delete_messages", ["b", "c"]) == ["b"]
    do(session, "append_messages", [said("x", "x"), said("y", "y")])
    assert do(session, "rewind", to="x") == ["y"]
    assert do(session, "rewind", to="a") == ["x"]
    info = do(session, "update", metadata={"title": "A"})
    assert (info.metadata, info.message_count) == ({"title": "A"}, 2)
    assert do(session, "update", messages=[said("new", "n")]).message_count == 1
    assert [message.content for message in store.get_messages("s")] == ["new"]
    forked = do(session, "fork", "t", at="n", metadata={"title": "B"})
    assert (forked.id, forked.agent_id, forked.user_id) == ("t", "helper", "alice")
    assert forked.metadata["title"] == "B"
    assert store.get_messages("t") == store.get_messages("s")
    assert do(session, "fork").message_count == 1
    assert (store.get("s").agent_id, store.get("s").user_id) == ("helper", "alice")  # type: ignore[union-attr]
    assert do(session, "delete") is True
    assert do(session, "delete") is False
    made = do(session, "create", messages=[said("a", "a")], metadata={"title": "B"})
    assert made == store.get("s")
    with pytest.raises(SessionExistsError):
        do(session, "create")


def test_a_bound_session_has_short_names_for_what_a_turn_needs(do: Do) -> None:
    store = InMemorySessionStore()
    session = store.session("s", agent_id="helper", user_id="alice")
    assert do(session, "messages") == []
    assert do(session, "append", {"role": "human", "content": "1", "id": "1"}) == 1
    assert do(session, "append", said("2", "2"), {"role": "ai", "content": "3"}) == 2
    assert do(session, "append") == 0
    assert [m.role for m in do(session, "messages", limit=2)] == ["user", "assistant"]
    for page in ({"before": "2", "limit": 1}, {"after": "1"}, {"limit": 1, "keep_system": True}):
        assert do(session, "messages", **page) == do(session, "get_messages", **page)
    assert (store.get("s").agent_id, store.get("s").user_id) == ("helper", "alice")  # type: ignore[union-attr]
    with pytest.raises(SessionConflictError):
        do(session, "append", said("4", "4"), expected_version=7)
    for name, args in (("messages", ()), ("append", (said("4", "4"),))):
        with pytest.raises(SessionAccessError):
            do(store.session("s", user_id="eve"), name, *args)


def test_the_short_names_take_what_the_long_ones_do() -> None:
    for short, long in (("messages", "get_messages"), ("append", "append_messages")):
        for prefix in ("", "a"):
            theirs = inspect.signature(getattr(BoundSession, prefix + long)).parameters
            ours = inspect.signature(getattr(BoundSession, prefix + short)).parameters
            assert ours.keys() == theirs.keys()


def test_a_bound_session_checks_the_owner_and_the_version(do: Do) -> None:
    store = InMemorySessionStore()
    do(store.session("s", user_id="alice"), "append_message", said("a", "a"))
    other = store.session("s", user_id="eve")
    calls: list[tuple[str, Any]] = [
        ("get", ()),
        ("get_messages", ()),
        ("append_message", (said("b", "b"),)),
        ("replace_message", (said("b", "a"),)),
        ("delete_messages", (["a"],)),
        ("fork", ("t",)),
        ("delete", ()),
        ("create", ()),
    ]
    for name, args in calls:
        with pytest.raises(SessionAccessError):
            do(other, name, *args)
    mine = store.session("s", user_id="alice")
    for name, arguments in (
        ("append_messages", {"messages": [said("b", "b")]}),
        ("delete_messages", {"message_ids": ["a"]}),
        ("rewind", {"to": None}),
        ("update", {"metadata": {}}),
    ):
        with pytest.raises(SessionConflictError):
            do(mine, name, **arguments, expected_version=7)
    assert len(store.get_messages("s")) == 1


@pytest.mark.parametrize("given", ["", 7, None, "x" * 513])
def test_a_bound_session_with_an_invalid_id_is_refused_at_once(given: Any) -> None:
    with pytest.raises(InvalidSessionError):
        InMemorySessionStore().session(given)


def test_a_bound_session_has_every_method_that_is_about_one_session() -> None:
    about_one = {
        name
        for name, method in inspect.getmembers(SessionStore, inspect.isfunction)
        if "session_id" in inspect.signature(method).parameters and name != "session"
    }
    for name in about_one:
        theirs = inspect.signature(getattr(SessionStore, name)).parameters.keys()
        ours = inspect.signature(getattr(BoundSession, name)).parameters.keys()
        assert ours == theirs - {"session_id", "agent_id", "user_id"}
