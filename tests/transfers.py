"""What the tests of transfers share: sessions to move, and what is told of two stores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from sessionstore import SessionData, SessionInfo, SessionMessage, SessionStore
from sessionstore.operations import Restore

THEN = datetime(2022, 3, 4, 5, 6, 7, 89, tzinfo=timezone.utc)


def messages(count: int, size: int = 5) -> list[SessionMessage]:
    return [
        SessionMessage(
            ("user", "assistant")[number % 2],
            f"{number} ".ljust(size, "x"),
            id=f"m{number}",
            created_at=THEN + timedelta(seconds=number),
        )
        for number in range(count)
    ]


def session(session_id: str, count: int = 2, **fields: Any) -> SessionData:
    usual: dict[str, Any] = {
        "id": session_id,
        "agent_id": "guide",
        "user_id": None,
        "metadata": {"title": session_id, "tags": []},
        "created_at": THEN,
        "updated_at": THEN + timedelta(seconds=count),
        "version": 1,
        "message_count": count,
        "messages": messages(count),
    }
    return SessionData(**{**usual, **fields})


def fill(store: SessionStore, *, long: int = 1_700) -> None:
    """Put short sessions of two users into a store, an empty one, one without owner, a long one."""
    for number in range(4):
        owner, agent = f"user {number % 2}", f"agent {number // 2}"
        store.run(Restore(session(f"s{number}", number, user_id=owner, agent_id=agent)))
    store.append_messages("open", [SessionMessage("user", "Hello!", id="m", name="Ann")])
    store.run(Restore(session("long", long, user_id="user 0")))


def all_of(store: SessionStore) -> list[SessionInfo]:
    """Give all sessions of a store, in the order of its list; their versions begin anew."""
    listed = store.list_sessions(limit=1_000).sessions
    return [msgspec.structs.replace(info, version=1) for info in listed]


def held(store: SessionStore) -> Iterator[tuple[str, list[SessionMessage]]]:
    for info in all_of(store):
        yield info.id, store.get_messages(info.id)


def require_same(one: SessionStore, other: SessionStore) -> None:
    """Check that two stores hold the same, in the same order."""
    assert all_of(one) == all_of(other)
    assert list(held(one)) == list(held(other))


DIES = """
    import os, signal, sys
    from itertools import count

    from transfers import fill, require_same
    from sessionstore import SQLiteSessionStore, WrapperSessionStore
    from sessionstore.transfer import copy_sessions

    folder, stride = sys.argv[1:]
    steps_left = 0


    class Mortal(WrapperSessionStore):
        def run(self, operation):
            self.step()
            result = super().run(operation)
            self.step()
            return result

        def step(self):
            global steps_left
            steps_left -= 1
            if steps_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


    def opened(name):
        return SQLiteSessionStore(f"{folder}/{name}.db", synchronous="NORMAL")


    def lived(number):
        global steps_left
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        steps_left = number
        copy_sessions(opened("source"), Mortal(opened(number)))
        os._exit(0)


    fill(opened("source"), long=1_100)
    for number in count(1, int(stride)):
        status = lived(number)
        assert status in (0, -signal.SIGKILL), status
        report = copy_sessions(opened("source"), opened(number), verify=True)
        assert report.complete and report.copied + report.equal == 6, report
        require_same(opened("source"), opened(number))
        if status == 0:
            break
    print(number)
"""
