"""What a checkpointer with a fallback leaves to its primary: versions, serializers, deltas."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, TypedDict

import psycopg
import pytest
from graphs import approval
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer, is_outage
from sessionstore import FallbackSessionStore, InMemorySessionStore, OutageError, StoreBusyError

CONFIG = {"configurable": {"thread_id": "t"}}
ANSWER = Command(resume="yes")


@dataclass
class Place:
    name: str


class Journey(TypedDict):
    places: list[Place]


def journey():
    graph = StateGraph(Journey)
    graph.add_node("go", lambda state: {"places": [*state["places"], Place("there")]})
    graph.add_edge(START, "go")
    return graph


class Swapping:
    """A cipher that a test can see through, and a reader of a file can't."""

    def encrypt(self, plaintext):
        return "swap", plaintext[::-1]

    def decrypt(self, _, ciphertext):
        return ciphertext[::-1]


def test_the_journal_is_encrypted_where_the_checkpoints_are(tmp_path):
    saver = Cut(serde=EncryptedSerializer(Swapping()))
    saver.is_away = True
    with FallbackCheckpointer(saver, fallback=f"sqlite:///{tmp_path}/journal.db") as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        graph.invoke({"log": ["secret words"]}, CONFIG)
        for call in checkpointer.pending():
            if call.method == "put":
                assert call.arguments()[1]["channel_values"]
        saver.is_away = False
        told = graph.get_state(CONFIG)
        assert checkpointer.recover()
        assert graph.copy({"checkpointer": saver}).get_state(CONFIG) == told


def test_clones_share_circuit_and_journal(monkeypatch):
    saver = Cut(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    with FallbackCheckpointer(saver, retry_after=30) as checkpointer:
        clone = checkpointer.with_allowlist([(Place.__module__, "Place")])
        assert clone is not checkpointer
        monkeypatch.setattr(Cut, "is_away", True)
        graph = journey().compile(checkpointer=clone)
        graph.invoke({"places": [Place("here")]}, CONFIG)
        assert checkpointer.is_degraded()
        assert len(checkpointer.pending()) == len(clone.pending()) > 0
        assert graph.get_state(CONFIG).values["places"] == [Place("here"), Place("there")]
        monkeypatch.undo()
        assert checkpointer.recover()
        assert clone.pending() == []
        alone = clone.primary.get_tuple(CONFIG)
        assert alone.checkpoint["channel_values"]["places"] == [Place("here"), Place("there")]


def test_versions_are_the_primarys():
    class Counting(Cut):
        def get_next_version(self, current, _):
            return (current or 0) + 10

    checkpointer = FallbackCheckpointer(Counting())
    assert checkpointer.get_next_version(7, None) == 17
    assert checkpointer.config_specs == []
    assert checkpointer.serde is checkpointer.primary.serde


def joined(have, more):
    return [*have, *chain.from_iterable(more)]


class Growing(TypedDict):
    log: Annotated[list, DeltaChannel(joined)]


def test_a_thread_of_differences_is_refused_in_an_outage():
    saver = Cut()
    graph = StateGraph(Growing)
    graph.add_node("say", lambda _: {"log": ["said"]})
    graph.add_edge(START, "say")
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        built = graph.compile(checkpointer=checkpointer)
        assert built.invoke({"log": ["a"]}, CONFIG)["log"] == ["a", "said"]
        assert built.invoke({"log": ["b"]}, CONFIG)["log"] == ["a", "said", "b", "said"]
        saver.is_away = True
        for thread in (CONFIG, {"configurable": {"thread_id": "new"}}):
            with pytest.raises(OutageError):
                built.invoke({"log": ["c"]}, thread, durability="sync")
        assert "put" not in {call.method for call in checkpointer.pending()}
        saver.is_away = False
        assert built.invoke({"log": ["c"]}, CONFIG)["log"][-2:] == ["c", "said"]


def test_a_primary_that_takes_no_writes_is_read():
    saver = Cut()
    alone = approval().compile(checkpointer=saver)
    alone.invoke({"log": ["before"]}, CONFIG)

    class Standby(Cut):
        storage, writes, blobs = None, None, None

        def _answer(self):
            if self.loses_answers:
                raise psycopg.errors.ReadOnlySqlTransaction

    standby = Standby()
    standby.storage, standby.writes, standby.blobs = saver.storage, saver.writes, saver.blobs
    standby.loses_answers = True
    with FallbackCheckpointer(standby, unknown="raise", retry_after=0) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        other = {"configurable": {"thread_id": "other"}}
        graph.invoke({"log": ["a"]}, other)
        assert checkpointer.is_degraded()
        assert graph.invoke(ANSWER, CONFIG)["log"][0] == "before"
        standby.loses_answers = False
        assert checkpointer.recover()


def test_it_shares_a_store_with_the_fallback_of_sessions():
    shared = InMemorySessionStore()
    saver = Cut()
    saver.is_away = True
    checkpointer = FallbackCheckpointer(saver, fallback=shared, retry_after=30)
    approval().compile(checkpointer=checkpointer).invoke({"log": ["a"]}, CONFIG)
    sessions = FallbackSessionStore(InMemorySessionStore(), fallback=shared)
    assert sessions.pending() == []
    assert {session.agent_id for session in shared.list_sessions().sessions} == {
        "langgraph:sessionstore:journal"
    }
    saver.is_away = False
    assert checkpointer.recover()
    sessions.close()
    checkpointer.close()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (psycopg.OperationalError("the connection is closed"), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.QueryCanceled(), True),
        (psycopg.errors.DeadlockDetected(), False),
        (psycopg.errors.LockNotAvailable(), False),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.DataError(), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.OperationalError("no such table: checkpoints"), False),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (StoreBusyError(), False),
        (ValueError(), False),
        (KeyError(), False),
    ],
)
def test_what_tells_an_outage(error, away):
    assert is_outage(error) == away
    wrapped = RuntimeError()
    wrapped.__cause__ = error
    assert is_outage(wrapped) == away


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_an_outage_of_its_own():
    saver = Cut()
    with FallbackCheckpointer(saver, retry_after=30) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        saver.is_away = True
        graph.invoke({"log": ["a"]}, CONFIG)
        child = os.fork()
        if child == 0:
            saver.is_away = False
            fine = checkpointer.pending() == [] and not checkpointer.is_degraded()
            graph.invoke({"log": ["b"]}, {"configurable": {"thread_id": "child"}})
            os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(checkpointer.pending()) > 0
        saver.is_away = False
        assert checkpointer.recover()


def test_a_checkpoint_that_can_not_be_remembered_is_put_all_the_same(caplog):
    with FallbackCheckpointer(Cut()) as checkpointer:
        config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        bare = {"id": "1", "ts": "", "channel_values": {}}  # as by hand: not all of one
        told = checkpointer.put(config, bare, {"source": "input"}, {})
        assert told["configurable"]["checkpoint_id"] == "1"
        assert "can't go on in an outage: KeyError" in caplog.text


def test_a_saver_in_memory_stays_what_it_is():
    checkpointer = FallbackCheckpointer(InMemorySaver())
    assert "InMemorySaver, healthy, <0 pending>" in repr(checkpointer)
    with pytest.raises(TypeError, match="must be a checkpointer"):
        FallbackCheckpointer(InMemorySaver)
