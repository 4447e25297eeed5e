"""Writing checkpoints: to the primary, or into the journal."""

from __future__ import annotations

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.arguments import PutArguments, WritesArguments
from langgraph_sessionstore.calls import delete_call, put_call, writes_call
from langgraph_sessionstore.configs import checkpoint_id_of, config_of, namespace_of, thread_of
from langgraph_sessionstore.core import Core, SaverFlow
from langgraph_sessionstore.held import is_delta
from langgraph_sessionstore.requests import SaverRequest
from sessionstore import OutageError

__all__ = ["delete_thread", "put", "put_writes"]


def put(core: Core, serde: SerializerProtocol, asked: PutArguments) -> SaverFlow[RunnableConfig]:
    """Write a checkpoint."""
    thread_id, error = thread_of(asked.config), None
    if core.is_clear(thread_id):
        try:
            answer: RunnableConfig = yield SaverRequest("put", asked)
        except Exception as raised:
            if not core.gate.is_away(raised):
                raise
            error = raised
        else:
            core.remember(thread_id, core.copy.put, asked)
            yield from core.keep_known(serde, thread_id, asked.checkpoint["id"])
            yield from core.keep_up()
            return answer
    delta = is_delta(asked.checkpoint, asked.metadata)
    yield from _require_promise(core, thread_id, error, delta=delta)
    yield from core.write_down(serde, put_call(serde, asked), error)
    return config_of(thread_id, namespace_of(asked.config), asked.checkpoint["id"])


def put_writes(core: Core, serde: SerializerProtocol, asked: WritesArguments) -> SaverFlow[None]:
    """Write what a task has written."""
    thread_id, error = thread_of(asked.config), None
    if core.is_clear(thread_id):
        try:
            yield SaverRequest("put_writes", asked)
        except Exception as raised:
            if not core.gate.is_away(raised):
                raise
            error = raised
        else:
            core.remember(thread_id, core.copy.put_writes, asked)
            yield from core.keep_known(serde, thread_id, checkpoint_id_of(asked.config) or "")
            yield from core.keep_up()
            return
    yield from _require_promise(core, thread_id, error)
    yield from core.write_down(serde, writes_call(serde, asked), error)


def delete_thread(core: Core, serde: SerializerProtocol, thread_id: str) -> SaverFlow[None]:
    """Delete a thread."""
    error = None
    if core.is_clear(str(thread_id)):
        try:
            yield SaverRequest("delete_thread", (thread_id,))
        except Exception as raised:
            if not core.gate.is_away(raised):
                raise
            error = raised
        else:
            core.copy.delete(str(thread_id))
            yield from core.keep_up()
            return
    yield from core.write_down(serde, delete_call(str(thread_id)), error)


def _require_promise(
    core: Core, thread_id: str, error: Exception | None, *, delta: bool = False
) -> SaverFlow[None]:
    """Refuse what can't be promised to get to the primary as it is meant.

    Raises:
        OutageError: See there.
    """
    delta = delta or core.copy.is_delta(thread_id)
    if not (delta or core.copy.is_unknown(thread_id)):
        return
    if error is not None:
        yield from core.note(thread_id, error)
    why = "it stores channels as differences" if delta else "it was not seen before"
    raise OutageError(
        f"this thread can't go on until the checkpointer's primary is back: {why}"
    ) from error
