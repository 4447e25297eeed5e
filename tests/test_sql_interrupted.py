"""Ctrl-C on a server's database, between any two steps that are ours: no place is lost by it."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from servers.postgres import PostgresServer

from sessionstore import DbSessionStore, PostgresAgentDb, SessionMessage, StoreUnavailableError
from sessionstore._runtime.tickets import ticket
from sessionstore.sql import gate as gates
from sessionstore.sql.database import AgentDb
from sessionstore.sql.retrying import insist

_OURS = {code.__code__ for code in (AgentDb.send, AgentDb._passed, insist)}


def interrupted(call: Callable[[], object], step: int) -> bool:
    """Raise a `KeyboardInterrupt` at a step of a call; tell whether there is such a step."""
    seen = 0

    def at_step(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        code = frame.f_code
        if code.co_filename != gates.__file__ and code not in _OURS:
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno)
        # Python looks for signals at calls: never between a lock and the block that it guards.
        if event in ("call", "line") and not line.lstrip().startswith("with "):
            seen += 1
            if seen == step:
                raise KeyboardInterrupt
        return at_step

    before = sys.gettrace()
    sys.settrace(at_step)
    try:
        with suppress(KeyboardInterrupt, StoreUnavailableError):
            call()
    finally:
        sys.settrace(before)
    return seen >= step


@pytest.mark.parametrize("free", [True, False], ids=["a free place", "none"])
def test_ctrl_c_at_any_step_gives_back_the_place_in_the_pool(
    postgres: PostgresServer, schema: str, free: bool
) -> None:
    options = {"pool_size": 1, "pool_timeout": 0.001}
    with PostgresAgentDb(postgres.url(), schema=schema, engine_options=options) as db:
        store = DbSessionStore(db)
        store.append_message("s", SessionMessage("user", "hello"))
        gate = db._current().gate
        assert gate is not None
        others = ticket()
        assert free or gate.try_enter("others", others)
        step = 1
        while interrupted(lambda: store.get_messages("s"), step):
            assert list(gate._inside) == [others] * (not free), f"step {step}"
            assert not gate._waiting, f"step {step}"
            step += 1
        assert step > 20
