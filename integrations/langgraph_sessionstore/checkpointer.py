"""`FallbackCheckpointer`: graphs go on when the checkpointer's database is down."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from langgraph_sessionstore import listing, reading, writing
from langgraph_sessionstore.arguments import ListArguments, PutArguments, WritesArguments
from langgraph_sessionstore.configs import thread_of
from langgraph_sessionstore.core import Core, JournalRequest, SaverFlow
from langgraph_sessionstore.gate import Gate
from langgraph_sessionstore.options import check_saver_options
from langgraph_sessionstore.outages import is_outage as tells_outage
from langgraph_sessionstore.primary import SaverStore, asking, original
from langgraph_sessionstore.recovering import RecoveringSaver
from langgraph_sessionstore.requests import SaverRequest
from langgraph_sessionstore.scope import ScopedStore
from sessionstore import FallbackSessionStore, SessionStore, StoreUnavailableError
from sessionstore.fallback.options import opened
from sessionstore.flow import aplay, play

__all__ = ["FallbackCheckpointer"]

T = TypeVar("T")


class FallbackCheckpointer(RecoveringSaver):
    """A checkpointer that goes on when its primary is down, and replays what was put meanwhile.

    While the primary answers, everything is done there, and what the threads in use need to go on
    is kept in memory, without a copy of what the graphs hold and without encoding it. When the
    primary is away, the call that meets this is answered by the fallback, and so are those after
    it: graphs run, stop at interrupts, are resumed and are updated, with subgraphs and parallel
    nodes. Each put is one append to a journal in the fallback store; with a file there it survives
    a crash. One caller at a time tries the primary again, in growing intervals; when it is back, a
    thread's calls are replayed in order before anything else of that thread is done.

    *Reads* in an outage give what is known of a thread: its latest checkpoint, and what was put in
    the outage. A thread never seen is empty, unless ``unknown="raise"``. An older checkpoint that
    is asked for by its id raises `OutageError`.

    *Writes* are replayed once, in order; checkpoint ids, and the places of a task's writes, make a
    repeated one harmless. What others have put on the same thread meanwhile stays: both lines are
    kept, the newest checkpoint is the latest, and the log says so. What the primary refuses though
    it is there is set aside in `rejected`.

    *Refused* in an outage, with `OutageError`: ``copy_thread``, ``prune``, ``delete_for_runs``,
    ``get_delta_channel_history``, and threads with delta channels, which store differences.

    What the primary does not implement raises `NotImplementedError`, as it does there: with a saver
    that is only sync, use the graph's sync methods. A saver that holds one connection, and not a
    pool, can't come back when that is broken: give it a pool. How long a call may wait for the
    primary is the primary's to say, by its driver's timeouts, or is ``timeout``.

    Values that a graph holds are taken as they are when they are put. Whoever changes one in place,
    as LangGraph does not allow, changes what an outage begins with.

    Example:
        >>> from langgraph.checkpoint.memory import InMemorySaver
        >>> from langgraph_sessionstore import FallbackCheckpointer
        >>> with FallbackCheckpointer(InMemorySaver()) as checkpointer:
        ...     checkpointer.is_degraded()
        False

    Args:
        primary: The checkpointer. It is its owner's to close.
        fallback: Where the journal is: ``"in-memory"``, a URL as for `open_store`, or a store,
            which is closed with this checkpointer.
        on_fallback: Called once an outage, with an error whose ``__cause__`` is the one that began
            it.
        on_recover: Called once an outage, when the primary is back.
        retry_after: How long after a failure the primary is tried again, in seconds. The time
            doubles with each try, up to ``retry_cap``.
        retry_cap: The longest time between two tries, in seconds.
        max_pending: How many calls may wait in the journal.
        max_threads: Of how many threads, the last used ones, something is known.
        unknown: What a thread never seen is in an outage: ``"empty"``, or ``"raise"`` an
            `OutageError`, for those who would rather stop than forget.
        is_outage: Tells whether an error of the primary is an outage; see
            `langgraph_sessionstore.is_outage`, which it is by default.
        timeout: How long a call waits for the primary, in seconds, for a primary whose driver knows
            no timeout of its own: a sync call is made in another thread then, a history is read as
            a whole, and a call that is late goes on alone. What it would undo waits for its end in
            the journal: a deletion for a late put, all that writes to a thread for a late deletion.
            What copies or prunes has no timeout. ``None`` leaves it to the primary, and costs
            nothing.

    Attributes:
        primary: The checkpointer that it wraps.

    Raises:
        ValueError: A number is below its least value (0 for the times, 1 for the counts),
            ``retry_after`` is above ``retry_cap``, or ``unknown`` or the URL is not valid.
        TypeError: ``primary`` is not a checkpointer, a number is not one, or a callback can't be
            called, or is async.
    """

    def __init__(
        self,
        primary: BaseCheckpointSaver[Any],
        *,
        fallback: SessionStore | str = "in-memory",
        on_fallback: Callable[[StoreUnavailableError], None] | None = None,
        on_recover: Callable[[], None] | None = None,
        retry_after: float = 1.0,
        retry_cap: float = 30.0,
        max_pending: int = 10_000,
        max_threads: int = 1_000,
        unknown: Literal["empty", "raise"] = "empty",
        is_outage: Callable[[Exception], bool] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Wrap the primary, and read what the journal in the fallback holds."""
        check_saver_options(primary, max_threads, unknown, is_outage, timeout)
        super().__init__(serde=primary.serde)
        self.primary: BaseCheckpointSaver[Any] = primary
        away = is_outage or tells_outage
        gate = Gate(primary, away, timeout)
        saver = SaverStore(primary, gate)
        journal = FallbackSessionStore(
            saver,
            fallback=ScopedStore(opened(fallback)),
            on_fallback=on_fallback,
            on_recover=on_recover,
            retry_after=retry_after,
            retry_cap=retry_cap,
            max_pending=max_pending,
            max_sessions=max_threads,
            max_messages=1,
        )
        self._core = Core(saver, journal, gate, max_threads, retry_after, raises=unknown == "raise")

    def __repr__(self) -> str:
        """Tell the primary, and how things stand."""
        state = "degraded" if self.is_degraded() else "healthy"
        pending = self._core.journal.stats().pending
        return f"FallbackCheckpointer({type(self.primary).__name__}, {state}, <{pending} pending>)"

    # -- What the primary says of itself ----------------------------------------------------------

    @property
    def config_specs(self) -> list[Any]:
        """The configuration options of the primary."""
        return self.primary.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Make a channel's next version, as the primary does."""
        return self.primary.get_next_version(current, channel)

    def with_allowlist(
        self, extra_allowlist: Collection[tuple[str, ...]]
    ) -> BaseCheckpointSaver[Any]:
        """Give a clone whose serializer allows more; it shares the circuit and the journal."""
        primary = self.primary.with_allowlist(extra_allowlist)
        if primary is self.primary:
            return self
        clone = copy.copy(self)
        clone.primary, clone.serde = primary, primary.serde
        # What waits may be of any of the graphs: it is decoded with all that they allow.
        saver = self._core.saver
        saver.saver = saver.saver.with_allowlist(extra_allowlist)
        return clone

    # -- Checkpoints ------------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read one checkpoint: the one that the config names, or the latest.

        Raises:
            OutageError: The primary is away, and it can't be told.
        """
        return self._play("get_tuple", reading.get_tuple(self._core, self.serde, config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Async twin of `get_tuple`."""
        return await self._aplay("get_tuple", reading.get_tuple(self._core, self.serde, config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Read checkpoints, the newest first; in an outage those that are known.

        Raises:
            OutageError: The primary went away in the middle.
        """
        arguments = ListArguments(config, filter, before, limit)
        asked = listing.Listing(self._core, self.serde, arguments)
        with self._core.calls.counted("list"):
            if play(asked.begin(), self._send):
                yield from asked.guarded(asked.found(self.primary, self._core.gate.timeout))
                if asked.error is None:
                    return
                play(asked.fail(), self._send)
            yield from asked.known()

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Async twin of `list`."""
        arguments = ListArguments(config, filter, before, limit)
        asked = listing.Listing(self._core, self.serde, arguments)
        with self._core.calls.counted("list"):
            if await aplay(asked.begin(), self._asend):
                ask = asked.afound(self.primary, self._core.gate.timeout)
                async with aclosing(asked.aguarded(ask)) as found:
                    async for each in found:
                        yield each
                if asked.error is None:
                    return
                await aplay(asked.fail(), self._asend)
            for each in asked.known():
                yield each

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint.

        Raises:
            OutageError: The primary is away, and the thread can't go on without it.
            StoreUnavailableError: The primary is away, and the journal is full or fails.
        """
        asked = PutArguments(config, checkpoint, metadata, new_versions)
        return self._play("put", writing.put(self._core, self.serde, asked))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Async twin of `put`."""
        asked = PutArguments(config, checkpoint, metadata, new_versions)
        return await self._aplay("put", writing.put(self._core, self.serde, asked))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write what a task has written, beside the checkpoint that it began with.

        Raises:
            OutageError: As of `put`.
            StoreUnavailableError: As of `put`.
        """
        asked = WritesArguments(config, writes, task_id, task_path)
        self._play("put_writes", writing.put_writes(self._core, self.serde, asked))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Async twin of `put_writes`."""
        asked = WritesArguments(config, writes, task_id, task_path)
        await self._aplay("put_writes", writing.put_writes(self._core, self.serde, asked))

    # -- Threads ----------------------------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread; in an outage the primary's part is deleted when it is back.

        Not so where others have gone on with the thread since: then nothing is deleted, what they
        have put is there, and the call is in `rejected`.

        Raises:
            StoreUnavailableError: The primary is away, and the journal is full or fails.
        """
        self._play("delete_thread", writing.delete_thread(self._core, self.serde, thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Async twin of `delete_thread`."""
        await self._aplay("delete_thread", writing.delete_thread(self._core, self.serde, thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete what some runs have put.

        Raises:
            OutageError: The primary is away.
        """
        self._play("delete_for_runs", reading.upkeep(self._core, None, "delete_for_runs", run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Async twin of `delete_for_runs`."""
        await self._aplay(
            "delete_for_runs", reading.upkeep(self._core, None, "delete_for_runs", run_ids)
        )

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread.

        Raises:
            OutageError: The primary is away.
        """
        threads = source_thread_id, target_thread_id
        self._play("copy_thread", reading.upkeep(self._core, threads, "copy_thread", *threads))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Async twin of `copy_thread`."""
        threads = source_thread_id, target_thread_id
        await self._aplay(
            "copy_thread", reading.upkeep(self._core, threads, "copy_thread", *threads)
        )

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the older checkpoints of some threads, or all of them.

        Raises:
            OutageError: The primary is away.
        """
        self._play(
            "prune", reading.upkeep(self._core, thread_ids, "prune", thread_ids, strategy=strategy)
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Async twin of `prune`."""
        await self._aplay(
            "prune", reading.upkeep(self._core, thread_ids, "prune", thread_ids, strategy=strategy)
        )

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Read what channels are rebuilt from that are stored as differences.

        Raises:
            OutageError: The primary is away.
        """
        named = {"config": config, "channels": channels}
        method = "get_delta_channel_history"
        history: Mapping[str, Any] = self._play(
            method, reading.carried(self._core, [thread_of(config)], method, **named)
        )
        return history

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Async twin of `get_delta_channel_history`."""
        named = {"config": config, "channels": channels}
        method = "get_delta_channel_history"
        history: Mapping[str, Any] = await self._aplay(
            method, reading.carried(self._core, [thread_of(config)], method, **named)
        )
        return history

    # -- Carrying out -----------------------------------------------------------------------------

    def _play(self, method: str, flow: SaverFlow[T]) -> T:
        with self._core.calls.counted(method):
            return play(flow, self._send)

    async def _aplay(self, method: str, flow: SaverFlow[T]) -> T:
        with self._core.calls.counted(method):
            return await aplay(flow, self._asend)

    def _send(self, request: SaverRequest | JournalRequest) -> Any:
        if isinstance(request, SaverRequest):
            gate = self._core.gate
            return gate.send(self.primary, request, gate.timeout)
        with asking(request.error, request.reading), original():
            return self._core.journal.run(request.operation)

    async def _asend(self, request: SaverRequest | JournalRequest) -> Any:
        if isinstance(request, SaverRequest):
            gate = self._core.gate
            return await gate.asend(self.primary, request, gate.timeout)
        with asking(request.error, request.reading), original():
            return await self._core.journal.arun(request.operation)
