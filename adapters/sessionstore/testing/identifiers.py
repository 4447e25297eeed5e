"""Any text is an id, no two ids ever meet, and what is no id is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessionstore.errors import InvalidMessageError, InvalidSessionError, SessionAccessError
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import (
    BAD_IDS,
    NASTY_IDS,
    contents,
    conversation,
    ids,
    said,
    stored,
)

__all__ = ["IdentifierContract"]

BY_SESSION: dict[str, Callable[[SessionStore, Any], Any]] = {
    "create": lambda store, bad: store.create(bad),
    "get": lambda store, bad: store.get(bad),
    "get_messages": lambda store, bad: store.get_messages(bad),
    "append_message": lambda store, bad: store.append_message(bad, said("x")),
    "append_messages": lambda store, bad: store.append_messages(bad, []),
    "replace_message": lambda store, bad: store.replace_message(bad, said("x", "m")),
    "update": lambda store, bad: store.update(bad, metadata={}),
    "delete": lambda store, bad: store.delete(bad),
}

BY_USER: dict[str, Callable[[SessionStore, Any], Any]] = {
    "create": lambda store, bad: store.create("t", user_id=bad),
    "get": lambda store, bad: store.get("s", user_id=bad),
    "get_messages": lambda store, bad: store.get_messages("s", user_id=bad),
    "append_message": lambda store, bad: store.append_message("s", said("x"), user_id=bad),
    "append_messages": lambda store, bad: store.append_messages("s", [], user_id=bad),
    "replace_message": lambda store, bad: store.replace_message("s", said("x", "m0"), user_id=bad),
    "update": lambda store, bad: store.update("s", metadata={}, user_id=bad),
    "delete": lambda store, bad: store.delete("s", user_id=bad),
    "list_sessions": lambda store, bad: store.list_sessions(user_id=bad),
}

BY_AGENT: dict[str, Callable[[SessionStore, Any], Any]] = {
    "create": lambda store, bad: store.create("t", agent_id=bad),
    "append_message": lambda store, bad: store.append_message("t", said("x"), agent_id=bad),
    "append_messages": lambda store, bad: store.append_messages("s", [said("x")], agent_id=bad),
    "list_sessions": lambda store, bad: store.list_sessions(agent_id=bad),
}

BY_MESSAGE: dict[str, Callable[[SessionStore, Any], Any]] = {
    "create": lambda store, bad: store.create("t", messages=[said("x", bad)]),
    "get_messages": lambda store, bad: store.get_messages("s", before=bad),
    "append_message": lambda store, bad: store.append_message("s", said("x", bad)),
    "append_messages": lambda store, bad: store.append_messages("s", [said("x"), said("y", bad)]),
    "replace_message": lambda store, bad: store.replace_message("s", said("x", bad)),
    "update": lambda store, bad: store.update("s", messages=[said("x", bad)]),
}


class IdentifierContract(StoreSuite):
    """Guarantee 7: ids come from any system."""

    def test_session_ids_never_meet(self, store: SessionStore) -> None:
        """Each session holds its own messages, and deleting one leaves the others."""
        for session_id in NASTY_IDS:
            store.create(session_id, user_id=session_id, messages=[said(session_id, "m")])
        for session_id in NASTY_IDS:
            assert store.append_message(session_id, said(f"{session_id} more", "n")) == 1
        for session_id in NASTY_IDS:
            session = stored(store, session_id)
            assert (session.id, session.user_id) == (session_id, session_id)
            assert contents(session.messages) == [session_id, f"{session_id} more"]
        left = list(NASTY_IDS)
        while left:
            assert store.delete(left.pop(0)) is True
            found = [info.id for info in store.list_sessions(limit=100).sessions]
            assert sorted(found) == sorted(left)

    def test_user_ids_never_meet(self, store: SessionStore) -> None:
        """Each owner lists their own sessions, and is refused another's."""
        for user_id in NASTY_IDS:
            store.create(user_id=user_id, agent_id=user_id)
        for user_id in NASTY_IDS:
            [theirs] = store.list_sessions(user_id=user_id).sessions
            assert (theirs.user_id, theirs.agent_id) == (user_id, user_id)
            assert store.list_sessions(agent_id=user_id).sessions == [theirs]
        store.create("s", user_id=NASTY_IDS[0])
        for user_id in NASTY_IDS[1:]:
            with pytest.raises(SessionAccessError):
                store.get("s", user_id=user_id)

    def test_message_ids_never_meet(self, store: SessionStore) -> None:
        """Each is added once, found, and replaced."""
        batch = [said(message_id, message_id) for message_id in NASTY_IDS]
        assert store.append_messages("s", batch) == len(batch)
        assert store.append_messages("s", batch) == 0
        for place, message_id in enumerate(NASTY_IDS):
            assert store.get_messages("s", before=message_id) == batch[:place]
        for message_id in NASTY_IDS:
            store.replace_message("s", said("replaced", message_id))
        assert ids(store.get_messages("s")) == list(NASTY_IDS)
        assert set(contents(store.get_messages("s"))) == {"replaced"}

    @pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: repr(bad)[:20])
    @pytest.mark.parametrize(
        "calls", [BY_SESSION, BY_USER, BY_AGENT], ids=["session", "user", "agent"]
    )
    def test_an_invalid_id_is_refused(
        self, store: SessionStore, calls: dict[str, Callable[[SessionStore, Any], Any]], bad: Any
    ) -> None:
        """Every method refuses it, and nothing is read or written."""
        before = store.create("s", messages=conversation(1))
        for call in calls.values():
            with pytest.raises(InvalidSessionError):
                call(store, bad)
        assert stored(store, "s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["s"]

    @pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: repr(bad)[:20])
    def test_an_invalid_message_id_is_refused(self, store: SessionStore, bad: Any) -> None:
        """Every method refuses it, and nothing of the batch is written."""
        before = store.create("s", messages=conversation(1))
        for call in BY_MESSAGE.values():
            with pytest.raises(InvalidMessageError):
                call(store, bad)
        assert stored(store, "s") == before
        assert store.get("t") is None

    def test_none_is_not_an_id(self, store: SessionStore) -> None:
        """Only `create` makes an id for a session that is given none."""
        for name, call in BY_SESSION.items():
            if name != "create":
                with pytest.raises(InvalidSessionError):
                    call(store, None)
