from __future__ import annotations

from pathlib import Path

import pytest

from sessionstore import (
    InMemorySessionStore,
    InvalidSessionError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
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
