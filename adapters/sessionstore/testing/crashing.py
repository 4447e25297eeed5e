"""Processes that are killed in the midst of a write: guarantee 1."""

from __future__ import annotations

from sessionstore.testing.colours import ColouredSuite, OpenStore
from sessionstore.testing.halting import SESSION, Writers, batch_of, needs_fork, spread
from sessionstore.testing.samples import conversation, said, stored

__all__ = ["CrashContract"]

KILLS = 20


class CrashContract(ColouredSuite):
    """A process that dies takes nothing with it but the write that it was in."""

    @needs_fork
    def test_a_writer_that_is_killed(self, open_store: OpenStore) -> None:
        """At whatever step: its write is there or not, what was acknowledged is, others go on."""
        self.require_support("crash_safety")
        log = conversation(3)
        with open_store() as store, Writers(open_store) as writers:
            store.append_messages("neighbour", log)
            store.append_messages(SESSION, log)
            for step in spread(writers.count_steps(), KILLS):
                before = store.get_messages(SESSION)
                writers.kill(step)
                assert store.get_messages(SESSION) in (before, before + batch_of(step))
                assert store.append_message(SESSION, said("after", f"after {step}")) == 1
            last = stored(store, SESSION)
        with open_store() as again:
            assert stored(again, SESSION) == last
            assert again.get_messages("neighbour") == log
            assert [info.id for info in again.list_sessions().sessions] == [SESSION, "neighbour"]
