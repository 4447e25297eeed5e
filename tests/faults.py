"""A store that fails on command: the only way to place a fault exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sessionstore import SessionStore, StoreUnavailableError
from sessionstore.flow import Flow

T = TypeVar("T")
_FLOWS = (
    "_create",
    "_get",
    "_get_messages",
    "_append_messages",
    "_replace_message",
    "_delete_messages",
    "_update",
    "_delete",
    "_list_sessions",
    "_prune_expired",
    "_ping",
)


class FaultyStore(SessionStore):
    """Passes all on to another store, unless it is told to fail.

    ``fault`` is asked before each request: ``None`` lets it pass, ``"down"`` fails before it is
    done, ``"lost"`` does it and loses the answer.
    """

    def __init__(self, inner: SessionStore) -> None:
        self.inner = inner
        self.fault: Callable[[], str | None] = lambda: None
        self.requests = 0

    def __repr__(self) -> str:
        return f"FaultyStore({self.inner!r})"

    def go_down(self) -> None:
        self.fault = lambda: "down"

    def lose_answers(self) -> None:
        self.fault = lambda: "lost"

    def come_back(self) -> None:
        self.fault = lambda: None

    def close(self) -> None:
        self.inner.close()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _play(self, flow: Flow[T]) -> T:
        self.requests += 1
        fault = self.fault()
        if fault == "down":
            raise StoreUnavailableError("the store is down")
        result = self.inner._play(flow)
        if fault == "lost":
            raise StoreUnavailableError("the answer was lost")
        return result

    async def _aplay(self, flow: Flow[T]) -> T:
        self.requests += 1
        fault = self.fault()
        if fault == "down":
            raise StoreUnavailableError("the store is down")
        result = await self.inner._aplay(flow)
        if fault == "lost":
            raise StoreUnavailableError("the answer was lost")
        return result


def _passed_on(name: str) -> Callable[..., Flow[object]]:
    def flow(self: FaultyStore, *args: object, **kwargs: object) -> Flow[object]:
        return getattr(self.inner, name)(*args, **kwargs)

    return flow


for _name in _FLOWS:
    setattr(FaultyStore, _name, _passed_on(_name))
FaultyStore.__abstractmethods__ = frozenset()
