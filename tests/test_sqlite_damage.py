from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import crowded, outside, require_previews_without_the_damaged, said

from sessionstore import (
    CorruptMessageError,
    SessionMessage,
    SessionStoreError,
    SQLiteSessionStore,
)
from sessionstore.operations import Reseal

WORDS = "s3cret words of a user"
DAMAGE = {
    "text": WORDS,
    "blob": b"s3cret",
    "no UTF-8": None,  # which Python can't hand to SQLite as text
    "real": 1.5,
    "infinity": float("inf"),
    "negative": -(2**63),
    "huge": 2**63 - 1,
    "deep": "[" * 5000 + "]" * 5000,
}
COLUMNS = {
    "sessionstore_sessions": (
        *("agent_id", "user_id", "metadata", "created_at", "updated_at"),
        *("version", "message_count", "last_position"),
    ),
    "sessionstore_messages": ("position", "id", "body"),
}
MESSAGES = [said(WORDS, f"m{n}") for n in range(3)]
CALLS: dict[str, Callable[[SQLiteSessionStore], Any]] = {
    "create": lambda store: store.create("s"),
    "get": lambda store: store.get("s", user_id="u"),
    "get_messages": lambda store: store.get_messages("s"),
    "first": lambda store: store.get_messages("s", limit=1, keep_system=True),
    "before": lambda store: store.get_messages("s", before="m1"),
    "after": lambda store: store.get_messages("s", after="m0"),
    "append": lambda store: store.append_messages("s", [said("new", "new"), said("old", "m1")]),
    "replace": lambda store: store.replace_message("s", said("new", "m0")),
    "delete_messages": lambda store: store.delete_messages("s", ["m0", "m2"]),
    "rewind": lambda store: store.rewind("s", to="m0"),
    "rewind all": lambda store: store.rewind("s", to=None),
    "reseal": lambda store: store.run(Reseal("s", MESSAGES, MESSAGES, {"a": WORDS}, {"a": 1})),
    "metadata": lambda store: store.update("s", metadata={"a": 2}),
    "update": lambda store: store.update("s", messages=[said("new")]),
    "list": lambda store: store.list_sessions(limit=1),
    "list of user": lambda store: store.list_sessions(user_id="u", limit=1),
    "list of last": lambda store: store.list_sessions(last=2),
    "prune": lambda store: store.prune_expired(),
    "delete": lambda store: store.delete("s", user_id="u"),
    "aget": lambda store: asyncio.run(store.aget("s")),
}


@pytest.fixture(scope="module", params=["alone", "crowded"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SQLiteSessionStore]:
    with SQLiteSessionStore(
        tmp_path_factory.mktemp("damage") / "sessions.db", retention_days=1, synchronous="NORMAL"
    ) as store:
        store.ping()
        with crowded(store) if request.param == "crowded" else nullcontext():
            yield store


def begin(store: SQLiteSessionStore) -> None:
    with outside(Path(store._path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DELETE FROM sessionstore_messages")
        connection.execute("DELETE FROM sessionstore_sessions")
    for session_id in ("before", "s", "after"):
        store.create(session_id, user_id="u", messages=MESSAGES, metadata={"a": WORDS})


@pytest.mark.parametrize("value", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, names in COLUMNS.items() for name in names]
)
def test_a_damaged_cell_harms_its_session_alone(
    store: SQLiteSessionStore, table: str, column: str, value: Any
) -> None:
    for name, call in CALLS.items():
        begin(store)
        damaged(store, table, column, value)
        try:
            call(store)
        except SessionStoreError as error:
            assert_says_nothing(error)
            assert name not in ("list", "list of user", "list of last", "prune")
        for other in ("before", "after"):
            assert len(store.get_messages(other, user_id="u")) == 3
            assert store.append_message(other, said("more")) == 1
        listed = [info.id for info in store.list_sessions(user_id="u").sessions]
        assert [found for found in listed if found != "s"] == ["after", "before"]
        assert not any(connection.in_transaction for connection in store._database.idle())


def damaged(store: SQLiteSessionStore, table: str, column: str, value: Any) -> None:
    if table == "sessionstore_sessions":
        where = "id = 's'"
    else:
        key = "(SELECT session_key FROM sessionstore_sessions WHERE id = 's')"
        where = f"session_key = {key} AND id = 'm1'"
    new = "CAST(x'ff7365637265' AS TEXT)" if value is None else "?"
    with outside(Path(store._path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        values = [] if value is None else [value]
        connection.execute(f"UPDATE {table} SET {column} = {new} WHERE {where}", values)


def assert_says_nothing(error: BaseException | None) -> None:
    while error:
        assert "s3cret" not in f"{error} {error!r} {vars(error)}"
        assert not isinstance(error, UnicodeDecodeError), "it holds what it could not decode"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "null",
        '{"role":"user","content":"a"},{"role":"user","content":"b"}',
        '{"role":"user","content":"a"},',
        "],[",
        '{"v":2,"role":"user"}',
    ],
)
def test_what_only_together_with_others_would_be_json_is_damage(
    store: SQLiteSessionStore, body: str
) -> None:
    begin(store)
    with outside(Path(store._path)) as connection:
        connection.execute("UPDATE sessionstore_messages SET body = ? WHERE id = 'm1'", (body,))
    for read in (CALLS["get"], CALLS["get_messages"], CALLS["after"]):
        with pytest.raises(CorruptMessageError, match="newer" if "v" in body else "can't be read"):
            read(store)
    assert [message.id for message in store.get_messages("s", limit=1)] == ["m2"]


def test_what_looks_like_a_newer_version_within_a_message_is_read(
    store: SQLiteSessionStore,
) -> None:
    begin(store)
    message = SessionMessage("user", '{"v":2}', id="x", metadata={"nested": {"v": 2}})
    store.append_message("s", message)
    assert store.get_messages("s", limit=2)[1] == message


def test_large_messages_are_read_beside_small_ones(store: SQLiteSessionStore) -> None:
    begin(store)
    store.append_message("s", said("large" * 20_000, "large"))
    store.append_message("s", said("small", "m3"))
    assert [len(m.content) for m in store.get_messages("s", limit=2)] == [100_000, 5]
    assert [message.id for message in store.get_messages("s", after="m1")] == ["m2", "large", "m3"]


def test_a_damaged_message_beside_a_large_one_makes_no_two(store: SQLiteSessionStore) -> None:
    begin(store)
    store.append_message("s", said("large" * 20_000, "large"))
    with outside(Path(store._path)) as connection:
        body = '{"role":"user","content":"a"}'
        connection.execute(
            "UPDATE sessionstore_messages SET body = ? WHERE id = 'm1'", (f"{body}\x1e{body}",)
        )
    with pytest.raises(CorruptMessageError, match="can't be read"):
        store.get_messages("s")


def test_a_damaged_count_hides_no_message(store: SQLiteSessionStore) -> None:
    begin(store)
    store.append_messages("s", [said("x", f"x{n}") for n in range(1000)])
    with outside(Path(store._path)) as connection:
        connection.execute("UPDATE sessionstore_sessions SET message_count = 0 WHERE id = 's'")
    assert len(store.get_messages("s")) == 1003
    assert len(store.get_messages("s", after="m0")) == 1002


def test_two_damaged_messages_make_no_sound_ones(store: SQLiteSessionStore) -> None:
    begin(store)
    halves = [('{"role":"user","content":"', "m0"), ('"},{"role":"user"}', "m1")]
    for between in (",", "\x1e"):
        with outside(Path(store._path)) as connection:
            connection.executemany("UPDATE sessionstore_messages SET body = ? WHERE id = ?", halves)
            joined = halves[0][0] + between + halves[1][0]
            connection.execute(
                "UPDATE sessionstore_messages SET body = ? WHERE id = 'm2'", (joined,)
            )
        with pytest.raises(CorruptMessageError, match="can't be read"):
            store.get_messages("s", limit=2)
        with pytest.raises(CorruptMessageError, match="can't be read"):
            store.get_messages("s", after="")


def test_a_session_that_cannot_be_read_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        for number in range(7):
            store.create(f"s{number}", metadata={"a": WORDS})
        with outside(tmp_path / "sessions.db") as connection:
            connection.execute(
                "UPDATE sessionstore_sessions SET metadata = substr(metadata, 1, 12) "
                "WHERE id IN ('s5', 's4', 's3')"
            )
            connection.execute(
                "UPDATE sessionstore_sessions SET updated_at = 'never' WHERE id IN ('s1', 's2')"
            )
        with caplog.at_level(logging.WARNING, "sessionstore"):
            for _ in range(2):
                pages = [store.list_sessions(limit=1)]
                while pages[-1].cursor:
                    pages.append(store.list_sessions(limit=1, cursor=pages[-1].cursor))
                assert [[info.id for info in page.sessions] for page in pages] == [["s6"], ["s0"]]
    named = sorted(record.getMessage().split("'")[1] for record in caplog.records)
    assert named == ["s2", "s3", "s4", "s5"]  # the first whose time is no time stands for the rest
    assert "s3cret" not in caplog.text


def test_a_session_that_cannot_be_read_is_told_with_its_id(tmp_path: Path) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        store.create("s")
        with outside(tmp_path / "sessions.db") as connection:
            connection.execute("UPDATE sessionstore_sessions SET version = 'one'")
        for call in (store.get, store.delete, lambda _: store.append_message("s", said("x"))):
            with pytest.raises(CorruptMessageError, match="session 's'"):
                call("s")


def test_messages_that_are_left_under_a_number_harm_no_session_that_is_given_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    with SQLiteSessionStore(path) as store:
        store.append_messages("damaged", [said("x"), said("y")])
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE sessionstore_messages SET session_key = session_key + 1")
    with SQLiteSessionStore(path) as store:
        for session_id in ("next", "one more"):
            assert store.append_messages(session_id, [said("a"), said("b")]) == 2
            assert [m.content for m in store.get_messages(session_id)] == ["a", "b"]


def test_a_session_whose_last_messages_can_not_be_read_is_left_out_of_previews(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SQLiteSessionStore(tmp_path / "sessions.db") as store:
        require_previews_without_the_damaged(store, tmp_path / "sessions.db", caplog)
