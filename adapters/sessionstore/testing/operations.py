"""Operations as values: what `run` and `arun` promise."""

from __future__ import annotations

import pytest

from sessionstore.errors import (
    InvalidTypeError,
    SessionAccessError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    ReplaceMessage,
    Rewind,
    Setup,
    Update,
)
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import said

__all__ = ["OperationContract"]


class _Unknown(Operation[int], frozen=True, tag="unknown"):
    session_id: str


class OperationContract(StoreSuite):
    """`run` and `arun` carry out every operation, and do what the methods do."""

    def test_an_operation_does_what_its_method_does(self, store: SessionStore) -> None:
        """Each gives what the method of the same meaning gives."""
        made = store.run(Create("s", [said("a", "a")], "helper", "alice", {"title": "T"}))
        assert made == store.get("s")
        assert store.run(Append("s", [said("b", "b"), said("c", "c")])) == 2
        assert store.run(Get("s", 1)) == store.get("s", limit=1)
        assert store.run(GetMessages("s", before="b")) == made.messages
        store.run(ReplaceMessage("s", said("B", "b")))
        assert store.run(DeleteMessages("s", ["a", "x"])) == ["a"]
        assert store.run(Update("s", metadata={"title": "U"})).metadata == {"title": "U"}
        assert [m.content for m in store.get_messages("s")] == ["B", "c"]
        assert store.run(Fork("s", "t", "b")) == store.list_sessions(limit=1).sessions[0]
        assert store.run(Delete("t")) is True
        assert store.run(Rewind("s", "b")) == ["c"]
        assert store.run(Rewind("s", None)) == ["b"]
        assert store.run(ListSessions("helper")) == store.list_sessions(agent_id="helper")
        assert store.run(Ping()) is None
        assert store.run(Setup()) is None
        assert store.run(Delete("s")) is True
        assert store.get("s") is None

    def test_an_operation_may_be_run_again(self, store: SessionStore) -> None:
        """It is a value: to run it changes nothing in it, and an append is done once."""
        append = Append("s", [said("a", "a")], user_id="alice")
        assert [store.run(append), store.run(append)] == [1, 0]
        with pytest.raises(SessionAccessError):
            store.run(Append("s", [said("b", "b")], user_id="eve"))

    def test_an_operation_that_it_does_not_know_is_refused(self, store: SessionStore) -> None:
        """By name, and as what to try again does not help."""
        with pytest.raises(SessionStoreError, match="_Unknown") as caught:
            store.run(_Unknown("s"))
        assert not isinstance(caught.value, StoreUnavailableError)

    @pytest.mark.parametrize("given", [Append, "Append", None, []], ids=repr)
    def test_what_is_no_operation_is_refused(self, store: SessionStore, given: object) -> None:
        """As an argument of the wrong type."""
        with pytest.raises(InvalidTypeError, match="run takes an operation"):
            store.run(given)  # type: ignore[call-overload]
