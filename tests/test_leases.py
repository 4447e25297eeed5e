"""A lease and its store: who is interrupted leaves it held by nobody, and who was not answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessionstore import InMemorySessionStore, SessionLeasedError, StoreTimeoutError
from sessionstore.operations import AcquireLease, Operation, ReleaseLease


class Unanswered(InMemorySessionStore):
    """Does as it is told, or does not, and raises an error in place of its next answers."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[tuple[type[Operation[Any]], bool, Callable[[], BaseException]]] = []

    def run(self, operation: Any) -> Any:
        if self.errors and type(operation) is self.errors[0][0]:
            _, is_done, error = self.errors.pop(0)
            if is_done:
                super().run(operation)
            raise error()
        return super().run(operation)

    async def arun(self, operation: Any) -> Any:
        return self.run(operation)


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_lease_is_given_back_though_ctrl_c_comes_as_it_is(
    kind: type[BaseException], is_done: bool
) -> None:
    store = Unanswered()
    store.errors = [(ReleaseLease, is_done, kind)]
    with pytest.raises(kind), store.lease("s", seconds=600):
        pass
    assert store.errors == []
    with store.lease("s"):
        pass


@pytest.mark.parametrize("is_done", [True, False])
def test_who_was_not_answered_may_enter_the_same_lease_again(is_done: bool) -> None:
    store = Unanswered()
    store.errors = [(AcquireLease, is_done, StoreTimeoutError)]
    lease = store.lease("s", seconds=600)
    with pytest.raises(StoreTimeoutError):
        lease.__enter__()
    with lease:
        tokens = {lease.token}
        with pytest.raises(SessionLeasedError):
            store.lease("s").__enter__()
    with lease:  # given back in between: another lease
        tokens.add(lease.token)
    assert len(tokens) == 2
