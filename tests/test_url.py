from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidSessionError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
    open_store,
)


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory:///"])
def test_memory(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, InMemorySessionStore)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_sqlite_in_memory(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, SQLiteSessionStore)
        assert repr(store) == "SQLiteSessionStore(':memory:')"


def test_sqlite_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///sessions.db") as store:
        store.append_message("s", SessionMessage("user", "Hello!"))
    assert (tmp_path / "sessions.db").exists()


def test_sqlite_at_an_absolute_path(tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
            store.append_message("s", SessionMessage("user", "Hello!", id="m"))
            assert len(store.get_messages("s")) == 1


@pytest.mark.parametrize("url", ["memory:", "sqlite://"])
def test_retention_reaches_the_store(url: str) -> None:
    with open_store(url, retention_days=1e-9) as store:
        store.append_message("s", SessionMessage("user", "Hello!"))
        store.create("later")
        while store.get("later"):
            pass
        assert store.get("s") is None


@pytest.mark.parametrize("url", ["memory:", "sqlite://"])
def test_retention_that_is_none(url: str) -> None:
    with pytest.raises(InvalidSessionError):
        open_store(url, retention_days=0)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError, match="does not exist"):
        open_store(f"sqlite:///{tmp_path}/nowhere/sessions.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sessions.db",
        "memory:x",
        "sqlite:",
        "sqlite:sessions.db",
        "sqlite:/sessions.db",
        "sqlite://sessions.db",
        "nosuch://user:s3cret@host/db",
        "s3cret",
        "://s3cret",
    ],
)
def test_a_url_of_no_store(url: str) -> None:
    with pytest.raises(ValueError, match="no store for a URL") as caught:
        open_store(url)
    assert "@" not in str(caught.value)
    assert url == "s3cret" or "s3cret" not in str(caught.value)


# -- What is behind a network comes with the fallback ------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://h",
        "unix:///tmp/redis.sock",
        "redis+sentinel://h/name",
        "redis+cluster://h",
        "Redis://h",
        "postgresql://h/d",
        "postgresql+psycopg://h/d",
        "mysql+pymysql://h/d",
    ],
)
def test_a_store_behind_a_network_is_wrapped(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, FallbackSessionStore)
    with open_store(url, fallback=None) as store:
        assert not isinstance(store, FallbackSessionStore)


@pytest.mark.parametrize("url", ["memory:", "sqlite://", "sqlite+pysqlite://", "SQLITE://"])
def test_a_store_on_this_machine_is_not(url: str) -> None:
    with open_store(url, fallback="in-memory") as store:
        assert not isinstance(store, FallbackSessionStore)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give the URL of a Redis that is down."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_down_from_the_start(nobody: str) -> None:
    told: list[object] = []
    with open_store(nobody, on_fallback=told.append, max_pending=1) as store:
        assert isinstance(store, FallbackSessionStore)
        assert store.append_message("s", SessionMessage("user", "Hello!", id="m")) == 1
        assert [message.id for message in store.get_messages("s")] == ["m"]
        assert store.is_degraded()
        assert [type(error) for error in told] == [StoreUnavailableError]
        with pytest.raises(StoreUnavailableError, match="1 writes wait"):
            store.append_message("s", SessionMessage("user", "Hello?"))
    with open_store(nobody, unknown="raise") as store, pytest.raises(StoreUnavailableError):
        store.get("s")


def test_a_fallback_in_a_file_lasts(nobody: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'outage.db'}"
    for number in range(3):
        with open_store(nobody, fallback=url) as store:
            assert len(store.get_messages("s")) == number
            store.append_message("s", SessionMessage("user", "Hello!"))


def test_a_fallback_behind_a_network_has_none_of_its_own(nobody: str) -> None:
    """What is written to a journal there is there: not in this process's memory."""
    with pytest.raises(StoreUnavailableError), open_store(nobody, fallback=nobody) as store:
        store.append_message("s", SessionMessage("user", "Hello!"))


@pytest.mark.parametrize(
    "options",
    [
        {"fallback": "nosuch:"},
        {"retry_after": -1},
        {"retry_after": 2, "retry_cap": 1},
        {"max_pending": 0},
        {"unknown": "forget"},
    ],
)
def test_options_of_the_fallback_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no store|retry_after|max_pending|unknown"):
        open_store("redis://h", **options)
