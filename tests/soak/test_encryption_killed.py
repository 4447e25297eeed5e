"""A rotation that is killed again and again, while others use the store."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from base64 import b64encode
from pathlib import Path

from command import COMMAND, environment_of
from servers.process import wait_until

from sessionstore import EncryptedSessionStore, SessionMessage, SQLiteSessionStore
from sessionstore.encryption.records import key_of

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SESSIONS, MESSAGES = 40, 40


def under(held: SQLiteSessionStore, key_id: str) -> int:
    """Count the messages that are sealed with a key."""
    names = [info.id for info in held.list_sessions(limit=1_000).sessions]
    return sum(key_of(m.extra) == key_id for name in names for m in held.get_messages(name))


def test_a_rotation_that_is_killed_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    held = SQLiteSessionStore(tmp_path / "s.db", synchronous="NORMAL")
    old = EncryptedSessionStore(held, {"old": OLD})
    for number in range(SESSIONS):
        said = [SessionMessage("user", f"text {n}", id=f"m{n}") for n in range(MESSAGES)]
        old.create(f"s{number}", messages=said, metadata={"title": f"T{number}"})
    keys = "".join(f"{n}: {b64encode(k).decode()}\n" for n, k in (("new", NEW), ("old", OLD)))
    (tmp_path / "keys").write_text(keys)
    arguments = ["rotate", "--keys", str(tmp_path / "keys"), "--batch", "1"]
    environment = environment_of(f"sqlite:///{tmp_path / 's.db'}")
    over = threading.Event()
    added: list[str] = []

    def chat() -> None:
        store = EncryptedSessionStore(held, {"new": NEW, "old": OLD})
        while not over.wait(0.005):
            name = f"s{len(added) % SESSIONS}"
            store.append_message(name, SessionMessage("user", f"added {len(added)}"))
            added.append(name)

    killed = 0
    talking = threading.Thread(target=chat)
    talking.start()
    try:
        for _ in range(3):
            left = under(held, "old") - 100
            process = subprocess.Popen([*COMMAND, *arguments], env=environment)
            wait_until(lambda left=left: under(held, "old") <= left, "nothing is sealed anew")
            os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert killed
        ran = subprocess.run([*COMMAND, *arguments], env=environment, check=False)
    finally:
        over.set()
        talking.join()
    assert ran.returncode == 0
    assert under(held, "old") == 0
    new = EncryptedSessionStore(held, {"new": NEW})
    for number in range(SESSIONS):
        session = new.get(f"s{number}")
        assert session is not None
        assert session.metadata == {"title": f"T{number}"}
        texts = [message.content for message in session.messages]
        assert texts[:MESSAGES] == [f"text {n}" for n in range(MESSAGES)]
        assert len(texts) == MESSAGES + added.count(f"s{number}")
    held.close()
