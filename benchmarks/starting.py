"""The first turn in a fresh process, imports included; and what imports take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measure import Loop, Measured, Use, interleaved
from places import Place

FIRST = "the first turn in a fresh process"
IMPORT = "an import"
LANGCHAIN, CORE = "langchain_sessionstore", "sessionstore"
_HERE = str(Path(__file__).parent)
_TEXTS = "('u' * 300, 'a' * 300)"

# As their users write them; the URL is the first argument.
_OURS = {
    "sqlite": (
        "from sessionstore import SQLiteSessionStore; store = SQLiteSessionStore(sys.argv[1])"
    ),
    "redis": "from sessionstore import RedisSessionStore; store = RedisSessionStore(sys.argv[1])",
    "postgresql": (
        "from sessionstore import DbSessionStore, PostgresAgentDb;"
        " store = DbSessionStore(PostgresAgentDb(sys.argv[1]))"
    ),
}
_WAYS = {
    "the store": """
from sessionstore import SessionMessage
store.get_messages("first")
user, agent = ("u" * 300, "a" * 300)
store.append_messages("first", [SessionMessage("user", user), SessionMessage("assistant", agent)])
""",
    "SessionChatMessageHistory": """
from langchain_core.messages import AIMessage, HumanMessage
from langchain_sessionstore import SessionChatMessageHistory
history = SessionChatMessageHistory("langchain", store)
history.messages
history.add_messages([HumanMessage("u" * 300), AIMessage("a" * 300)])
""",
    "SessionChatStore": """
from llama_index.core.base.llms.types import ChatMessage
from llama_index_sessionstore import SessionChatStore
chats = SessionChatStore(store)
chats.get_messages("llama")
chats.add_message("llama", ChatMessage("u" * 300, role="user"))
chats.add_message("llama", ChatMessage("a" * 300, role="assistant"))
""",
}
_CLOSED = "store.close()"
_BY_HAND = {
    "sqlite": """
import json, sqlite3, uuid
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS messages (position INTEGER PRIMARY KEY,"
                   " session TEXT, id TEXT, body BLOB, UNIQUE (session, id))")
rows = connection.execute("SELECT body FROM messages WHERE session = ? ORDER BY position", ("s",))
[json.loads(body) for (body,) in rows]
new = [("s", uuid.uuid4().hex, json.dumps({"content": text * 300})) for text in "ua"]
connection.execute("BEGIN IMMEDIATE")
connection.executemany("INSERT INTO messages (session, id, body) VALUES (?, ?, ?)", new)
connection.execute("COMMIT")
connection.close()
""",
    "redis": """
import json, redis
client = redis.Redis.from_url(sys.argv[1])
[json.loads(body) for body in client.lrange("by-hand-first", 0, -1)]
client.rpush("by-hand-first", *(json.dumps({"content": text * 300}) for text in "ua"))
client.close()
""",
    "postgresql": """
import json, psycopg
connection = psycopg.connect(sys.argv[1], autocommit=True)
connection.execute("CREATE TABLE IF NOT EXISTS first (position bigserial PRIMARY KEY, body text)")
[json.loads(body) for (body,) in connection.execute("SELECT body FROM first ORDER BY position")]
new = [json.dumps({"content": text * 300}) for text in "ua"]
connection.execute("INSERT INTO first (body) SELECT unnest(%s::text[])", (new,))
connection.close()
""",
}
_PEERS = {
    "sqlite": (
        ("peers_langchain", "SQLHistoryOnSQLite"),
        ("peers_agents", "SQLiteSessions"),
        ("peers_langgraph", "SQLiteSavers"),
    ),
    "redis": (
        ("peers_langchain", "RedisHistory"),
        ("peers_llama_index", "RedisStore"),
        ("peers_agents", "RedisSessions"),
    ),
    "postgresql": (
        ("peers_langchain", "PostgresHistory"),
        ("peers_llama_index", "PostgresStore"),
        ("peers_langgraph", "PostgresSavers"),
    ),
}
_PEER = """
sys.path.insert(0, {here!r})
from {module} import {kind} as Kind
async def turn(subject):
    await subject.load("first", None)
    await subject.append("first", {texts})
    await subject.close()
subject = Kind(sys.argv[1])
if hasattr(subject.load, "__await__") or __import__("inspect").iscoroutinefunction(subject.load):
    __import__("asyncio").run(turn(subject))
else:
    subject.load("first", None)
    subject.append("first", {texts})
    subject.close()
"""


def _run(code: str, url: str = "") -> str:
    """Run a program, with modules that are compiled once, as they are where they are installed."""
    command = [sys.executable, "-W", "ignore", "-c", f"import sys\n{code}", url]
    compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=compiled).stdout


def _candidates(backend: str) -> Sequence[tuple[str, str, str]]:
    """Give names, families and programs."""
    ours = [(name, "ours", f"{_OURS[backend]}\n{way}{_CLOSED}") for name, way in _WAYS.items()]
    theirs = [
        (
            kind,
            module.removeprefix("peers_"),
            _PEER.format(here=_HERE, module=module, kind=kind, texts=_TEXTS),
        )
        for module, kind in _PEERS[backend]
    ]
    return [("by hand", "limit", _BY_HAND[backend]), *ours, *theirs]


def first_turns(loop: Loop, backend: str, place: Place, times: int) -> list[Measured]:
    """Measure whole processes, interleaved, each in a database that has its tables already."""
    uses = [Use(Measured(FIRST, backend, "sync", "Python, and no more", "", 0), partial(_run, ""))]
    for name, family, code in _candidates(backend):
        measured = Measured(FIRST, backend, "sync", name, family, 0)
        uses.append(Use(measured, partial(_run, code, place())))
    return interleaved(loop, uses, seconds=0, most=times, least=times, burst=1)


# What a program has imported that has models, messages and histories of LangChain's, before it
# chooses where to keep them: langchain-core alone, and not all of it.
_LANGCHAIN_CORE = (
    "import langchain_core.chat_history, langchain_core.messages, langchain_core.runnables.history"
)
# By name: what is imported when it is first asked for counts.
_IMPORTS = (
    (CORE, "SessionMessage, SQLiteSessionStore", "pass"),
    (LANGCHAIN, "SessionChatMessageHistory, with_session_history", _LANGCHAIN_CORE),
)
_TIMED = """
import time
{before}
start = time.perf_counter()
from {module} import {names}
print(time.perf_counter() - start)
"""


def imports(times: int) -> list[Measured]:
    """Measure imports in fresh processes, over what is imported there already."""
    measured = [Measured(IMPORT, "", "sync", module, "ours", 0) for module, *_ in _IMPORTS]
    for n in range(times + 1):
        for one, (module, names, before) in zip(measured, _IMPORTS, strict=True):
            code = _TIMED.format(before=before, module=module, names=names)
            taken = float(_run(code))
            if n:  # the first may have compiled the modules
                one.seconds.append(taken)
    return measured
