"""A pool of connections of which those that are ready cost next to nothing."""

from __future__ import annotations

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from sessionstore.sql.stale import is_stale

__all__ = ["LoopPool"]


class LoopPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool for one event loop: an open connection can be had without a greenlet.

    Most of the time there is one, and a greenlet takes longer than all else that the pool does.
    There must be no overflow, whose connections are closed as they are given back.
    """

    def take(self) -> ConnectionPoolEntry | None:
        """Take a connection that is there and open, to be given back by `give_back`.

        Returns:
            The connection; ``None`` where one must be waited for, or opened, or replaced, all of
            which the engine's own ways do.
        """
        if not self.checkedin() or self._is_watched():
            return None
        entry = self._pool.get(False)  # some versions wait in a greenlet even for what is there
        if entry._is_hard_or_soft_invalidated() or is_stale(entry):  # type: ignore[attr-defined]  # noqa: SLF001
            self._do_return_conn(entry)
            return None
        return entry

    def give_back(self, entry: ConnectionPoolEntry) -> None:
        """Give back what was taken, be it open or not.

        Args:
            entry: What `take` gave.
        """
        self._do_return_conn(entry)

    def _is_watched(self) -> bool:
        heard = self.dispatch
        return bool(heard.checkout or heard.checkin or heard.reset)
