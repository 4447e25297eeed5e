"""Programs of a first turn, each as its users write it: all load, and append two messages.

The URL is the first argument, a file's path for SQLite. Each makes sure of its tables, as the
documentation of its library has it, and imports nothing else: no program knows these benchmarks.
"""

from __future__ import annotations

Program = tuple[str, str, str, str]
"""A name as in the other tables, a family, what must be installed, and the program."""
BEGINNING = "import sys; url = sys.argv[1]; user, agent = 'u' * 300, 'a' * 300\n"

# -- ours ----------------------------------------------------------------------------------------

_STORES = {
    "sqlite": "from sessionstore import SQLiteSessionStore\nstore = SQLiteSessionStore(url)",
    "redis": "from sessionstore import RedisSessionStore\nstore = RedisSessionStore(url)",
    "postgresql": (
        "from sessionstore import DbSessionStore, PostgresAgentDb\n"
        "store = DbSessionStore(PostgresAgentDb(url))"
    ),
}
_WAYS = {
    "the store": """
from sessionstore import SessionMessage
store.get_messages("first")
store.append_messages("first", [SessionMessage("user", user), SessionMessage("assistant", agent)])
""",
    "SessionChatMessageHistory": """
from langchain_core.messages import AIMessage, HumanMessage
from langchain_sessionstore import SessionChatMessageHistory
history = SessionChatMessageHistory("langchain", store)
history.messages
history.add_messages([HumanMessage(user), AIMessage(agent)])
""",
    "SessionChatStore": """
from llama_index.core.base.llms.types import ChatMessage
from llama_index_sessionstore import SessionChatStore
chats = SessionChatStore(store)
chats.get_messages("llama")
chats.add_message("llama", ChatMessage(user, role="user"))
chats.add_message("llama", ChatMessage(agent, role="assistant"))
""",
}

# -- the limits, with the guarantees of those in the other tables --------------------------------

_BY_HAND = {
    "sqlite": """
import json, os, sqlite3
connection = sqlite3.connect(url, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE IF NOT EXISTS messages (position INTEGER PRIMARY KEY,"
                   " session TEXT, id TEXT, body BLOB, UNIQUE (session, id))")
connection.execute("CREATE INDEX IF NOT EXISTS of_session ON messages (session, position)")
rows = connection.execute("SELECT body FROM messages WHERE session = ? ORDER BY position", ("s",))
[json.loads(body) for (body,) in rows]
new = [("s", os.urandom(16).hex(), json.dumps({"content": text})) for text in (user, agent)]
connection.execute("BEGIN IMMEDIATE")
connection.executemany("INSERT OR IGNORE INTO messages (session, id, body) VALUES (?, ?, ?)", new)
connection.execute("COMMIT")
connection.close()
""",
    "redis": """
import json, os, redis
APPEND = '''
for n = 1, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], ARGV[n], 1) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[n + 1])
  end
end
'''
client = redis.Redis.from_url(url)
messages, ids = "{by-hand-first}:messages", "{by-hand-first}:ids"
[json.loads(body) for body in client.lrange(messages, 0, -1)]
new = [part for text in (user, agent)
       for part in (os.urandom(16).hex(), json.dumps({"content": text}))]
client.eval(APPEND, 2, messages, ids, *new)
client.close()
""",
    "postgresql": """
import json, os, psycopg
connection = psycopg.connect(url, autocommit=True)
connection.execute("CREATE TABLE IF NOT EXISTS first_sessions"
                   " (id text PRIMARY KEY, next bigint NOT NULL)")
connection.execute("CREATE TABLE IF NOT EXISTS first (session text, position bigint, id text,"
                   " body text, PRIMARY KEY (session, position), UNIQUE (session, id))")
read = "SELECT body FROM first WHERE session = %s ORDER BY position"
[json.loads(body) for (body,) in connection.execute(read, ("s",))]
connection.execute('''
WITH turn AS (
    INSERT INTO first_sessions (id, next) VALUES (%(session)s, %(count)s)
    ON CONFLICT (id) DO UPDATE SET next = first_sessions.next + %(count)s
    RETURNING next - %(count)s AS start
)
INSERT INTO first (session, position, id, body)
SELECT %(session)s, turn.start + new.place, new.id, new.body
FROM turn, unnest(%(ids)s::text[], %(bodies)s::text[]) WITH ORDINALITY AS new (id, body, place)
ON CONFLICT (session, id) DO NOTHING
''', {"session": "s", "count": 2, "ids": [os.urandom(16).hex() for _ in range(2)],
      "bodies": [json.dumps({"content": text}) for text in (user, agent)]})
connection.close()
""",
}


def house(backend: str) -> list[Program]:
    """Give the limit's program, and ours."""
    ours = [
        (name, "ours", "sessionstore", f"{_STORES[backend]}\n{way}store.close()")
        for name, way in _WAYS.items()
    ]
    return [("by hand", "limit", "sessionstore", _BY_HAND[backend]), *ours]
