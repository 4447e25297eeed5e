"""What a config of LangGraph says: the thread, the namespace, the checkpoint."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

__all__ = [
    "checkpoint_id_of",
    "config_of",
    "key_of",
    "names_of",
    "namespace_of",
    "plain",
    "thread_of",
]

_LONGEST = 512


def names_of(config: RunnableConfig) -> dict[str, Any]:
    """Give what names a checkpoint; a config without that is a `KeyError`, as for any saver."""
    names: dict[str, Any] = cast("dict[str, Any]", config)["configurable"]
    return names


def thread_of(config: RunnableConfig) -> str:
    """Give the thread's id."""
    return str(names_of(config)["thread_id"])


def namespace_of(config: RunnableConfig) -> str:
    """Give the namespace: empty for the graph itself, and another one for each subgraph."""
    return str(names_of(config).get("checkpoint_ns") or "")


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """Give the id of the checkpoint that is asked for; ``None`` for the latest."""
    found = names_of(config).get("checkpoint_id")
    return str(found) if found else None


def key_of(thread_id: str) -> str:
    """Give the name of the session in which a thread's journal is kept."""
    if 0 < len(thread_id) <= _LONGEST:
        return thread_id
    digest = hashlib.sha256(thread_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest}"


def config_of(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    """Make the config that names a checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def plain(config: RunnableConfig) -> dict[str, Any]:
    """Give what savers read of a config: what it names, and what goes into the metadata.

    What LangGraph hands from one of its parts to another is left out: functions, streams.
    """
    return {
        "configurable": {
            **_plain_items(config.get("configurable")),
            "thread_id": thread_of(config),
            "checkpoint_ns": namespace_of(config),
        },
        "metadata": _plain_items(config.get("metadata")),
    }


def _plain_items(items: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in (items or {}).items()
        if not key.startswith("__") and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))
