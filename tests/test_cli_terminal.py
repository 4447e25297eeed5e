"""The command line in a real terminal, as a person uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.process import wait_until
from servers.redis import Server
from terminal import HINT, Terminal, binary, terminal

from sessionstore import RedisSessionStore, SQLiteSessionStore

pytestmark = [pytest.mark.soak, pytest.mark.skipif(binary() is None, reason=HINT)]

MANY = 2_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def shell(file: Path) -> Iterator[Terminal]:
    with terminal(SESSIONSTORE_URL=f"sqlite:///{file}") as opened:
        yield opened


def test_a_copy_shows_how_far_it_is_is_interrupted_and_goes_on(
    redis_server: Server, file: Path, shell: Terminal
) -> None:
    with SQLiteSessionStore(file, synchronous="NORMAL") as store:
        for number in range(MANY):
            store.append_message(f"s{number}", {"role": "user", "content": "Hello!"})
    redis_server.run("FLUSHDB", db=9)
    target = f"{redis_server.url}/9"
    copy = f"sessionstore copy $SESSIONSTORE_URL {target} --timeout 100"
    shell.run(copy)
    wait_until(lambda: redis_server.run("DBSIZE", db=9) > 0, "the first sessions")
    redis_server.run("CLIENT", "PAUSE", 100_000, "WRITE")
    try:
        shell.wait_for("Copying")
        shell.press("C-c")
    finally:
        redis_server.run("CLIENT", "UNPAUSE")
    shown = shell.ended(130)
    assert "run the same command again to go on" in shown
    assert "Traceback" not in shown
    with RedisSessionStore(target) as store:
        there = sum(1 for _ in listed(store))
        assert 0 < there < MANY
        shell.run(copy)
        shown = shell.ended(0)
        assert f"{MANY:,} sessions" in shown
        assert "were there already, and the same" in shown
        found = [(session.id, session.message_count) for session in listed(store)]
    assert sorted(found) == sorted((f"s{number}", 1) for number in range(MANY))


def listed(store: RedisSessionStore) -> Iterator[object]:
    cursor = None
    while True:
        page = store.list_sessions(limit=500, cursor=cursor)
        yield from page.sessions
        cursor = page.cursor
        if cursor is None:
            return


def test_a_question_is_asked_and_its_answer_counts(file: Path, shell: Terminal) -> None:
    with SQLiteSessionStore(file) as store:
        store.append_message("trip", {"role": "user", "content": "Hello!"}, user_id="alice")
        shell.run("sessionstore erase --user alice")
        shell.wait_for("1 session, for good? [y/N]")
        shell.type("no")
        assert "nothing was done" in shell.ended(1)
        assert store.get("trip") is not None
        shell.run("sessionstore erase --user alice")
        shell.wait_for("[y/N]")
        shell.press("C-c")
        shell.ended(130)
        assert store.get("trip") is not None
        shell.run("sessionstore erase --user alice")
        shell.wait_for("[y/N]")
        shell.type("y")
        assert "1 session with 1 message" in shell.ended(0)
        assert store.get("trip") is None


def test_a_hostile_session_is_read_without_harm(file: Path, shell: Terminal) -> None:
    hostile = "\x1b[2J\x1b[31mred\x1b]0;mine\x07"
    with SQLiteSessionStore(file) as store:
        title = {"title": hostile}
        store.create("evil", messages=[{"role": "user", "content": hostile}], metadata=title)
    shell.run("echo before; sessionstore ls --last 1; sessionstore show evil")
    shown = shell.ended(0)
    assert "before" in shown
    assert shown.count("␛[2J␛[31mred␛]0;mine␇") == 4
