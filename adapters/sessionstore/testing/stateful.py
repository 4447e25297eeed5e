"""Any sequence of operations, on a store and on a plain model of one: both say the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from sessionstore.errors import SessionLeasedError, SessionStoreError
from sessionstore.models import SessionMessage, new_id
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    DeleteMessages,
    Fence,
    Get,
    GetMessages,
    Operation,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Rewind,
    Update,
)
from sessionstore.store import SessionStore
from sessionstore.testing.model import Model, visible
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import stored
from sessionstore.testing.strategies import MODEST, json_objects, texts

__all__ = ["StatefulContract"]


class StatefulContract(StoreSuite):
    """A store behaves as a few dicts and lists would."""

    def test_any_operations_agree_with_the_model(self, store: SessionStore) -> None:
        """Whatever hypothesis does to both, both answer the same."""
        given = {"store": store, "has_leases": self.supports_leases}
        both = type("Both", (_Both,), given)
        run_state_machine_as_test(both, settings=MODEST)


def _outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return visible(call(*args, **kwargs))
    except SessionStoreError as error:
        return type(error)


_sessions = st.sampled_from(["a", "A", "b:{c}", "\0"])
_users = st.sampled_from([None, None, "u", "U"])
_agents = st.sampled_from(["x", "y"])
_lasts = st.sampled_from([0, 0, 1, 3])
_Cut: TypeAlias = tuple[int | None, int | None]
_cuts = st.tuples(*[st.none() | st.integers(0, 3)] * 2)
_limits = st.none() | st.integers(0, 6)
_message_ids = st.sampled_from("abcdefgh")
_roles = st.sampled_from(["user", "assistant", "system", "system", "tool"])
_one_message = st.builds(SessionMessage, role=_roles, content=texts, id=_message_ids)
_batches = st.lists(_one_message, max_size=5)
_changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | json_objects)
_holders = st.sampled_from(["h", "H"])
_tokens = st.sampled_from([0, 0, 1, 2])  # so many before the newest
_LONG = 3600.0
_seen = st.sampled_from([None, None, None, 0, 0, 1, -1])

_Part: TypeAlias = tuple[str, Callable[..., Operation[Any]], dict[str, Any]]


def _part(method: str, kind: Callable[..., Operation[Any]], **given: Any) -> _Part:
    return method, partial(kind, **given), {**_DEFAULTS.get(method, {}), **given}


_DEFAULTS: dict[str, dict[str, Any]] = {
    "create": {"agent_id": "default"},
    "append_messages": {"agent_id": "default", "expected_version": None},
    "delete_messages": {"expected_version": None},
    "rewind": {"expected_version": None},
    "update": {"messages": None, "metadata": None, "expected_version": None},
    "get_messages": {"before": None, "after": None, "keep_system": False},
}
_parts = st.lists(
    st.one_of(
        st.builds(partial(_part, "append_messages", Append), messages=_batches),
        st.builds(partial(_part, "create", Create), messages=_batches, metadata=json_objects),
        st.builds(partial(_part, "replace_message", ReplaceMessage), message=_one_message),
        st.builds(
            partial(_part, "delete_messages", DeleteMessages),
            message_ids=st.lists(_message_ids, max_size=4),
        ),
        st.builds(partial(_part, "rewind", Rewind), to=st.none() | _message_ids),
        st.builds(partial(_part, "update", Update), messages=_batches),
        st.builds(partial(_part, "update", Update), metadata=_changes),
        st.builds(partial(_part, "get", Get), limit=_limits),
        st.builds(
            partial(_part, "get_messages", GetMessages),
            limit=_limits,
            before=st.none() | _message_ids,
        ),
    ),
    min_size=1,
    max_size=4,
)


class _Both(RuleBasedStateMachine):
    """A store and the model, which are asked the same."""

    store: SessionStore
    has_leases: bool

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        # Of each session the tokens, as the store has given them.
        self.tokens: dict[str, list[int]] = {}
        # One storage serves all examples: each has ids of its own.
        self.own = new_id()

    def agree(self, method: str, session_id: str, *args: Any, **kwargs: Any) -> None:
        """Ask both, and compare their answers, and the session after it."""
        kwargs = {**kwargs, "user_id": self.owned(kwargs.get("user_id"))}
        session_id = f"{session_id}{self.own}"
        expected = _outcome(getattr(self.model, method), session_id, *args, **kwargs)
        assert _outcome(getattr(self.store, method), session_id, *args, **kwargs) == expected
        now = self.model.get(session_id, limit=None, user_id=None)
        assert visible(self.store.get(session_id)) == now

    def owned(self, name: str | None) -> str | None:
        """Make a user's or an agent's name one of this example."""
        return None if name is None else f"{name}{self.own}"

    def version(self, session_id: str, seen: int | None) -> int | None:
        """Give the version expected: so far from the true one."""
        return (
            None if seen is None else max(0, self.model.version(f"{session_id}{self.own}") + seen)
        )

    @rule(id=_sessions, agent=_agents, user=_users, batch=_batches, metadata=json_objects)
    def create(
        self,
        id: str,
        agent: str,
        user: str | None,
        batch: list[SessionMessage],
        metadata: dict[str, Any],
    ) -> None:
        self.agree(
            "create",
            id,
            agent_id=self.owned(agent),
            user_id=user,
            messages=batch,
            metadata=metadata,
        )

    @rule(id=_sessions, agent=_agents, user=_users, batch=_batches, seen=_seen)
    def append(
        self, id: str, agent: str, user: str | None, batch: list[SessionMessage], seen: int | None
    ) -> None:
        expected = self.version(id, seen)
        self.agree(
            "append_messages",
            id,
            batch,
            agent_id=self.owned(agent),
            user_id=user,
            expected_version=expected,
        )

    @rule(id=_sessions, user=_users, message=_one_message)
    def replace(self, id: str, user: str | None, message: SessionMessage) -> None:
        self.agree("replace_message", id, message, user_id=user)

    @rule(id=_sessions, user=_users, names=st.lists(_message_ids, max_size=4), seen=_seen)
    def delete_messages(
        self, id: str, user: str | None, names: list[str], seen: int | None
    ) -> None:
        expected = self.version(id, seen)
        self.agree("delete_messages", id, names, user_id=user, expected_version=expected)

    @rule(id=_sessions, user=_users, to=st.none() | _message_ids, seen=_seen)
    def rewind(self, id: str, user: str | None, to: str | None, seen: int | None) -> None:
        expected = self.version(id, seen)
        self.agree("rewind", id, to=to, user_id=user, expected_version=expected)

    @rule(id=_sessions, user=_users, batch=_batches, seen=_seen)
    def update_messages(
        self, id: str, user: str | None, batch: list[SessionMessage], seen: int | None
    ) -> None:
        self.update(id, user, batch, None, seen)

    @rule(id=_sessions, user=_users, changes=_changes, seen=_seen)
    def update_metadata(
        self, id: str, user: str | None, changes: dict[str, Any], seen: int | None
    ) -> None:
        self.update(id, user, None, changes, seen)

    @rule(id=_sessions, user=_users, batch=_batches, changes=_changes, seen=_seen)
    def update(
        self,
        id: str,
        user: str | None,
        batch: list[SessionMessage] | None,
        changes: dict[str, Any] | None,
        seen: int | None,
    ) -> None:
        expected = self.version(id, seen)
        self.agree(
            "update", id, messages=batch, metadata=changes, user_id=user, expected_version=expected
        )

    @rule(id=_sessions, user=_users, parts=_parts)
    def several(self, id: str, user: str | None, parts: list[_Part]) -> None:
        """Ask both for several operations at once."""
        self.run_both(f"{id}{self.own}", self.owned(user), parts)

    @precondition(lambda self: self.has_leases)
    @rule(id=_sessions, user=_users, parts=_parts, place=st.integers(0, 4), back=_tokens)
    def several_under_a_lease(
        self, id: str, user: str | None, parts: list[_Part], place: int, back: int
    ) -> None:
        """Ask both for several operations, if a lease is held: which is seen first is all one."""
        session_id = f"{id}{self.own}"
        token, known = self.token(session_id, back)
        fence: _Part = ("fence", partial(Fence, token=known), {"token": token})
        lost = _outcome(self.model.fence, session_id, token=token, user_id=None)
        owner = self.owned(user)
        also = [] if lost is None else self.refusals(session_id, owner, parts)
        self.run_both(session_id, owner, [*parts[:place], fence, *parts[place:]], *also)

    def refusals(
        self, session_id: str, owner: str | None, parts: list[_Part]
    ) -> list[type[SessionStoreError]]:
        """Give the errors, one of which refuses several operations under a lost lease."""
        model = copy.deepcopy(self.model)
        try:
            for method, _, arguments in parts:
                getattr(model, method)(session_id, user_id=owner, **arguments)
        except SessionStoreError as error:
            return [SessionLeasedError, type(error)]
        return [SessionLeasedError]

    def run_both(
        self,
        session_id: str,
        owner: str | None,
        parts: list[_Part],
        *also: type[SessionStoreError],
    ) -> None:
        """Ask both for several operations, which the store may refuse for other reasons, too."""
        asked = [operation(session_id, user_id=owner) for _, operation, _ in parts]
        before, expected = copy.deepcopy(self.model), []
        try:
            for method, _, arguments in parts:
                answer = getattr(self.model, method)(session_id, user_id=owner, **arguments)
                expected.append(visible(copy.deepcopy(answer)))
        except SessionStoreError as error:
            self.model = before
            with pytest.raises((type(error), *also)):
                self.store.run(asked)
        else:
            assert [visible(answer) for answer in self.store.run(asked)] == expected
        now = self.model.get(session_id, limit=None, user_id=None)
        assert visible(self.store.get(session_id)) == now

    @rule(
        id=_sessions,
        new=_sessions,
        at=st.none() | _message_ids,
        user=_users,
        changes=st.none() | _changes,
    )
    def fork(
        self, id: str, new: str, at: str | None, user: str | None, changes: dict[str, Any] | None
    ) -> None:
        new_session_id = f"{new}{self.own}"
        self.agree("fork", id, new_session_id, at=at, user_id=user, metadata=changes)
        now = self.model.get(new_session_id, limit=None, user_id=None)
        assert visible(self.store.get(new_session_id)) == now

    @rule(
        id=_sessions,
        user=_users,
        picked=st.tuples(*[st.sets(_message_ids, max_size=most) for most in (4, 1)]),
        keys=st.sets(st.sampled_from("abc"), max_size=2),
        word=texts,
    )
    def reseal(
        self,
        id: str,
        user: str | None,
        picked: tuple[set[str], set[str]],
        keys: set[str],
        word: str,
    ) -> None:
        """Swap messages that are there, and some that say something else by now."""
        session_id, owner = f"{id}{self.own}", self.owned(user)
        messages, metadata = self.model.held(session_id)
        names, stale = picked
        old = [message for message in messages if message.id in names]
        old = [replace(m, content="stale") if m.id in stale else m for m in old]
        given: dict[str, Any] = {
            "old": old,
            "new": [replace(message, content=f"{word} {message.id}") for message in old],
            "old_metadata": {key: metadata.get(key) for key in keys},
            "new_metadata": dict.fromkeys(keys, word),
            "user_id": owner,
        }
        expected = _outcome(self.model.reseal, session_id, **given)
        assert _outcome(self.store.run, Reseal(session_id, **given)) == expected
        now = self.model.get(session_id, limit=None, user_id=None)
        assert visible(self.store.get(session_id)) == now

    def token(self, session_id: str, back: int) -> tuple[int, int]:
        """Give the token of a lease as the model has it, and as the store has: 0 for none."""
        given = self.tokens.get(session_id, [])
        count = max(0, len(given) - back)
        return count, given[count - 1] if count else 0

    @precondition(lambda self: self.has_leases)
    @rule(id=_sessions, user=_users, holder=_holders, take_over=st.booleans())
    def acquire(self, id: str, user: str | None, holder: str, take_over: bool) -> None:
        """Have both take a lease that does not run out: each new token is above all before."""
        session_id, owner = f"{id}{self.own}", self.owned(user)
        asked = AcquireLease(session_id, _LONG, owner, take_over, holder)
        token = _outcome(
            self.model.acquire, session_id, user_id=owner, holder=holder, take_over=take_over
        )
        given = self.tokens.setdefault(session_id, [])
        found = _outcome(self.store.run, asked)
        if not isinstance(token, int):
            assert found == token
        elif token <= len(given):
            assert found == given[-1]
        else:
            assert found > max(given, default=0)
            given.append(found)

    @precondition(lambda self: self.has_leases)
    @rule(id=_sessions, back=_tokens)
    def renew(self, id: str, back: int) -> None:
        session_id = f"{id}{self.own}"
        token, known = self.token(session_id, back)
        for asked in (RenewLease(session_id, known, _LONG), Fence(session_id, known)):
            expected = _outcome(self.model.fence, session_id, token=token, user_id=None)
            assert _outcome(self.store.run, asked) == expected

    @precondition(lambda self: self.has_leases)
    @rule(id=_sessions, holder=_holders)
    def release(self, id: str, holder: str) -> None:
        session_id = f"{id}{self.own}"
        expected = self.model.release(session_id, holder=holder)
        assert self.store.run(ReleaseLease(session_id, holder)) is expected

    @rule(id=_sessions, user=_users)
    def delete(self, id: str, user: str | None) -> None:
        self.agree("delete", id, user_id=user)

    @rule(id=_sessions, user=_users, limit=_limits)
    def get(self, id: str, user: str | None, limit: int | None) -> None:
        self.agree("get", id, limit=limit, user_id=user)

    @rule(
        id=_sessions,
        user=_users,
        limit=_limits,
        before=st.none() | _message_ids,
        system=st.booleans(),
    )
    def read(
        self, id: str, user: str | None, limit: int | None, before: str | None, system: bool
    ) -> None:
        self.read_both(id, limit=limit, before=before, after=None, user_id=user, keep_system=system)

    @rule(
        id=_sessions,
        user=_users,
        limit=_limits,
        after=st.just("") | _message_ids,
        beside=st.sampled_from([{}, {}, {}, {"before": "a"}, {"keep_system": True}]),
    )
    def read_on(
        self, id: str, user: str | None, limit: int | None, after: str, beside: dict[str, Any]
    ) -> None:
        asked = {"before": None, "keep_system": False, **beside}
        self.read_both(id, limit=limit, after=after, user_id=user, **asked)

    def read_both(self, id: str, **asked: Any) -> None:
        """Read from both."""
        self.agree("get_messages", id, **asked)

    @rule(agent=_agents, user=_users, limit=st.integers(1, 3), last=_lasts, cut=_cuts)
    def list_by_agent(self, agent: str, user: str | None, limit: int, last: int, cut: _Cut) -> None:
        self.compare_lists(self.owned(agent), self.owned(user), limit, last, cut)

    @rule(user=st.sampled_from(["u", "U"]), limit=st.integers(1, 3), last=_lasts, cut=_cuts)
    def list_by_user(self, user: str, limit: int, last: int, cut: _Cut) -> None:
        self.compare_lists(None, self.owned(user), limit, last, cut)

    def compare_lists(
        self, agent_id: str | None, user_id: str | None, limit: int, last: int, cut: _Cut
    ) -> None:
        """Page through both, between the times of two sessions on the list."""
        left = self.model.listed(agent_id, user_id, last)
        asked: dict[str, Any] = {"agent_id": agent_id, "user_id": user_id, "last": last}
        first, end = cut
        if end is not None and end < len(left):
            asked["updated_after"] = stored(self.store, left[end]["id"]).updated_at
            left = left[:end]
        if first is not None and first < len(left):
            asked["updated_before"] = stored(self.store, left[first]["id"]).updated_at
            left = left[first + 1 :]
        cursor = None
        while True:
            page = self.store.list_sessions(limit=limit, cursor=cursor, **asked)
            assert visible(page) == left[:limit]
            left, cursor = left[limit:], page.cursor
            assert (cursor is None) == (not left)
            if cursor is None:
                return
