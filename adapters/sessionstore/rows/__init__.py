"""What the rows of an SQL table hold, the same in SQLite's own store and in SQLAlchemy's."""
