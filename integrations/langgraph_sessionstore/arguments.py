"""The arguments of a saver's methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

__all__ = ["ListArguments", "PutArguments", "WritesArguments"]


class PutArguments(NamedTuple):
    """Those of ``put``."""

    config: RunnableConfig
    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    new_versions: ChannelVersions


class WritesArguments(NamedTuple):
    """Those of ``put_writes``."""

    config: RunnableConfig
    writes: Sequence[tuple[str, Any]]
    task_id: str
    task_path: str = ""


class ListArguments(NamedTuple):
    """Those of ``list``."""

    config: RunnableConfig | None
    filter: dict[str, Any] | None = None
    before: RunnableConfig | None = None
    limit: int | None = None
