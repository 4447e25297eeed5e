"""The turn before, in a checkpointer's thread: whether it was left."""

from __future__ import annotations

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from langchain_sessionstore.agents.origins import SaverFlow, newest
from langchain_sessionstore.agents.state import LEASE

__all__ = ["is_left"]


def is_left(config: RunnableConfig, holder: str) -> SaverFlow[bool]:
    """Tell whether a turn of the thread pauses or has failed, so that nothing of it runs.

    Args:
        config: The run's. Each request is one for the checkpointer's ``get_tuple``.
        holder: Who held the turn's lease.

    Returns:
        Whether it does. Of one whose process was killed nothing says so.
    """
    here, end = (yield newest(config)), None
    while here and here.checkpoint["channel_values"].get(LEASE) == holder:
        is_input = here.metadata.get("source") == "input"  # of this run, or of a refused one
        end = None if is_input else end or here
        here = (yield here.parent_config) if here.parent_config else None
    channels = {channel for _, channel, _ in (end.pending_writes if end else None) or ()}
    return bool(channels & {INTERRUPT, ERROR}) and RESUME not in channels
