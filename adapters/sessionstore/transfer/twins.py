"""What the flows of erasing and exporting ask for: of a store, and of a LangGraph checkpointer.

No checkpointer is imported: any that has LangGraph's public methods is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sessionstore.flow import Flow
from sessionstore.transfer.requests import Ask, Call

__all__ = ["Listed", "Method", "Request", "TwinFlow", "asend", "send"]

T = TypeVar("T")


class Method(NamedTuple):
    """A method that has an async twin, with an ``a`` before its name.

    Attributes:
        of: Whose: a store's, or a checkpointer's.
        name: Its name.
        args: What it is given.
        named: What it is given by name.
    """

    of: Any
    name: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = MappingProxyType({})


class Listed(NamedTuple):
    """The checkpoints of a checkpointer; the reply is a list of what is read of each.

    Attributes:
        of: The checkpointer.
        config: Names the thread; ``None`` for all.
        filter: What the metadata must hold.
        read: Gives what is wanted of a checkpoint, so that not all of them are held.
    """

    of: Any
    config: dict[str, Any] | None
    filter: dict[str, Any] | None
    read: Callable[[Any], Any]

    @property
    def named(self) -> dict[str, Any]:
        """What the checkpointer's method is given by name."""
        return {"filter": self.filter}


Request: TypeAlias = Ask | Call | Method | Listed
TwinFlow: TypeAlias = Flow[Request, Any, T]
"""A flow of such requests."""


def send(request: Request) -> Any:
    """Carry out a request."""
    if isinstance(request, Ask):
        return request.store.run(request.operation)
    if isinstance(request, Call):
        return request.work()
    if isinstance(request, Method):
        return getattr(request.of, request.name)(*request.args, **request.named)
    return [request.read(each) for each in request.of.list(request.config, **request.named)]


async def asend(request: Request) -> Any:
    """Async twin of `send`; a checkpointer that is only sync is asked in a thread."""
    if isinstance(request, Ask):
        return await request.store.arun(request.operation)
    if isinstance(request, Call):
        return await asyncio.to_thread(request.work)
    try:
        return await _asked(request)
    except NotImplementedError:
        return await asyncio.to_thread(send, request)


async def _asked(request: Method | Listed) -> Any:
    if isinstance(request, Method):
        return await getattr(request.of, f"a{request.name}")(*request.args, **request.named)
    found = request.of.alist(request.config, **request.named)
    return [request.read(each) async for each in found]
