"""Ctrl-C between any two steps of what PostgreSQL's batches do, where the loop goes on."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

from servers.postgres import PostgresServer

from sessionstore import DbSessionStore, PostgresAgentDb, SessionMessage
from sessionstore.sql import batch_members, batches

_OURS = {batches.__file__, batch_members.__file__}
CALLERS = 5


class Interrupt:
    """Raises a `KeyboardInterrupt` at a step of the batches' code.

    Args:
        step: Which.
    """

    def __init__(self, step: int) -> None:
        self.step, self.seen = step, 0

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in _OURS:
            return None
        if event in ("call", "line"):
            self.seen += 1
            if self.seen == self.step:
                raise KeyboardInterrupt
        return self


def until_done(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[int]]) -> None:
    """Run a loop until all tasks are done, however often it is broken off."""
    while True:
        try:
            loop.run_until_complete(asyncio.wait_for(asyncio.wait(tasks), 20))
        except KeyboardInterrupt:
            continue
        return


def test_ctrl_c_at_any_step_leaves_nobody_waiting(postgres: PostgresServer, schema: str) -> None:
    loop = asyncio.new_event_loop()
    db = PostgresAgentDb(postgres.url(), schema=schema)
    store = DbSessionStore(db)
    names = [f"s{n}" for n in range(CALLERS)]
    added = dict.fromkeys(names, 0)
    for name in names:
        store.append_message(name, SessionMessage("user", "first"))
    loop.run_until_complete(store.aping())
    step, before = 1, sys.gettrace()
    while True:
        interrupt = Interrupt(step)
        tasks = [
            loop.create_task(store.aappend_message(name, SessionMessage("user", f"{step}")))
            for name in names
        ]
        sys.settrace(interrupt)
        try:
            until_done(loop, tasks)
        finally:
            sys.settrace(before)
        broken = 0
        for name, task in zip(names, tasks, strict=True):
            error = task.exception()
            assert error is None or isinstance(error, KeyboardInterrupt), f"step {step}"
            broken += error is not None
            texts = [message.content for message in store.get_messages(name)]
            there = texts.count(f"{step}")
            assert there == 1 if error is None else there in (0, 1), f"step {step}"
            added[name] += there
            assert len(texts) == 1 + added[name], "something came afterwards"
        assert broken <= 1
        if interrupt.seen < step:
            break
        step += 23
    assert step > 200
    loop.run_until_complete(db.aclose())
    loop.close()
