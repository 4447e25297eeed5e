"""redis-py's `MultiDBClient`: it fails over between databases by itself, and is used as it is.

Its databases, circuits and health checks are the caller's, so that none of ours is made from it. It
is there from redis-py 7 on, and needs a package of its own: it is looked for where it was imported.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from sessionstore._runtime.fork_locks import fork_safe_lock
from sessionstore.errors import SessionStoreError

__all__ = ["asent", "mode_of", "refuse_elsewhere", "refuse_other_mode", "sent"]

_MODULES: dict[Literal["sync", "async"], str] = {
    "sync": "redis.multidb.client",
    "async": "redis.asyncio.multidb.client",
}


def mode_of(client: object) -> Literal["sync", "async"] | None:
    """Tell whether a client is a `MultiDBClient`, and of which mode."""
    for mode, name in _MODULES.items():
        kind = getattr(sys.modules.get(name), "MultiDBClient", None)
        if kind is not None and isinstance(client, kind):
            return mode
    return None


def refuse_other_mode(client: object) -> None:
    """Refuse a call of the mode that a store's client is not of: no other is made from it.

    Args:
        client: The `MultiDBClient`; ``None`` in a process that was forked off the one with it.

    Raises:
        TypeError: The call is of the other mode.
    """
    mode = mode_of(client) or "async"  # a sync one is used in a child, too
    other = _MODULES["async" if mode == "sync" else "sync"].removesuffix(".client")
    raise TypeError(
        f"the MultiDBClient of this store is {mode}: "
        f"call the store's {mode} methods, or give it one of {other}"
    )


def refuse_elsewhere(client: object) -> None:
    """Refuse an async call that is not at home where the store's client is.

    Args:
        client: The `MultiDBClient`; ``None`` in a process that was forked off the one with it.

    Raises:
        TypeError: The client is sync.
        SessionStoreError: It is another event loop's.
    """
    if mode_of(client) == "sync":
        refuse_other_mode(client)
    raise SessionStoreError(
        "an async MultiDBClient serves the event loop of its first use alone: "
        "give each loop, and each forked process, a store with a client of its own"
    )


# One command after the other: its own pipelines are transactions, and raise the first error. It is
# started once: who finds it not started yet would start its health checks, too.


def sent(client: Any, commands: Sequence[Any]) -> list[Any]:
    """Send commands, and give their replies or errors; that of a single one is raised."""
    if not commands:
        return []
    if not client.initialized:
        with _starts.setdefault(client, fork_safe_lock()):
            if not client.initialized:
                client.initialize()
    if len(commands) == 1:
        return [client.execute_command(*commands[0].words, **{NEVER_DECODE: True})]
    replies: list[Any] = []
    for command in commands:
        try:
            replies += sent(client, [command])
        except ResponseError as error:
            replies.append(error)
    return replies


async def asent(client: Any, commands: Sequence[Any]) -> list[Any]:
    """Async twin of `sent`."""
    if not commands:
        return []
    if not client.initialized:
        async with _starts.setdefault(client, asyncio.Lock()):
            if not client.initialized:
                await client.initialize()
    if len(commands) == 1:
        return [await client.execute_command(*commands[0].words, **{NEVER_DECODE: True})]
    replies: list[Any] = []
    for command in commands:
        try:
            replies += await asent(client, [command])
        except ResponseError as error:
            replies.append(error)
    return replies


_starts: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
