"""The command line on real stores: what people type, and what they are told."""

from __future__ import annotations

import gzip
import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from children import Children
from command import Command
from faults import FaultyStore
from servers.postgres import PostgresServer
from servers.redis import Server
from warm import Warm

from sessionstore import (
    InMemorySessionStore,
    SQLiteSessionStore,
    StoreUnavailableError,
    open_store,
)
from sessionstore.cli.formats import export_to
from sessionstore.transfer.sources import MARK

# What would clear the screen, name the window, turn the line round, and end a document early.
HOSTILE = (
    "\x1b[2J\x1b]0;mine\x07 \u202eturned\u2028 \x9b31m \x7f </script>\r\n</td>\"'\\ \ud7ff 日本"
)
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Which trains are there?"},
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [{"id": "c1", "name": "trains", "args": {"to": "Porto"}}],
    },
    {"role": "tool", "content": "07:39\n08:09", "tool_call_id": "c1"},
    {"role": "assistant", "content": [{"type": "text", "text": "Two."}, {"type": "image"}]},
]


@pytest.fixture
def cli(warm: Warm) -> Command:
    return Command(warm)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sessions.db'}"


_ON_SERVERS = [pytest.param(name, marks=pytest.mark.soak) for name in ("redis", "postgres")]


@pytest.fixture(params=["sqlite", *_ON_SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    elif request.param == "redis":
        server: Server = request.getfixturevalue("redis_server")
        server.run("FLUSHDB", db=9)  # of these tests
        yield f"{server.url}/9"
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        database = f"cli_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        yield postgres.url(database)


def fill(url: str) -> None:
    with open_store(url, fallback=None) as store:
        store.create("trip", agent_id="travel", user_id="alice", messages=TALK)
        title = {"title": HOSTILE}
        hostile: list[Any] = [{"role": "user", "content": HOSTILE, "name": HOSTILE}]
        store.create(HOSTILE, user_id="bob", messages=hostile, metadata=title)


# -- Looking --------------------------------------------------------------------------------------


def test_a_session_is_listed_and_shown_with_its_calls(cli: Command, url: str) -> None:
    fill(url)
    lines = cli.output("ls", "--user", "alice", "--last", "1", url=url).splitlines()
    assert lines[0].split() == ["UPDATED", "(UTC)", "MESSAGES", "AGENT", "USER", "ID", "TITLE"]
    assert lines[1].split()[2:] == ["4", "travel", "alice", "trip"]
    assert lines[2].strip() == "assistant: Two. [image]"
    shown = cli.output("show", "trip", url=url)
    assert '→ trains {"to":"Porto"}\n      07:39\n      08:09\n' in shown
    assert "  Two.\n  [image]\n" in shown
    assert "… 3 earlier" in cli.output("show", "trip", "--last", "1", url=url)


def test_lists_are_picked_by_agent_and_time_and_go_on_at_a_cursor(cli: Command, url: str) -> None:
    fill(url)
    assert [one["id"] for one in cli.document("ls", "--agent", "travel", url=url)["sessions"]] == [
        "trip"
    ]
    assert cli.document("ls", "--until", "1h", url=url) == {"sessions": [], "cursor": None}
    assert len(cli.document("ls", "--since", "1h", "--all", url=url)["sessions"]) == 2
    first = cli.document("ls", "--limit", "1", url=url)
    rest = cli.document("ls", "--cursor", first["cursor"], url=url)
    assert {one["id"] for one in first["sessions"] + rest["sessions"]} == {"trip", HOSTILE}


def test_a_hostile_text_drives_no_terminal_and_ends_no_document(cli: Command, url: str) -> None:
    fill(url)
    for arguments in (["ls", "--last", "5"], ["ls", "--json", "--last", "5"], ["show", HOSTILE]):
        printed = cli.output(*arguments, url=url)
        assert not set(printed) & set("\x1b\x07\x9b\x7f\r\u202e\u2028"), arguments
        assert "日本" in printed
    # All of it stands further in than who said it: no line of it looks like a message of its own.
    lines = cli.output("show", HOSTILE, url=url).splitlines()
    said = lines[lines.index("") + 2 :]
    assert said
    assert all(line.startswith("  ") for line in said)
    found = cli.document("show", HOSTILE, "--user", "bob", url=url)
    assert (found["id"], found["messages"][0]["content"]) == (HOSTILE, HOSTILE)
    page = cli.output("show", HOSTILE, "--html", "-", url=url)
    assert "</script>" not in page
    assert "<script" not in page


def test_a_page_shows_the_whole_session_to_its_user_alone(
    cli: Command, file: str, tmp_path: Path
) -> None:
    with open_store(file) as store:
        messages: list[Any] = [{"role": "user", "content": f"{i} " + "x" * 900} for i in range(40)]
        store.create("long", messages=messages)
    page = tmp_path / "long.html"
    cli.output("show", "long", "--html", page, url=file)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "default-src 'none'" in text
    assert all(f">{i} {'x' * 900}<" in text for i in range(40))
    assert page.stat().st_mode & 0o777 == 0o600
    refused = cli.run("show", "long", "--html", page, url=file)
    assert (refused.returncode, "give --yes" in refused.stderr) == (2, True)
    cli.output("show", "long", "--html", page, "--last", "1", "--yes", url=file)
    assert "39 earlier messages" in page.read_text(encoding="utf-8")


@pytest.mark.soak
@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("SVG", b"<?xml")])
def test_a_session_is_drawn_into_a_file(
    cli: Command, file: str, tmp_path: Path, ending: str, begin: bytes
) -> None:
    fill(file)
    picture = tmp_path / f"trip.{ending}"
    ran = cli.run("show", "trip", "--plot", picture, url=file)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", f"sessionstore: wrote {picture}\n")
    assert picture.read_bytes().startswith(begin)
    assert picture.stat().st_mode & 0o777 == 0o600
    refused = cli.run("show", "trip", "--plot", picture, url=file)
    assert (refused.returncode, "give --yes" in refused.stderr) == (2, True)


# -- Moving ---------------------------------------------------------------------------------------


def test_sessions_are_exported_imported_and_copied(cli: Command, url: str, tmp_path: Path) -> None:
    fill(url)
    lines = tmp_path / "out.jsonl.gz"
    told = cli.run("export", "--output", lines, url=url)
    assert (told.returncode, told.stdout) == (0, "")
    assert "exported 2 sessions with 5 messages" in told.stderr
    assert gzip.decompress(lines.read_bytes()).count(b"\n") >= 2
    plain = cli.run("export", "--user", "alice", url=url)
    assert json.loads(plain.stdout.splitlines()[-1])
    other = f"sqlite:///{tmp_path / 'other.db'}"
    said = cli.output("import", lines, "--verify", url=other)
    assert said.startswith("imported 2 sessions with 5 messages")
    again = cli.document("copy", url, other, "--verify")
    assert (again["copied"], again["equal"], again["verified"]) == (0, 2, 2)
    for session in ("trip", HOSTILE):
        copies = [cli.document("show", session, url=where) for where in (url, other)]
        assert copies[0]["messages"] == copies[1]["messages"]
        assert copies[0]["user_id"] == copies[1]["user_id"]


def test_what_is_there_and_differs_is_named_and_left(
    cli: Command, file: str, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    fill(file)
    with open_store(other) as store:
        store.append_message("trip", {"role": "user", "content": "Mine."}, user_id="carol")
    ran = cli.run("copy", file, other)
    assert ran.returncode == 4
    assert "left as it is: session 'trip'" in ran.stderr
    assert cli.document("show", "trip", url=other)["user_id"] == "carol"
    assert cli.run("copy", file, file).returncode == 2


def test_what_other_libraries_have_stored_is_imported_and_what_they_read_exported(
    cli: Command, file: str, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as made:
        made.execute("CREATE TABLE chats (id INTEGER PRIMARY KEY, session_id TEXT, message TEXT)")
        for message in ({"type": "human", "data": {"content": "Hello!"}}, {"type": "broken"}):
            row = ("s1", json.dumps(message))
            made.execute("INSERT INTO chats (session_id, message) VALUES (?, ?)", row)
    made.close()
    options = ["--from", "langchain-sql", "--option", "table=chats", "--as-user", "alice"]
    options += ["--option", "when=2026-01-02T03:04:05Z"]
    ran = cli.run("import", *options, f"sqlite:///{old}", url=file)
    assert ran.returncode == 4  # one could not be read
    assert "left out: " in ran.stderr
    assert "sessionstore: 1 left, as said above\n" in ran.stderr
    shown = cli.document("show", "s1", url=file)
    assert [one["content"] for one in shown["messages"]] == ["Hello!"]
    assert shown["created_at"] == shown["updated_at"] == "2026-01-02T03:04:05Z"
    lines = tmp_path / "out.jsonl"
    assert cli.run("export", "--to", "openai-jsonl", "-o", lines, url=file).returncode == 0
    assert json.loads(lines.read_text()) == {"messages": [{"role": "user", "content": "Hello!"}]}
    for wrong in (["--from", "nonsense"], ["--from", "langchain-sql", "--option", "nonsense=1"]):
        refused = cli.run("import", *wrong, f"sqlite:///{old}", url=file)
        assert refused.returncode == 2, refused.stderr


def test_an_unfinished_copy_is_exported_to_no_format(cli: Command, file: str) -> None:
    with open_store(file) as store:
        store.create("part", messages=TALK, metadata={MARK: {"messages": 900, "version": 1}})
    for to in ([], ["--to", "openai-jsonl"]):
        ran = cli.run("export", *to, url=file)
        assert ran.returncode == 4
        assert "session 'part': an unfinished copy" in ran.stderr
        assert "07:39" not in ran.stdout


def test_a_store_that_goes_away_ends_an_export_for_others(tmp_path: Path) -> None:
    store = FaultyStore(InMemorySessionStore())
    for session_id in ("a", "b"):
        store.create(session_id, messages=TALK)
    store.script(None, None, "down")  # the list, a session, and the other one
    wanted: dict[str, Any] = {"user_id": None, "agent_id": None, "progress": None}
    with pytest.raises(StoreUnavailableError):
        export_to("openai-jsonl", store, tmp_path / "out.jsonl", **wanted)
    assert not list(tmp_path.iterdir())


def test_the_time_of_what_has_none_is_said(cli: Command, file: str, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as made:
        made.execute("CREATE TABLE message_store (id INTEGER, session_id TEXT, message TEXT)")
        message = json.dumps({"type": "human", "data": {"content": "Hello!"}})
        made.execute("INSERT INTO message_store VALUES (1, 's1', ?)", [message])
    made.close()
    command = ["import", "--from", "langchain-sql", old, "--option"]
    assert cli.run(*command, "when=2024-05-01T12:00:00Z", url=file).returncode == 0
    [session] = cli.document("ls", url=file)["sessions"]
    assert session["updated_at"] == "2024-05-01T12:00:00Z"
    refused = cli.run(*command, "when=later", url=file)
    assert refused.returncode == 2
    assert "when is no time" in refused.stderr


# -- Deleting -------------------------------------------------------------------------------------


def test_nothing_is_deleted_without_a_yes(cli: Command, url: str) -> None:
    fill(url)
    for arguments in (["erase", "--user", "alice"], ["prune", "--retention-days", "0.0000001"]):
        refused = cli.run(*arguments, url=url)
        assert refused.returncode == 2
        assert "Nobody is there to answer: give --yes" in refused.stderr
    assert len(cli.document("ls", url=url)["sessions"]) == 2


def test_a_user_is_erased_with_a_receipt(cli: Command, url: str, tmp_path: Path) -> None:
    fill(url)
    receipt = tmp_path / "receipt.json"
    said = cli.output("erase", "--user", "alice", "--yes", "--receipt", receipt, url=url)
    assert "1 session with 4 messages" in said
    assert json.loads(receipt.read_text(encoding="utf-8"))["complete"] is True
    assert [one["id"] for one in cli.document("ls", url=url)["sessions"]] == [HOSTILE]


def test_what_is_older_than_the_retention_is_pruned(cli: Command, file: str) -> None:
    fill(file)
    assert cli.output("prune", "--retention-days", "1", "--yes", url=file) == "deleted 0 sessions\n"
    said = cli.output("prune", "--retention-days", "0.0000001", "--yes", url=file)
    assert said == "deleted 2 sessions\n"


# -- Checking -------------------------------------------------------------------------------------


def test_a_doctor_finds_a_store_well_and_changes_nothing(cli: Command, url: str) -> None:
    with open_store(url, fallback=None) as store:
        store.setup()
    found = cli.document("doctor", url=url)
    assert found["ok"] is True
    states = {check["check"]: check["state"] for check in found["checks"]}
    assert (
        states.items()
        >= dict.fromkeys(["version", "permissions", "clock", "latency"], "ok").items()
    )
    assert set(states.values()) <= {"ok", "warning"}


def test_a_doctor_makes_no_tables(cli: Command, postgres: PostgresServer) -> None:
    database = f"cli_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
    said = cli.output("doctor", url=postgres.url(database))
    assert "there are no tables yet" in said
    with psycopg.connect(postgres.url(database)) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (0,)


def test_a_doctor_tells_what_is_wrong(cli: Command, file: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 100)
    ran = cli.run("doctor", url=f"sqlite:///{broken}")
    assert ran.returncode == 1
    assert "failed   schema" in ran.stdout
    fill(file)
    path = Path(file.removeprefix("sqlite:///"))
    path.chmod(0o644)
    assert "chmod 600" in cli.output("doctor", url=file)
    away = cli.run("doctor", "--json", url="redis://127.0.0.1:1")
    assert (away.returncode, json.loads(away.stdout)["ok"]) == (3, False)


# -- An outage ------------------------------------------------------------------------------------

OUTAGE = """
    import os, sys
    from sessionstore import open_store

    store = open_store("redis://127.0.0.1:1", fallback=sys.argv[1])
    store.append_message("trip", {"role": "user", "content": "Waits."}, user_id="alice")
    store.append_message("trip", {"role": "user", "content": "Waits, too."}, user_id="alice")
    store.append_message("bobs", {"role": "user", "content": "Refused."}, user_id="mallory")
    print("ready", flush=True)
    input()
    os._exit(0)
"""


def test_what_an_outage_left_is_listed_and_replayed(
    cli: Command, url: str, tmp_path: Path, warm: Warm
) -> None:
    journals = tmp_path / "outage.db"
    with open_store(url, fallback=None) as store:
        store.create("bobs", user_id="bob")
    with Children(warm) as children:
        child = children.start(OUTAGE, f"sqlite:///{journals}")
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == "ready\n"
        running = cli.document("pending", "--fallback", journals)["pending"]
        assert [write["owned"] for write in running] == [True] * 3
        assert "which a process that runs replays" in cli.output(
            "doctor", "--fallback", journals, url=url
        )
        child.stdin.write("\n")
        child.stdin.flush()
        child.wait()
    said = cli.output("pending", "--fallback", journals)
    assert "trip  2 Append" in said
    assert "Waits" not in said
    ran = cli.run("recover", "--fallback", journals, url=url)
    assert ran.returncode == 4  # one was refused
    assert "replayed 2 writes\nrefused  bobs  Append  SessionAccessError\n" in ran.stdout
    assert cli.document("pending", "--fallback", journals)["pending"] == []
    said_there = [one["content"] for one in cli.document("show", "trip", url=url)["messages"]]
    assert said_there == ["Waits.", "Waits, too."]


def test_a_demo_shows_what_two_processes_said(cli: Command, tmp_path: Path) -> None:
    said = cli.output("demo", folder=tmp_path)
    assert "Your name is Alice." in said
    with SQLiteSessionStore(tmp_path / "sessionstore-demo.db") as store:
        assert len(store.get_messages("demo-alice")) == 6
