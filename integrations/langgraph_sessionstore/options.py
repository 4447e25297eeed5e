"""The options of a `FallbackCheckpointer` that are its own, checked."""

from __future__ import annotations

from langgraph.checkpoint.base import BaseCheckpointSaver

from sessionstore.fallback.options import not_a

__all__ = ["check_saver_options"]


def check_saver_options(
    primary: object, max_threads: object, unknown: object, is_outage: object, timeout: object
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
    if timeout is not None:
        _check_timeout(timeout)
    if is_outage is not None and not callable(is_outage):
        raise TypeError(f"is_outage must be a function or None, {not_a(is_outage)}")


def _check_timeout(timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, {not_a(timeout)}")
    if timeout <= 0:
        raise ValueError("timeout must be more than 0 seconds")
