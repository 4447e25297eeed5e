"""Sessions in any SQL database that SQLAlchemy knows."""

from sessionstore.sql.database import AgentDb, PostgresAgentDb, SqliteAgentDb
from sessionstore.sql.store import DbSessionStore

__all__ = ["AgentDb", "DbSessionStore", "PostgresAgentDb", "SqliteAgentDb"]
