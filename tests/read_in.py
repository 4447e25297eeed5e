"""What the tests of readers share: readings taken apart, and put into a store."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from servers.postgres import PostgresServer

from sessionstore import InMemorySessionStore, SessionData
from sessionstore.transfer.readers import Unreadable
from sessionstore.transfer.readers.building import Reading

DATA = Path(__file__).parent / "data"


def apart(reading: Reading) -> tuple[dict[str, SessionData], list[Unreadable]]:
    """Give the sessions of a reading by id, and what could not be read."""
    sessions, unreadable = {}, []
    for found in reading:
        if isinstance(found, Unreadable):
            unreadable.append(found)
        else:
            assert found.id not in sessions
            assert found.message_count == len(found.messages)
            sessions[found.id] = found
    return sessions, unreadable


def all_of(reading: Reading) -> dict[str, SessionData]:
    """Give the sessions of a reading of which all could be read."""
    sessions, unreadable = apart(reading)
    assert not unreadable, "\n".join(map(str, unreadable))
    return sessions


def store_of(reading: Reading) -> InMemorySessionStore:
    """Put the sessions of a reading into a store."""
    store = InMemorySessionStore()
    for session in all_of(reading).values():
        store.create(
            session.id,
            agent_id=session.agent_id,
            user_id=session.user_id,
            messages=session.messages,
            metadata=session.metadata,
        )
    return store


@contextmanager
def foreign() -> Iterator[None]:
    """Use another library: what it warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def database_of_others(postgres: PostgresServer) -> Iterator[str]:
    """Have what `data/write_postgres_tables.py` wrote, in a database of its own; give its URL."""
    name = f"others_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(postgres.url(name), autocommit=True) as others:
            others.execute((DATA / "postgres_tables.sql").read_bytes())
        yield postgres.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
