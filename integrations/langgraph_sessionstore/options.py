"""The options of a `FallbackCheckpointer` that are its own, checked."""

from __future__ import annotations

from langgraph.checkpoint.base import BaseCheckpointSaver

from sessionstore.fallback.options import not_a

__all__ = ["check_saver_options"]


def check_saver_options(
    primary: object, max_threads: object, unknown: object, is_outage: object
) -> None:
    """Refuse options that are not valid; those of the journal it checks itself.

    Raises:
        ValueError: See `FallbackCheckpointer`.
        TypeError: The same.
    """
    if not isinstance(primary, BaseCheckpointSaver):
        raise TypeError(
            f"primary must be a checkpointer, such as PostgresSaver(pool), {not_a(primary)}"
        )
    if type(max_threads) is not int:
        raise TypeError(f"max_threads must be a whole number, {not_a(max_threads)}")
    if max_threads < 1:
        raise ValueError("max_threads must be 1 or more")
    if unknown not in ("empty", "raise"):
        raise ValueError('unknown must be "empty" or "raise"')
    if is_outage is not None and not callable(is_outage):
        raise TypeError(f"is_outage must be a function or None, {not_a(is_outage)}")
