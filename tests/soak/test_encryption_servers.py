"""Rotations under writers, with servers, writers and rotations killed in the middle."""

from __future__ import annotations

import os
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from children import Children
from command import COMMAND, environment_of
from sealed_writing import Writer, key, key_id, sealed
from servers import redis as redis_servers
from servers.postgres import PostgresServer
from servers.process import wait_until

from sessionstore import EncryptedSessionStore, SessionMessage, SessionStore, open_store
from sessionstore.encryption.records import key_of

WRITERS, QUIET, MESSAGES = 2, 3, 60
RETRY = {1, 3}  # what the command ends with where something is left, or the store is away


class Place(NamedTuple):
    url: str
    restart: Callable[[], object] | None


@contextmanager
def file(folder: Path) -> Iterator[Place]:
    yield Place(f"sqlite:///{folder / 'sessions.db'}", None)


@contextmanager
def redis(_: Path) -> Iterator[Place]:
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield Place(server.url, lambda: (server.kill(), server.start()))


@contextmanager
def postgres(_: Path) -> Iterator[Place]:
    server = PostgresServer()
    try:
        yield Place(server.url(), lambda: (server.kill(), server.start()))
    finally:
        server.stop()


class Rotated:
    """A store whose keys are rotated again and again."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder = place, folder
        self.held: SessionStore = open_store(place.url, fallback=None)
        self.generation = 0
        self.begin(0)

    def begin(self, generation: int) -> None:
        """Have all use a new key as their first."""
        self.generation = generation
        lines = (
            f"{key_id(n)}: {b64encode(key(n)).decode()}\n"
            for n in (generation, generation - 1)
            if n >= 0
        )
        (self._folder / "keys").write_text("".join(lines))
        (self._folder / "next").write_text(str(generation))
        os.replace(self._folder / "next", self._folder / "generation")

    def start(self) -> subprocess.Popen[bytes]:
        arguments = ["rotate", "--keys", str(self._folder / "keys"), "--batch", "30"]
        environment = environment_of(self._place.url)
        output = subprocess.DEVNULL
        return subprocess.Popen(
            [*COMMAND, *arguments], env=environment, stdout=output, stderr=output
        )

    def has_begun(self) -> bool:
        """Tell whether anything of the quiet sessions is under the new key."""
        found = self.held.list_sessions(user_id="quiet", last=MESSAGES).sessions
        sealed_by = {key_of(message.extra) for info in found for message in info.messages}
        return key_id(self.generation) in sealed_by

    def finish(self) -> None:
        for attempt in count():
            ended = self.start().wait()
            if ended == 0:
                return
            assert ended in RETRY
            assert attempt < 20, "it is never complete"

    def require_all_under_the_new_key(self) -> None:
        only = EncryptedSessionStore(self.held, {key_id(self.generation): key(self.generation)})
        for info in self.held.list_sessions(limit=100).sessions:
            only.get(info.id)

    def quiet(self) -> list[Any]:
        infos = self.held.list_sessions(user_id="quiet").sessions
        return [(i.id, i.version, i.created_at, i.updated_at, i.message_count) for i in infos]


@pytest.mark.parametrize("opened", [file, redis, postgres])
def test_nothing_is_lost_by_a_rotation_in_which_all_are_killed(
    opened: Callable[[Path], Any], tmp_path: Path
) -> None:
    with opened(tmp_path) as place, Children() as children:
        rotated = Rotated(place, tmp_path)
        said = [SessionMessage("user", f"text {n}", id=f"m{n}") for n in range(MESSAGES)]
        for number in range(QUIET):
            session_id = f"quiet {number}"
            store = sealed(rotated.held, 0)
            store.create(session_id, messages=said, metadata={"title": "T"}, user_id="quiet")
        before = rotated.quiet()
        writers = [Writer(children, place.url, f"w{n}", tmp_path) for n in range(WRITERS)]
        for generation, victim in enumerate(["rotation", "writer", "server"], 1):
            rotated.begin(generation)
            for writer in writers:
                wait_until(partial(writer.is_at, generation), "a writer does not go on", 120)
            process = rotated.start()
            wait_until(rotated.has_begun, "nothing is sealed anew", 120)
            if victim == "writer":
                writers[0].kill()
            elif victim == "server" and place.restart is not None:
                place.restart()
            else:
                process.kill()
            process.wait()
            rotated.finish()
            rotated.require_all_under_the_new_key()
        for writer in writers:
            writer.stop()
        store = sealed(rotated.held, rotated.generation)
        assert all(writer.require_kept(store) for writer in writers)
        assert rotated.quiet() == before
        for number in range(QUIET):
            texts = [m.content for m in store.get_messages(f"quiet {number}", user_id="quiet")]
            assert texts == [f"text {n}" for n in range(MESSAGES)]
        rotated.held.close()
