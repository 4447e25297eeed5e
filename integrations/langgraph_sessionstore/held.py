"""What the working copy holds: checkpoints with their writes, encoded when that is needed first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.arguments import WritesArguments
from langgraph_sessionstore.calls import Blob, Put, PutWrites
from langgraph_sessionstore.configs import config_of

__all__ = ["Held", "Value"]

_Ids: TypeAlias = tuple[str, str, str]
"""A thread, a namespace, a checkpoint."""

_DELTA_KEYS = ("counters_since_delta_snapshot", "delta_writes_versioned")
_DELTA_VALUE = "_DeltaSnapshot"


class Value:
    """A value of a graph: as it is, or as the serializer encodes it.

    Args:
        live: The value as it is.
        blob: The value, encoded; ``None`` where that was not needed yet.
    """

    __slots__ = ("_blob", "_live")

    def __init__(self, live: Any = None, blob: Blob | None = None) -> None:
        """Encode nothing yet."""
        self._live = live
        self._blob = blob

    def blob(self, serde: SerializerProtocol) -> Blob:
        """Give it encoded: it is encoded once."""
        if self._blob is None:
            self._blob = serde.dumps_typed(self._live)
        return self._blob

    def load(self, serde: SerializerProtocol) -> Any:
        """Give a copy of the caller's own."""
        return serde.loads_typed(self.blob(serde))


class Write(NamedTuple):
    """What a task has written to a channel.

    Attributes:
        task_id: The task.
        place: Its number among the task's writes; below 0 of special ones.
        channel: The channel.
        value: What was written.
        task_path: The task's path.
    """

    task_id: str
    place: int
    channel: str
    value: Value
    task_path: str

    @property
    def order(self) -> tuple[str, str, int]:
        """Where it comes among the writes of a checkpoint."""
        return self.task_path, self.task_id, self.place

    def as_call(self, serde: SerializerProtocol, nothing: Blob, ids: _Ids) -> PutWrites:
        """Give it as a call of which a journal is to know, and that is not to be replayed."""
        thread_id, namespace, checkpoint_id = ids
        return PutWrites(
            thread_id=thread_id,
            checkpoint_ns=namespace,
            checkpoint_id=checkpoint_id,
            known=True,
            config=nothing,
            channels=[self.channel],
            values=[self.value.blob(serde)],
            indexes=[self.place],
            task_id=self.task_id,
            task_path=self.task_path,
        )


class Held:
    """A checkpoint with what was written to it, or writes whose checkpoint is still on its way.

    Args:
        checkpoint_id: Its id.

    Attributes:
        checkpoint_id: Its id.
        parent_id: The one before it.
        parents: The checkpoints of the graphs above it, by namespace, when it was put.
        ours: It was put by this checkpointer, and not only read.
        is_delta: It is of a thread that stores some channels as differences.
    """

    __slots__ = (
        "_checkpoint",
        "_config",
        "_given",
        "_metadata",
        "_writes",
        "checkpoint_id",
        "is_delta",
        "ours",
        "parent_id",
        "parents",
    )

    def __init__(self, checkpoint_id: str) -> None:
        """Hold nothing of it yet."""
        self.checkpoint_id: str = checkpoint_id
        self.parent_id: str | None = None
        self.parents: dict[str, str] = {}
        self.ours: bool = True
        self.is_delta: bool = False
        self._checkpoint: Value | None = None
        self._metadata: Value | None = None
        self._config: Value | None = None
        self._writes: dict[tuple[str, int], Write] = {}
        self._given: set[str] = set()  # the tasks whose writes a saver gave: their places are not

    @property
    def is_whole(self) -> bool:
        """Whether the checkpoint itself is here."""
        return self._checkpoint is not None

    @property
    def writes(self) -> list[Write]:
        """Its writes, in the order in which they are applied."""
        return sorted(self._writes.values(), key=lambda write: write.order)

    def lacks(self, pending: Sequence[tuple[str, str, Any]]) -> bool:
        """Tell whether a saver gave writes of others with the checkpoint."""
        ours = {(write.task_id, write.channel) for write in self._writes.values()}
        return any((task_id, channel) not in ours for task_id, channel, _ in pending)

    # -- Learning ---------------------------------------------------------------------------------

    def take(self, checkpoint: Any, metadata: Any, parent_id: str | None, *, ours: bool) -> None:
        """Hold a checkpoint as it is, that nobody is to change from now on."""
        values = checkpoint["channel_values"]
        # LangGraph's own channels change their lists in place when the graph goes on.
        copied = {**checkpoint, "channel_values": {k: _own(v) for k, v in values.items()}}
        copied["channel_versions"] = dict(checkpoint["channel_versions"])
        copied["versions_seen"] = {k: dict(v) for k, v in checkpoint["versions_seen"].items()}
        self._checkpoint, self._metadata, self._config = Value(copied), Value(metadata), None
        self.parent_id, self.parents, self.ours = parent_id, metadata.get("parents") or {}, ours
        self.is_delta = is_delta(checkpoint, metadata)

    def take_call(self, call: Put) -> None:
        """Hold a checkpoint as a journal does."""
        self._checkpoint, self._metadata = Value(blob=call.checkpoint), Value(blob=call.metadata)
        self._config = None if call.known else Value(blob=call.config)
        self.parent_id, self.ours = call.parent_id, call.ours

    def take_writes(self, asked: WritesArguments) -> None:
        """Hold writes as they are."""
        for place, (channel, value) in enumerate(asked.writes):
            index = WRITES_IDX_MAP.get(channel, place)
            self._add(Write(asked.task_id, index, channel, Value(_own(value)), asked.task_path))

    def take_pending(self, pending: Sequence[tuple[str, str, Any]]) -> None:
        """Hold the writes that a saver gave with the checkpoint, and no others."""
        places: dict[str, int] = {}
        writes: dict[tuple[str, int], Write] = {}
        for task_id, channel, value in pending:
            index = WRITES_IDX_MAP.get(channel)
            if index is None:
                index = places[task_id] = places.get(task_id, -1) + 1
            writes[task_id, index] = Write(task_id, index, channel, Value(_own(value)), "")
        # In one step each: a reader may have this already.
        self._writes, self._given = writes, set(places)

    def take_writes_call(self, call: PutWrites) -> None:
        """Hold writes as a journal does."""
        indexes = call.indexes or range(len(call.channels))
        for place, channel, blob in zip(indexes, call.channels, call.values, strict=True):
            index = WRITES_IDX_MAP.get(channel, place)
            self._add(Write(call.task_id, index, channel, Value(blob=blob), call.task_path))

    def _add(self, write: Write) -> None:
        # As the savers do: of a task's own writes the first counts, of special ones the last.
        if write.place < 0:
            self._writes[write.task_id, write.place] = write
        elif write.task_id not in self._given:
            self._writes.setdefault((write.task_id, write.place), write)

    # -- Giving -----------------------------------------------------------------------------------

    def metadata(self, serde: SerializerProtocol) -> Any:
        """Give its metadata, with what its config adds to them."""
        assert self._metadata is not None  # noqa: S101 - asked of whole ones only
        metadata = self._metadata.load(serde)
        if self._config is None:
            return metadata
        return get_checkpoint_metadata(self._config.load(serde), metadata)

    def as_tuple(
        self, serde: SerializerProtocol, thread_id: str, namespace: str
    ) -> CheckpointTuple:
        """Give it as a saver would: a copy of the caller's own."""
        assert self._checkpoint is not None  # noqa: S101 - as above
        parent = self.parent_id and config_of(thread_id, namespace, self.parent_id)
        return CheckpointTuple(
            config=config_of(thread_id, namespace, self.checkpoint_id),
            checkpoint=self._checkpoint.load(serde),
            metadata=self.metadata(serde),
            parent_config=parent or None,
            pending_writes=[
                (write.task_id, write.channel, write.value.load(serde)) for write in self.writes
            ],
        )

    def as_calls(
        self, serde: SerializerProtocol, thread_id: str, namespace: str
    ) -> list[Put | PutWrites]:
        """Give it as calls of which a journal is to know, and that are not to be replayed."""
        found: list[Put | PutWrites] = []
        nothing, ids = serde.dumps_typed({}), (thread_id, namespace, self.checkpoint_id)
        if self._checkpoint is not None:
            found.append(self._as_put(serde, nothing, ids))
        found += [write.as_call(serde, nothing, ids) for write in self.writes]
        return found

    def _as_put(self, serde: SerializerProtocol, nothing: Blob, ids: _Ids) -> Put:
        assert self._checkpoint is not None  # noqa: S101 - as above
        thread_id, namespace, checkpoint_id = ids
        return Put(
            thread_id=thread_id,
            checkpoint_ns=namespace,
            checkpoint_id=checkpoint_id,
            known=True,
            parent_id=self.parent_id,
            config=nothing,
            checkpoint=self._checkpoint.blob(serde),
            metadata=serde.dumps_typed(self.metadata(serde)),
            new_versions=nothing,
            ours=self.ours,
        )


def is_delta(checkpoint: Any, metadata: Any) -> bool:
    """Tell whether a thread stores some of its channels as differences."""
    if any(key in metadata for key in _DELTA_KEYS):
        return True
    values = checkpoint["channel_values"].values()
    return any(type(value).__name__ == _DELTA_VALUE for value in values)


def _own(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else value
