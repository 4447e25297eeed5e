"""Sessions in any SQL database that SQLAlchemy knows."""

try:
    from sessionstore.sql.database import AgentDb
except ImportError as _error:
    raise ImportError(
        "AgentDb and DbSessionStore need the sql extra: pip install 'sessionstore[sql]', or "
        "'sessionstore[postgres]' for PostgreSQL"
    ) from _error

from sessionstore.sql.postgres_db import PostgresAgentDb
from sessionstore.sql.sqlite_db import SqliteAgentDb
from sessionstore.sql.store import DbSessionStore

__all__ = ["AgentDb", "DbSessionStore", "PostgresAgentDb", "SqliteAgentDb"]
