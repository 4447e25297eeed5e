"""Replays that meet what can't be read, what is refused, and what is no longer there."""

from __future__ import annotations

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer, core
from sessionstore import OutageError, SessionMessage

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def config(thread):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


def put(saver, config, **values):
    """Put a checkpoint that holds values, of which the last one is new."""
    versions = {name: saver.get_next_version(None, None) for name in values}
    new = dict(list(versions.items())[-1:])
    made = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
    return saver.put(config, made, {}, new)


@pytest.fixture
def saver():
    return Cut()


@pytest.fixture
def checkpointer(saver):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as made:
        yield made
        saver.is_away = False


class Locked:
    """A cipher whose key was lost."""

    def encrypt(self, plaintext):
        return "locked", plaintext

    def decrypt(self, *_):
        raise ValueError("a wrong key")


def test_what_the_serializer_cannot_read_is_set_aside_and_fails_nobody(checkpointer, saver):
    saver.is_away = True
    checkpointer.serde = EncryptedSerializer(Locked())
    put(checkpointer, config("unreadable"))
    checkpointer.serde = saver.serde
    good = put(checkpointer, config("good"))
    saver.is_away = False
    assert checkpointer.get_tuple(config("other")) is None
    assert checkpointer.recover()
    assert [call.thread_id for call in checkpointer.rejected()] == ["unreadable"]
    assert saver.get_tuple(good)


def test_what_was_acknowledged_and_cannot_be_read_is_not_taken_for_older(
    saver, tmp_path, monkeypatch
):
    def around():
        return FallbackCheckpointer(saver, fallback=f"sqlite:///{tmp_path}/journal.db")

    saver.is_away = True
    with around() as checkpointer:
        first = put(checkpointer, CONFIG)
        newer = SessionMessage("langgraph", "of a newer version")
        monkeypatch.setattr(core, "as_message", lambda _: newer)
        put(checkpointer, first)
    monkeypatch.undo()
    with around() as checkpointer:
        with pytest.raises(OutageError):
            checkpointer.get_tuple(CONFIG)
        saver.is_away = False
        assert checkpointer.recover()
        assert len(checkpointer.rejected()) == 1
        assert checkpointer.get_tuple(CONFIG).config == first


def test_what_others_put_is_no_matter_to_a_replay(checkpointer, saver, monkeypatch):
    first = put(checkpointer, CONFIG)
    saver.is_away = True
    second = put(checkpointer, first)
    saver.is_away = False
    get_tuple = saver.get_tuple

    def unreadable(asked):
        if asked["configurable"]["thread_id"] == "t":
            raise KeyError
        return get_tuple(asked)

    monkeypatch.setattr(saver, "get_tuple", unreadable)
    assert checkpointer.recover()
    monkeypatch.undo()
    assert checkpointer.rejected() == []
    assert saver.get_tuple(second)


def test_a_thread_that_others_deleted_gets_all_that_its_latest_checkpoint_holds(
    checkpointer, saver
):
    first = put(checkpointer, CONFIG, log=["a"])
    saver.is_away = True
    versions = checkpointer.get_tuple(CONFIG).checkpoint["channel_versions"]
    word = {"word": saver.get_next_version(None, None)}
    latest = {
        **empty_checkpoint(),
        "channel_values": {"log": ["a"], "word": ["b"]},
        "channel_versions": versions | word,
    }
    second = checkpointer.put(first, latest, {}, word)
    saver.is_away = False
    saver.delete_thread("t")
    assert checkpointer.recover()
    assert saver.get_tuple(second).checkpoint["channel_values"] == latest["channel_values"]


def test_runs_that_are_deleted_do_not_come_back(saver):
    def delete_for_runs(run_ids):
        for found in list(saver.list(None)):
            if found.metadata.get("run_id") in run_ids:
                saver.delete_thread(found.config["configurable"]["thread_id"])

    saver.delete_for_runs = delete_for_runs
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        saver.is_away = True
        for number in range(100):
            asked = config(str(number))
            checkpointer.put(asked, empty_checkpoint(), {"run_id": "r"}, {})
        saver.is_away = False
        checkpointer.delete_for_runs(["r"])
        assert checkpointer.recover()
    assert list(saver.list(None)) == []


def test_a_config_without_a_namespace_is_replayed(checkpointer, saver):
    saver.is_away = True
    ours = put(checkpointer, {"configurable": {"thread_id": "t"}})
    saver.is_away = False
    assert checkpointer.recover()
    assert saver.get_tuple(ours)


def test_what_is_too_large_is_the_callers(checkpointer, saver, monkeypatch):
    def refuse(*_):
        raise psycopg.errors.ProgramLimitExceeded

    saver.is_away = True
    ours = put(checkpointer, CONFIG)
    saver.is_away = False
    monkeypatch.setattr(saver, "put", refuse)
    assert checkpointer.recover()
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        put(checkpointer, CONFIG)
    assert not checkpointer.is_degraded()
    (rejected,) = checkpointer.rejected()
    assert rejected.checkpoint_id == ours["configurable"]["checkpoint_id"]
