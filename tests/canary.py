"""A word that only one user has said, put wherever a session can hold one; and who still has it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from servers.redis import Server

from sessionstore import SessionMessage, SessionStore

WORD = "CANARY"


def sing(store: SessionStore, user_id: str = "alice", word: str = WORD, sessions: int = 4) -> None:
    """Have a user say the word in all that a session holds, among another's sessions."""
    drawn = random.Random(7)  # noqa: S311 - sizes
    for number in range(sessions):
        name = f"{word}-{number}"
        store.create(name, user_id=user_id, agent_id=f"agent-{word}", metadata={word: {"a": word}})
        for turn in range(6):
            store.append_messages(
                name, _turn(word, word * drawn.randrange(1, 400)), user_id=user_id
            )
            other = SessionMessage("user", "other " * drawn.randrange(1, 400))
            store.append_message(f"other-{turn}", other, user_id="bob")
        ids = [message.id for message in store.get_messages(name)]
        store.replace_message(name, SessionMessage("user", "changed", id=ids[0]), user_id=user_id)
        store.delete_messages(name, [str(ids[3])], user_id=user_id)
        store.update(name, metadata={"title": word}, user_id=user_id)


def _turn(word: str, text: str) -> list[SessionMessage]:
    blocks: list[Any] = [{"type": "text", "text": text}, {"type": "image", "base64": word}]
    call: Any = {"id": word, "name": word, "args": {word: word}}
    return [
        SessionMessage("user", blocks, name=word, metadata={word: word}),
        SessionMessage("assistant", "", tool_calls=[call], extra={"langchain": {word: word}}),
        SessionMessage("tool", text, tool_call_id=word),
    ]


def files_with(folder: Path, word: str = WORD) -> set[str]:
    """Name the files that hold the word in their raw bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if word.encode() in path.read_bytes()}


def keys_with(server: Server, word: str = WORD) -> set[bytes]:
    """Give the keys of a Redis that hold the word, in their name or in what they dump."""
    with server.client() as client:
        client.config_set("rdbcompression", "no")
        keys = set(client.scan_iter(count=1000))
        return {key for key in keys if word.encode() in key + (client.dump(key) or b"")}
