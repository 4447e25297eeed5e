"""`RecoveringSaver`: how things stand with a checkpointer that has a fallback, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from langgraph_sessionstore.configs import key_of
from langgraph_sessionstore.core import Core
from langgraph_sessionstore.pending import PendingCall, calls_of
from sessionstore import FallbackStats
from sessionstore.operations import Scrub, Trace

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RecoveringSaver"]


class RecoveringSaver(BaseCheckpointSaver[Any]):
    """What a `FallbackCheckpointer` tells about itself, and what brings its outage to an end."""

    _core: Core

    def is_degraded(self) -> bool:
        """Tell whether the primary is away, as far as is known without asking it."""
        return self._core.journal.is_degraded()

    def pending(self) -> list[PendingCall]:
        """Give the calls that the primary does not have yet, thread by thread, in order."""
        return list(calls_of(self._core.journal.pending(), self.serde))

    def rejected(self) -> list[PendingCall]:
        """Give the calls that were not replayed, with why.

        Those that the primary refused are kept in the fallback store, in its session
        ``langgraph:sessionstore:rejected``: delete that when you have handled them.
        """
        return list(calls_of(self._core.journal.rejected(), self.serde))

    def stats(self) -> FallbackStats:
        """Give what was counted since this was made, how things stand, and what happened.

        It asks no store, and is cheap. Its ``operations`` are the calls of this checkpointer and
        its clones, by the name of the sync method, such as ``"put_writes"``; its ``errors`` are
        what those raised. An outage that the fallback answered for is not among them: see
        ``events``. Its other figures are the journal's, where a call that waits is a write.
        """
        return self._core.calls.in_place_of_the_journals(self._core.journal.stats())

    def recover(self) -> bool:
        """Try the primary now, and replay all that waits for it.

        Returns:
            Whether the primary is there, nothing waits for it any more, and the journal says so.
            ``False``, too, where another caller tries just now: nobody waits for them.
        """
        return self._core.journal.recover()

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return await self._core.journal.arecover()

    def scrub(self, thread_ids: Sequence[str], *, rewrite: bool = True) -> list[Trace]:
        """Erase what the fallback keeps of some threads beside the journal, and tell what that has.

        `sessionstore.transfer.erase_user` asks for it, before it deletes the threads and after.

        Args:
            thread_ids: The threads.
            rewrite: Have an SQLite file of the fallback written anew: it keeps what was deleted.

        Returns:
            What was found: what was erased, and what is left and why.
        """
        return self._core.journal.run(self._scrubbing(thread_ids, rewrite=rewrite))

    async def ascrub(self, thread_ids: Sequence[str], *, rewrite: bool = True) -> list[Trace]:
        """Async twin of `scrub`."""
        return await self._core.journal.arun(self._scrubbing(thread_ids, rewrite=rewrite))

    def _scrubbing(self, thread_ids: Sequence[str], *, rewrite: bool) -> Scrub:
        return Scrub(None, [key_of(thread_id) for thread_id in thread_ids], rewrite)

    def close(self) -> None:
        """Replay what waits, if the primary is there, and close the fallback store.

        What still waits then in a journal in memory is logged as an error, and is in `pending`.
        A call after that goes to the primary as long as that answers, and has no fallback: an
        outage is a `SessionStoreError` that says this is closed.
        """
        self._core.journal.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        await self._core.journal.aclose()

    def __enter__(self) -> Self:
        """Give itself, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Give itself, to be closed at the end of the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()
