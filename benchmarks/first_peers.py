"""Programs of a peer's first turn, as its documentation has it: see `first_programs`."""

from __future__ import annotations

from first_programs import Program

_SQLITE = "url = 'sqlite:///' + url\n"
_AIOSQLITE = "url = 'sqlite+aiosqlite:///' + url\n"
_PSYCOPG = "url = url.replace('postgresql', 'postgresql+psycopg', 1)\n"
_ASYNCPG = "url = url.replace('postgresql', 'postgresql+asyncpg', 1)\n"

# -- LangChain -----------------------------------------------------------------------------------

_A_TURN = """
history.messages
history.add_messages([HumanMessage(user), AIMessage(agent)])
"""
_SQL_HISTORY = f"""
from langchain_community.chat_message_histories import SQLChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
history = SQLChatMessageHistory("first", connection=url)
{_A_TURN}
history.engine.dispose()
"""
_REDIS_HISTORY = f"""
from langchain_community.chat_message_histories import RedisChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
history = RedisChatMessageHistory("first-langchain", url)
{_A_TURN}
history.redis_client.close()
"""
_SEARCH_HISTORY = f"""
from langchain_core.messages import AIMessage, HumanMessage
from langchain_redis import RedisChatMessageHistory
history = RedisChatMessageHistory("first", url, protocol=2)
{_A_TURN}
history.redis_client.close()
"""
_POSTGRES_HISTORY = f"""
import psycopg, uuid
from langchain_core.messages import AIMessage, HumanMessage
from langchain_postgres import PostgresChatMessageHistory
connection = psycopg.connect(url)
PostgresChatMessageHistory.create_tables(connection, "first_langchain")
name = str(uuid.UUID(int=1))
history = PostgresChatMessageHistory("first_langchain", name, sync_connection=connection)
{_A_TURN}
connection.close()
"""

# -- LlamaIndex ----------------------------------------------------------------------------------

_A_CHAT = """
store.get_messages("first-llama")
store.add_message("first-llama", ChatMessage(user, role="user"))
store.add_message("first-llama", ChatMessage(agent, role="assistant"))
"""
_REDIS_STORE = f"""
from llama_index.core.llms import ChatMessage
from llama_index.storage.chat_store.redis import RedisChatStore
store = RedisChatStore(redis_url=url)
{_A_CHAT}
"""
_POSTGRES_STORE = f"""
from llama_index.core.llms import ChatMessage
from llama_index.storage.chat_store.postgres import PostgresChatStore
store = PostgresChatStore.from_uri(url, table_name="first_llama")
{_A_CHAT}
"""
_SQL_STORE = """
import asyncio
from llama_index.core.llms import ChatMessage
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
async def turn():
    store = SQLAlchemyChatStore("first_rows", async_database_uri=url)
    await store.get_messages("first")
    said = [ChatMessage(user, role="user"), ChatMessage(agent, role="assistant")]
    await store.add_messages("first", said)
    await store._async_engine.dispose()
asyncio.run(turn())
"""

# -- the OpenAI Agents SDK -----------------------------------------------------------------------

_ITEMS = """
    await session.get_items()
    said = [{"role": "user", "content": user}, {"role": "assistant", "content": agent}]
    await session.add_items(said)
"""
_SQLITE_SESSION = f"""
import asyncio
from agents import SQLiteSession
async def turn():
    session = SQLiteSession("first", url)
{_ITEMS}
    session.close()
asyncio.run(turn())
"""
_SQL_SESSION = f"""
import asyncio
from agents.extensions.memory import SQLAlchemySession
async def turn():
    session = SQLAlchemySession.from_url("first", url=url, create_tables=True)
{_ITEMS}
    await session.engine.dispose()
asyncio.run(turn())
"""
_REDIS_SESSION = f"""
import asyncio
from agents.extensions.memory import RedisSession
async def turn():
    session = RedisSession.from_url("first", url=url)
{_ITEMS}
    await session.close()
asyncio.run(turn())
"""

# -- LangGraph: what a graph does with its saver in a turn, without the graph ---------------------

_CHECKPOINT = """
    saver.setup()
    thread = {"configurable": {"thread_id": "first", "checkpoint_ns": ""}}
    found = saver.get_tuple(thread)
    before = found.checkpoint if found else empty_checkpoint()
    read = before["channel_values"].get("messages", [])
    last = before["channel_versions"].get("messages")
    versions = {"messages": saver.get_next_version(last, None)}
    after = {**empty_checkpoint(), "v": 4, "channel_versions": versions,
             "channel_values": {"messages": [*read, HumanMessage(user), AIMessage(agent)]}}
    step = {"source": "loop", "step": 0, "parents": {}}
    saver.put(found.config if found else thread, after, step, versions)
"""
_SAVER = """
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.{module} import {kind}
with {kind}.from_conn_string(url) as saver:
{checkpoint}
"""
_SQLITE_SAVER = _SAVER.format(module="sqlite", kind="SqliteSaver", checkpoint=_CHECKPOINT)
_POSTGRES_SAVER = _SAVER.format(module="postgres", kind="PostgresSaver", checkpoint=_CHECKPOINT)

# ------------------------------------------------------------------------------------------------

_SQL_HISTORY_NAME = "SQLChatMessageHistory (langchain-community)"
_SQL_STORE_NAME = "SQLAlchemyChatStore (llama-index)"
_SQL_SESSION_NAME = "SQLAlchemySession (openai-agents)"
_LC, _LI, _OA, _LG = "langchain", "llama-index", "openai-agents", "langgraph"
_COMMUNITY = "langchain-community"

PEERS: dict[str, tuple[Program, ...]] = {
    "sqlite": (
        (_SQL_HISTORY_NAME, _LC, _COMMUNITY, _SQLITE + _SQL_HISTORY),
        (_SQL_STORE_NAME, _LI, "llama-index-core", _AIOSQLITE + _SQL_STORE),
        ("SQLiteSession (openai-agents)", _OA, "openai-agents", _SQLITE_SESSION),
        (_SQL_SESSION_NAME, _OA, "openai-agents", _AIOSQLITE + _SQL_SESSION),
        ("SqliteSaver (langgraph)", _LG, "langgraph-checkpoint-sqlite", _SQLITE_SAVER),
    ),
    "redis": (
        ("RedisChatMessageHistory (langchain-community)", _LC, _COMMUNITY, _REDIS_HISTORY),
        ("RedisChatMessageHistory (langchain-redis)", _LC, "langchain-redis", _SEARCH_HISTORY),
        (
            "RedisChatStore (llama-index)",
            _LI,
            "llama-index-storage-chat-store-redis",
            _REDIS_STORE,
        ),
        ("RedisSession (openai-agents)", _OA, "openai-agents", _REDIS_SESSION),
    ),
    "postgresql": (
        (_SQL_HISTORY_NAME, _LC, _COMMUNITY, _PSYCOPG + _SQL_HISTORY),
        (
            "PostgresChatMessageHistory (langchain-postgres)",
            _LC,
            "langchain-postgres",
            _POSTGRES_HISTORY,
        ),
        (
            "PostgresChatStore (llama-index)",
            _LI,
            "llama-index-storage-chat-store-postgres",
            _POSTGRES_STORE,
        ),
        (_SQL_STORE_NAME, _LI, "llama-index-core", _ASYNCPG + _SQL_STORE),
        (_SQL_SESSION_NAME, _OA, "openai-agents", _ASYNCPG + _SQL_SESSION),
        ("PostgresSaver (langgraph)", _LG, "langgraph-checkpoint-postgres", _POSTGRES_SAVER),
    ),
}
