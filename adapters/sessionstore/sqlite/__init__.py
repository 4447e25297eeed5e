"""Sessions in an SQLite file, with the `sqlite3` of the standard library."""

from sessionstore.sqlite.store import SQLiteSessionStore

__all__ = ["SQLiteSessionStore"]
