"""`Calls`: how often a checkpointer's methods were called, and what they raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from sessionstore import FallbackStats
from sessionstore.stats import Tally

__all__ = ["Calls"]


class Calls:
    """Counts the calls of a checkpointer and its clones, sync and async, by method."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._methods = Tally()
        self._errors = Tally()

    @contextmanager
    def counted(self, method: str) -> Iterator[None]:
        """Count the call that this block carries out, and what it raises.

        Args:
            method: The name of the sync method.
        """
        self._methods.add(method)
        try:
            yield
        except Exception as error:
            self._errors.add(type(error))
            raise

    def in_place_of_the_journals(self, stats: FallbackStats) -> FallbackStats:
        """Give a journal's figures with these calls in the place of its operations."""
        calls, errors = self._methods.counts({}), self._errors.counts({})
        return replace(stats, operations=calls, errors=errors)
