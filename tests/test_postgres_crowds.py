"""Crowds in two processes on one PostgreSQL database, held against a model of what they did."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import pytest
from servers.postgres import PostgresServer

from sessionstore import DbSessionStore, PostgresAgentDb, SessionConflictError, SessionMessage
from sessionstore.testing.processes import afresh

PROCESSES, OWNERS, SHARERS, STEPS = 2, 24, 24, 30
SHARED = [f"shared {n}" for n in range(5)]


class Told(NamedTuple):
    """What one task was told of a session that it shares.

    Attributes:
        session: Which.
        added: The ids that it added, in order.
        deleted: The ids that it was told it had deleted.
        changes: How often it changed the session.
        expected: The versions at which it won.
    """

    session: str
    added: list[str]
    deleted: list[str]
    changes: int
    expected: list[int]


def say(message_id: str) -> SessionMessage:
    return SessionMessage("user", f"this is {message_id}", id=message_id)


async def own(store: DbSessionStore, name: str) -> str:
    """Use a session that is nobody else's, and compare each answer; give what is wrong."""
    chance, held, version = random.Random(name), list[str](), 0  # noqa: S311
    for step in range(STEPS):
        ids = [f"{step}.{part}" for part in range(chance.randint(1, 4))]
        messages = [say(one) for one in ids]
        way = chance.choice("aaarrregxd")
        wanted: Any
        if way in "ae":
            expected = version if way == "e" else None
            found: Any = await store.aappend_messages(name, messages, expected_version=expected)
            held, version, wanted = held + ids, version + 1, len(ids)
        elif way == "r":
            limit = chance.randint(1, 6)
            read = await store.aget_messages(name, limit=limit)
            found, wanted = [message.id for message in read], held[-limit:]
        elif way == "g":
            session = await store.aget(name, limit=2)
            found = session and (session.version, [message.id for message in session.messages])
            wanted = (version, held[-2:]) if version else None
        elif way == "x":
            found, wanted = await store.adelete_messages(name, held[:2]), held[:2]
            held, version = held[2:], version + bool(held)
        else:
            found, wanted = await store.adelete(name), version > 0
            held, version = [], 0
        if found != wanted:
            return f"{name}, step {step} ({way}): {found!r}, not {wanted!r}"
    return ""


async def share(store: DbSessionStore, name: str) -> Told:
    """Use a session that others use, too, and note what came of it."""
    chance = random.Random(name)  # noqa: S311
    told = Told(chance.choice(SHARED), [], [], 0, [])
    changes = 0
    for step in range(STEPS):
        one = f"{name}/{step}"
        way = chance.choice("aaaaerx")
        if way == "a":
            changes += await store.aappend_message(told.session, say(one))
            told.added.append(one)
        elif way == "e":
            session = await store.aget(told.session, limit=1)
            version = session.version if session else 0
            try:
                await store.aappend_message(told.session, say(one), expected_version=version)
            except SessionConflictError:
                continue
            changes += 1
            told.added.append(one)
            told.expected.append(version)
        else:
            read = await store.aget_messages(told.session, limit=6)
            ids = [str(message.id) for message in read]
            assert len(ids) == len(set(ids))
            assert all(message.content == f"this is {message.id}" for message in read)
            if way == "x":
                deleted = await store.adelete_messages(told.session, ids[:2])
                told.deleted.extend(deleted)
                changes += bool(deleted)
    return told._replace(changes=changes)


def crowd(url: str, schema: str, number: int) -> tuple[list[str], list[Told]]:
    """Do all that a process does."""

    async def at_once() -> tuple[list[str], list[Told]]:
        async with PostgresAgentDb(url, schema=schema) as db:
            store = DbSessionStore(db)
            owning = [own(store, f"own {number}.{n}") for n in range(OWNERS)]
            sharing = [share(store, f"{number}.{n}") for n in range(SHARERS)]
            faults, told = await asyncio.gather(asyncio.gather(*owning), asyncio.gather(*sharing))
            return faults, told

    return asyncio.run(at_once())


@pytest.mark.soak
def test_two_crowds_do_what_a_model_does(postgres: PostgresServer, schema: str) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=afresh()) as pool:
        running = [pool.submit(crowd, postgres.url(), schema, n) for n in range(PROCESSES)]
        results = [one.result(120) for one in running]
    assert not [fault for faults, _ in results for fault in faults if fault]
    everyone = [told for _, tolds in results for told in tolds]
    with PostgresAgentDb(postgres.url(), schema=schema) as db:
        store = DbSessionStore(db)
        for name in SHARED:
            here = [told for told in everyone if told.session == name]
            session = store.get(name)
            assert session is not None
            stored = [str(message.id) for message in session.messages]
            deleted = Counter(one for told in here for one in told.deleted)
            assert set(deleted.values()) <= {1}, "two were told that they had deleted a message"
            assert Counter(stored) + deleted == Counter(one for told in here for one in told.added)
            for told in here:
                assert [one for one in told.added if one in set(stored)] == [
                    one for one in stored if one in set(told.added)
                ]
            assert session.version == sum(told.changes for told in here)
            won = Counter(version for told in here for version in told.expected)
            assert set(won.values()) <= {1}, "two won at one version"
        page = store.list_sessions(limit=100)
        counts = {info.id: info.message_count for info in page.sessions}
        assert all(counts[name] == len(store.get_messages(name)) for name in counts)
        times = [info.updated_at for info in page.sessions]
        assert times == sorted(times, reverse=True)
        assert len(times) == len(set(times))
