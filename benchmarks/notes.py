"""What to know of a peer beside its figures, and what these benchmarks leave out.

Of each peer as it is by itself, read in the source of the version that is installed.
"""

from __future__ import annotations

PEERS = {
    "SQLChatMessageHistory (langchain-community)": (
        "no index on the session: a read goes through the whole table; on SQLite its rollback"
        " journal; on PostgreSQL psycopg, in asyncio asyncpg"
    ),
    "RedisChatMessageHistory (langchain-community)": (
        "an LPUSH for each message, so that an append is not atomic; in asyncio the sync client,"
        " in threads"
    ),
    "RedisChatMessageHistory (langchain-redis)": (
        "a JSON document for each message, found by FT.SEARCH, 10,000 at most, in order of the"
        " clock; in asyncio the sync client, in threads"
    ),
    "PostgresChatMessageHistory (langchain-postgres)": (
        "psycopg itself, an index on the session, an INSERT for each message; session ids are UUIDs"
    ),
    "RedisChatStore (llama-index)": "a message at a time, an RPUSH each",
    "PostgresChatStore (llama-index)": (
        "a row a session: each message rewrites the array of them all, in a transaction of its own;"
        " psycopg, in asyncio asyncpg"
    ),
    "SQLAlchemyChatStore (llama-index)": (
        "asyncio only (aiosqlite, asyncpg); an index on the session; ordered by the clock; on"
        " SQLite its rollback journal; the last messages are found by counting all"
    ),
    "SQLiteSession (openai-agents)": (
        "asyncio only: sqlite3 in threads, one at a time for a file; WAL, an index on the session"
    ),
    "SQLAlchemySession (openai-agents)": (
        "asyncio only (aiosqlite, asyncpg); an index on the session; a session's row is locked for"
        " an append; on SQLite WAL"
    ),
    "RedisSession (openai-agents)": (
        "asyncio only; an append is WATCH, two TYPEs and a transaction, tried again where another"
        " client was quicker; a lock for each session's object"
    ),
    "SqliteSaver, AsyncSqliteSaver (langgraph)": (
        "WAL, one connection under one lock; each turn reads the newest checkpoint and writes all"
        " messages again, and every older checkpoint stays"
    ),
    "PostgresSaver, AsyncPostgresSaver (langgraph)": (
        "psycopg's pool under one lock; each turn reads the newest checkpoint and writes all"
        " messages again, and every older checkpoint stays"
    ),
}

SAVERS_APPEND = (
    "To append, LangGraph's savers read the whole state first, as there is no other way to append"
    " to a thread: that is in their figures."
)

IN_MEMORY = (
    "In memory, LangChain's own history keeps messages as they are, and those of the caller: there"
    " is nothing for it to read or to save."
)

LEFT_OUT = (
    "with_session_history on PostgreSQL, with a window, and where many ask at once",
    "listing, and replaying after an outage, in asyncio",
    "among 200,000 sessions: windows, asyncio and the peers (the limit lists only)",
    "AsyncSessionChatStore with archived messages, InMemorySessionStore where many ask at once",
    "EncryptedSessionStore, MySQL and MariaDB, Redis as a Cluster or under Sentinels, PgBouncer",
)
