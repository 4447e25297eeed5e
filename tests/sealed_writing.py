"""A process that writes to an encrypted store, and notes what is to be there: it may be killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from children import Child, Children, ended

from sessionstore import EncryptedSessionStore, SessionData, SessionStore

WRITE = """
    import json, os, random, sys, time
    from itertools import count
    from pathlib import Path
    from sessionstore import SessionMessage, StoreUnavailableError, open_store
    from sealed_writing import content, last_of, sealed

    url, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    held = open_store(url, fallback=None)
    log = (folder / f"{name}.log").open("a", buffering=1)
    shared = (folder / f"{name}.shared").open("a", buffering=1)

    def note(**line):
        log.write(json.dumps(line) + "\\n")

    def now(store):
        while True:
            try:
                return content(store.get(name))
            except StoreUnavailableError:
                time.sleep(0.05)

    def settled(store):
        found, (was, coming) = now(store), last_of(folder, name)
        assert found in (was, coming), f"{found} is neither {was} nor {coming}"
        note(done=found)
        return found

    def step(store, state, life, number):
        said = [[f"{life} {number} {n}", "text"] for n in range(random.choice([1, 2, 20]))]
        as_messages = lambda pairs: [SessionMessage("user", text, id=id) for id, text in pairs]
        if state is None:
            new, made = {"title": number}, as_messages(said)
            return [said, new], lambda: store.create(name, messages=made, metadata=new)
        have, metadata = state
        kind = random.choice("aaaarrmmwddx") if have else "a"
        at = random.randrange(len(have)) if have else 0
        if kind == "a":
            return [have + said, metadata], lambda: store.append_messages(name, as_messages(said))
        if kind == "r":
            new = [have[at][0], f"edited {number}"]
            coming = have[:at] + [new] + have[at + 1:]
            return [coming, metadata], lambda: store.replace_message(name, as_messages([new])[0])
        if kind == "m":
            new = {"title": number, "more": {"number": number}}
            return [have, {**metadata, **new}], lambda: store.update(name, metadata=new)
        if kind == "w":
            return [have[:at + 1], metadata], lambda: store.rewind(name, to=have[at][0])
        if kind == "d":
            moved = [have[:at] + have[at + 1:], metadata]
            return moved, lambda: store.delete_messages(name, [have[at][0]])
        return None, lambda: store.delete(name)

    life = time.time_ns()
    for number in count():
        time.sleep(0.05)  # the sessions that it rotates first stay short
        generation = int((folder / "generation").read_text())
        store = sealed(held, generation)
        if number == 0:
            state = settled(store)
        (folder / f"{name}.generation").write_text(str(generation))
        coming, work = step(store, state, life, number)
        note(coming=coming)
        try:
            work()
        except StoreUnavailableError:
            state = settled(store)
            continue
        state = coming
        note(done=state)
        try:
            store.append_message("shared", SessionMessage("user", id=f"{name} {life} {number}"))
        except StoreUnavailableError:
            continue
        shared.write(f"{name} {life} {number}\\n")
"""


def sealed(held: SessionStore, generation: int) -> EncryptedSessionStore:
    """Give a store as the keys of a generation, and of the one before, open it."""
    numbers = range(generation, max(generation - 2, -1), -1)
    return EncryptedSessionStore(held, {key_id(n): key(n) for n in numbers})


def key(generation: int) -> bytes:
    return bytes([generation]) * 32


def key_id(generation: int) -> str:
    return f"key {generation}"


def content(session: SessionData | None) -> Any:
    """Give what a session says."""
    if session is None:
        return None
    return [[[message.id, message.content] for message in session.messages], session.metadata]


def last_of(folder: Path, name: str) -> tuple[Any, Any]:
    """Give what a writer was told is there, and what is there if its last call took effect."""
    was = coming = None
    log = folder / f"{name}.log"
    for text in log.read_text().splitlines(keepends=True) if log.exists() else ():
        if not text.endswith("\n"):
            break
        line = json.loads(text)
        was = line.get("done", was)
        coming = line.get("coming", was)
    return was, coming


class Writer:
    """A writer, which is started again after it was killed.

    Args:
        children: Where its processes are.
        url: The store.
        name: The session that it alone writes to.
        folder: Where it keeps its notes.
    """

    def __init__(self, children: Children, url: str, name: str, folder: Path) -> None:
        self._children, self._url, self._folder = children, url, folder
        self.name = name
        self._child: Child = self._started()

    def _started(self) -> Child:
        return self._children.start(WRITE, self._url, self.name, self._folder)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does, and start it again."""
        self.stop()
        self._child = self._started()

    def stop(self) -> None:
        self._child.kill()
        ended(self._child)

    def is_at(self, generation: int) -> bool:
        """Tell whether all that it writes from now on is under the keys of a generation."""
        at = self._folder / f"{self.name}.generation"
        return at.exists() and at.read_text() == str(generation)

    def require_kept(self, store: SessionStore) -> int:
        """Compare what is there with what it noted; give how many messages it has appended."""
        assert content(store.get(self.name)) in last_of(self._folder, self.name)
        found = [str(message.id) for message in store.get_messages("shared")]
        mine = [name for name in found if name.startswith(f"{self.name} ")]
        noted = (self._folder / f"{self.name}.shared").read_text().splitlines()
        assert len(set(mine)) == len(mine), "something is there twice"
        assert [name for name in mine if name in set(noted)] == noted, "lost, or in another order"
        return len(mine)
