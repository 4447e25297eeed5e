"""Reading checkpoints: from the primary, or as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.configs import key_of, thread_of
from langgraph_sessionstore.core import Core, JournalRequest, SaverFlow
from langgraph_sessionstore.primary import NOBODY, Reading
from langgraph_sessionstore.requests import SaverRequest
from sessionstore import OutageError
from sessionstore.operations import Get

__all__ = ["carried", "get_tuple", "upkeep"]


def get_tuple(
    core: Core, serde: SerializerProtocol, config: RunnableConfig
) -> SaverFlow[CheckpointTuple | None]:
    """Read one checkpoint."""
    thread_id = thread_of(config)
    stamp = core.copy.stamp(thread_id)
    if core.is_clear(thread_id):
        try:
            answer: CheckpointTuple | None = yield SaverRequest("get_tuple", (config,))
        except Exception as error:
            if not core.gate.is_away(error):
                raise
            yield from core.note(thread_id, error)
        else:
            core.remember(thread_id, core.copy.learn, config, answer, stamp)
            yield from core.keep_up()
            return answer
    else:
        reading = Reading(config)
        yield JournalRequest(Get(key_of(thread_id), 0), reading=reading)
        if reading.is_answered:
            core.remember(thread_id, core.copy.learn, config, reading.answer, stamp)
            return reading.answer
    return core.known(thread_id).read(serde, config)


def carried(
    core: Core, threads: Sequence[str] | None, method: str, *args: Any, **kwargs: Any
) -> SaverFlow[Any]:
    """Have the primary alone carry out what can't be promised in an outage.

    Args:
        core: What the checkpointer's clones share.
        threads: The threads that it is about: what waits for them is replayed before. ``None`` for
            any.
        method: The method's name.
        args: Its arguments.
        kwargs: And the others.

    Raises:
        OutageError: The primary is away.
    """
    if not (yield from _settled(core, threads)):
        raise OutageError(f"{method} can't be done until the checkpointer's primary is back")
    try:
        return (yield SaverRequest(method, args, kwargs))
    except Exception as error:
        if not core.gate.is_away(error):
            raise
        yield from core.note(threads[0] if threads else NOBODY, error)
        raise OutageError(
            f"{method} can't be done until the checkpointer's primary is back"
        ) from error


def _settled(core: Core, threads: Sequence[str] | None) -> SaverFlow[bool]:
    if threads is None:
        return (yield from core.settle_all())
    for thread_id in threads:
        yield from core.settle(thread_id)
    if core.journal.is_degraded():
        yield from core.settle(NOBODY)
    return all(map(core.is_clear, threads)) and not core.journal.is_degraded()


def upkeep(
    core: Core, threads: Sequence[str] | None, method: str, *args: Any, **kwargs: Any
) -> SaverFlow[None]:
    """Have the primary delete or copy, and know no more than it does.

    Args:
        core: What the checkpointer's clones share.
        threads: The threads that it is about; ``None`` for any.
        method: The method's name.
        args: Its arguments.
        kwargs: And the others.
    """
    given = [] if isinstance(threads, str) else threads
    named = None if given is None else [str(each) for each in given]
    try:
        yield from carried(core, named, method, *args, **kwargs)
    finally:
        core.copy.forget(named)
