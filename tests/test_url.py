from __future__ import annotations

import re
import socket
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessionstore import (
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidSessionError,
    InvalidTypeError,
    SessionMessage,
    SessionStoreError,
    SqliteAgentDb,
    SQLiteSessionStore,
    StoreConnectionError,
    StoreUnavailableError,
    open_store,
)


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory:///"])
def test_memory_urls_open_a_store_in_memory(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, InMemorySessionStore)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_sqlite_urls_without_a_path_open_a_database_in_memory(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, SQLiteSessionStore)
        assert repr(store) == "SQLiteSessionStore(':memory:')"


def test_a_relative_sqlite_url_opens_a_file_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///sessions.db") as store:
        store.append_message("s", SessionMessage("user", "Hello!"))
    assert (tmp_path / "sessions.db").exists()


def test_an_absolute_sqlite_url_opens_its_file(tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
            store.append_message("s", SessionMessage("user", "Hello!", id="m"))
            assert len(store.get_messages("s")) == 1


@pytest.mark.parametrize("url", ["memory:", "sqlite://"])
def test_retention_days_reaches_the_store(url: str) -> None:
    with open_store(url, retention_days=1e-9) as store:
        store.append_message("s", SessionMessage("user", "Hello!"))
        store.create("later")
        while store.get("later"):
            pass
        assert store.get("s") is None


@pytest.mark.parametrize("url", [None, Path("sessions.db")])
def test_what_is_no_text_is_refused_with_an_example(url: Any) -> None:
    with pytest.raises(InvalidTypeError, match="url must be a string, such as sqlite:///"):
        open_store(url)


@pytest.mark.parametrize("url", ["memory:", "sqlite://"])
def test_an_invalid_retention_is_refused(url: str) -> None:
    with pytest.raises(InvalidSessionError):
        open_store(url, retention_days=0)


def test_missing_folders_are_made_where_that_is_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{{}}/sessions.db"
    with open_store(url.format("a"), create_parents=True) as store:
        assert store.append_message("s", SessionMessage("user", "Hello!")) == 1
    with open_store("redis://h", fallback=url.format("b"), create_parents=True):
        assert (tmp_path / "b").is_dir()
    primary = InMemorySessionStore()
    with FallbackSessionStore(primary, fallback=url.format("c/d"), create_parents=True):
        assert (tmp_path / "c" / "d").is_dir()
    for fallback in ("in-memory", None):
        with pytest.raises(TypeError, match="create_parents must be True or False"):
            open_store("memory:", fallback=fallback, create_parents=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="create_parents must be True or False"):
        FallbackSessionStore(primary, create_parents=1)  # type: ignore[arg-type]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
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
def test_an_unknown_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="no store for a URL") as caught:
        open_store(url)
    assert "@" not in str(caught.value)
    assert url == "s3cret" or "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["sessions.db", "memory", "s3cret"])
def test_a_text_without_a_scheme_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"without a scheme: a file is sqlite:///sessions.db"):
        open_store(url)


@pytest.mark.parametrize("fallback", ["memory", "outage.db"])
def test_an_invalid_fallback_is_refused_with_an_example(fallback: str) -> None:
    with pytest.raises(ValueError, match=r'^fallback must be "in-memory".*sqlite:///sessions.db'):
        open_store("redis://h", fallback=fallback)


# -- How long to wait --------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory:", "sqlite://", "sqlite+pysqlite://", "redis://h"])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError)],
)
def test_an_invalid_timeout_is_refused(url: str, timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^timeout must be a number of seconds"):
        open_store(url, timeout=timeout)


@pytest.mark.parametrize("url", ["memory:", "sqlite://", "sqlite+pysqlite://"])
def test_a_store_on_this_machine_takes_a_timeout(url: str) -> None:
    with open_store(url, timeout=0.5) as store:
        store.append_message("s", SessionMessage("user", "Hello!"))


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
def test_a_timeout_ends_the_wait_for_other_writers(scheme: str, tmp_path: Path) -> None:
    # With the default, 5 seconds, this would wait longer than the other one writes.
    url = f"{scheme}:///{tmp_path / 'sessions.db'}"
    with open_store(url, timeout=0.1) as store:
        store.create("s")
        other = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
        with closing(other):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError):
                store.append_message("s", SessionMessage("user", "Hello!"))


@pytest.fixture
def silence() -> Iterator[int]:
    """Give the port of a server that takes connections, and then says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield silent.getsockname()[1]


def test_a_timeout_reaches_redis(silence: int) -> None:
    url = f"redis://127.0.0.1:{silence}"
    with open_store(url, timeout=0.1, fallback=None) as store:
        with pytest.raises(StoreUnavailableError):
            store.ping()
        assert store._settings.options["socket_timeout"] == 0.1


def test_a_timeout_reaches_postgres() -> None:
    with open_store("postgresql://h/d", timeout=0.5, fallback=None) as store:
        assert store.timeout == 0.5
        assert store._db._parameters.opened()["connect_timeout"] == 2  # libpq waits no shorter
    with open_store("postgresql://h/d", timeout=7, fallback=None) as store:
        assert store._db._parameters.opened()["connect_timeout"] == 7
    with open_store("postgresql://h/d", fallback=None) as store:
        assert store.timeout == 10


@pytest.mark.parametrize("scheme", ["mysql+pymysql", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_a_timeout_is_refused_for_a_driver_that_may_not_take_it(scheme: str) -> None:
    with pytest.raises(ValueError, match=rf"timeout is not known for {re.escape(scheme)}: use"):
        open_store(f"{scheme}://u:secret@h/d", timeout=1)


def test_a_timeout_is_refused_beside_a_database_object() -> None:
    with SqliteAgentDb() as db, pytest.raises(ValueError, match="timeout is for a URL"):
        DbSessionStore(db, timeout=1)


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
def test_a_store_behind_a_network_is_wrapped_in_a_fallback(url: str) -> None:
    with open_store(url) as store:
        assert isinstance(store, FallbackSessionStore)
    with open_store(url, fallback=None) as store:
        assert not isinstance(store, FallbackSessionStore)


@pytest.mark.parametrize("url", ["memory:", "sqlite://", "sqlite+pysqlite://", "SQLITE://"])
def test_a_store_on_this_machine_is_not_wrapped_in_a_fallback(url: str) -> None:
    with open_store(url, fallback="in-memory") as store:
        assert not isinstance(store, FallbackSessionStore)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give the URL of a Redis that is down."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}"


def test_a_store_whose_server_is_down_from_the_start_answers_from_the_fallback(nobody: str) -> None:
    errors: list[object] = []
    with open_store(nobody, on_fallback=errors.append, max_pending=1) as store:
        assert isinstance(store, FallbackSessionStore)
        assert store.append_message("s", SessionMessage("user", "Hello!", id="m")) == 1
        assert [message.id for message in store.get_messages("s")] == ["m"]
        assert store.is_degraded()
        assert [type(error) for error in errors] == [StoreConnectionError]
        with pytest.raises(StoreUnavailableError, match="1 writes wait"):
            store.append_message("s", SessionMessage("user", "Hello?"))
    with open_store(nobody, unknown="raise") as store, pytest.raises(StoreUnavailableError):
        store.get("s")


def test_a_fallback_in_a_file_keeps_writes_over_a_restart(nobody: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'outage.db'}"
    for number in range(3):
        with open_store(nobody, fallback=url) as store:
            assert len(store.get_messages("s")) == number
            store.append_message("s", SessionMessage("user", "Hello!"))


def test_a_fallback_behind_a_network_is_not_wrapped_in_another_fallback(nobody: str) -> None:
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
        {"max_sessions": 0},
        {"max_messages": 0},
        {"unknown": "forget"},
    ],
)
@pytest.mark.parametrize("url", ["redis://h", "memory:", "sqlite://", "sqlite+pysqlite://"])
def test_invalid_options_of_the_fallback_are_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(options)):
        open_store(url, **options)


@pytest.mark.parametrize("url", ["redis://h", "memory:", "sqlite://"])
@pytest.mark.parametrize(
    "options", [{"on_fallback": 3}, {"retry_after": "1"}, {"max_sessions": 1.5}]
)
@pytest.mark.parametrize("fallback", ["in-memory", None])
def test_options_of_the_fallback_of_the_wrong_type_are_refused(
    url: str, fallback: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="|".join(options)):
        open_store(url, fallback=fallback, **options)


def test_a_fallback_that_is_not_needed_is_not_made(tmp_path: Path) -> None:
    with open_store("memory:", fallback=f"sqlite:///{tmp_path}/outage.db") as store:
        assert isinstance(store, InMemorySessionStore)
    assert list(tmp_path.iterdir()) == []


def test_max_sessions_and_max_messages_reach_the_fallback(nobody: str) -> None:
    with open_store(nobody, max_sessions=1, max_messages=2) as store:
        assert isinstance(store, FallbackSessionStore)
        assert (store._parts.cache.max_sessions, store._parts.cache.max_messages) == (1, 2)


PASSWORD = "s3cret-password"  # noqa: S105 - that is what it is


def variables_of(error: BaseException | None) -> str:
    """Give the variables of all frames of this package, in an error and in what led to it."""
    shown, seen = "", set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown += "".join(f"{name}={value!r}\n" for name, value in frame.f_locals.items())
        error = error.__cause__ or error.__context__
    return shown


@pytest.mark.parametrize("options", [{}, {"timeout": "1"}, {"retention_days": -1}, {"unknown": 7}])
@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{PASSWORD}@localhost:notaport",
        f"redis://u:{PASSWORD}@localhost/?nosuch=1",
        f"redis+sentinel://u:{PASSWORD}@one:1,two",
        f"postgresql://u:{PASSWORD}@localhost:notaport/db",
        f"postgresql+nosuch://u:{PASSWORD}@localhost/db",
        f"nosuch://u:{PASSWORD}@localhost/db",
        f"sqlite://u:{PASSWORD}@localhost/db",
        f"sqlite:///{PASSWORD}?x",
        PASSWORD,
    ],
)
def test_no_frame_of_an_error_holds_a_password(url: str, options: dict[str, Any]) -> None:
    for given in ({"url": url, "fallback": None}, {"url": "redis://localhost", "fallback": url}):
        with pytest.raises((ValueError, TypeError)) as caught:
            open_store(**given, **options)
        assert "function=" in variables_of(caught.value)
        assert PASSWORD not in variables_of(caught.value)
        assert PASSWORD not in f"{caught.value}"
