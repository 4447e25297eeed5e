"""How commands end: their status, one plain line, no secret, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, Command, environment_of
from hypothesis import given
from hypothesis import strategies as st
from warm import Warm

from sessionstore import SQLiteSessionStore
from sessionstore.cli.text import as_json, in_a_line, in_lines, without_secrets

SECRET = "hunter2"  # noqa: S105 - of nobody


@pytest.fixture
def cli(warm: Warm) -> Command:
    return Command(warm)


@pytest.fixture
def url(tmp_path: Path) -> str:
    file = tmp_path / "sessions.db"
    with SQLiteSessionStore(file) as store:
        store.append_message("trip", {"role": "user", "content": "Hello!"}, user_id="alice")
    return f"sqlite:///{file}"


# -- Statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["show", "nobody"], 1, "there is no session 'nobody': ls lists those there are"),
        (["show", "trip", "--user", "bob"], 1, "belongs to another user"),
        (["ls", "--nonsense"], 2, "No such option: --nonsense"),
        (["--store", "x", "ls"], 2, "Options follow the command"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["ls", "--cursor", "nonsense"], 2, "--cursor is invalid"),
        (["prune", "--retention-days", "0"], 2, "--retention-days must be"),
        (["show", "trip", "--html", "no/such/page.html"], 1, "no/such: there is no such folder"),
        (["show", "trip", "--plot", "trip.gif"], 2, "must end in .png, .svg or .pdf"),
        (["show", "trip", "--plot", "a.png", "--json"], 2, "only one of them"),
        (["import", "--from", "openai-agents", "no.db"], 1, "no such SQLite file: no.db"),
        (["import", "--from", "langgraph-sqlite", "no.db"], 1, "no such SQLite file: no.db"),
        (["ls", "--since", "yesterday"], 2, "write 90s, 30m, 12h, 7d or 2w"),
        (["ls", "--store", "memory:"], 2, "name one that lasts"),
        (["ls", "--store", "nonsense"], 2, "no store for a URL without a scheme"),
        (["ls", "--store", "sqlite:///no/such/file.db"], 1, "there is no file"),
        (["ls", "--store", "redis://127.0.0.1:1"], 3, "Redis can't be reached"),
        (["ls", "--store", "x", "--store-file", "y"], 2, "not both"),
        (["import", "nothing.jsonl"], 2, "there is no file nothing.jsonl"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    cli: Command, url: str, arguments: list[str], status: int, says: str
) -> None:
    ran = cli.run(*arguments, url=url)
    assert (ran.returncode, ran.stdout) == (status, "")
    assert ran.stderr.count("\n") == 1
    assert says in ran.stderr


def test_without_a_store_it_says_how_to_name_one(cli: Command, url: str, tmp_path: Path) -> None:
    ran = cli.run("ls")
    assert ran.returncode == 2
    assert "--store URL or --store-file FILE, or set SESSIONSTORE_URL" in ran.stderr
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    for named in (["--store-file", str(file)], ["--store", f"@{file}"], ["--store", url]):
        assert "trip" in cli.output("ls", *named)


def test_every_command_says_what_it_does_and_takes_yes(
    cli: Command,
) -> None:
    named = cli.output().partition("Commands:")[2].split("\n")
    commands = [line.split()[0] for line in named if line.startswith("  ") and line[2] != " "]
    assert len(commands) == 12
    program = """
import sys
from sessionstore.cli import main
for command in sys.argv[1:]:
    assert main([command, "--help"]) == 0
"""
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *commands],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.count("--yes") == len(commands)


# -- Secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", f"redis://u:{SECRET}@127.0.0.1:1"],
        ["ls", "--store", f"redis://u:{SECRET}@127.0.0.1:1"],
        ["ls", "--store", f"redis://u:{SECRET}/x@y@127.0.0.1:1"],
        ["ls", "--store", f"postgresql://u:{SECRET}@127.0.0.1:1/d"],
        ["doctor", "--store", f"postgresql://u:{SECRET}@127.0.0.1:1/d"],
        ["doctor", "--json", "--store", f"redis://:{SECRET}@127.0.0.1:1"],
        ["copy", f"redis://u:{SECRET}@127.0.0.1:1", "sqlite:///new.db"],
        [f"--redis://u:{SECRET}@h"],
    ],
)
def test_no_output_holds_a_password(cli: Command, arguments: list[str], tmp_path: Path) -> None:
    ran = cli.run(*arguments, folder=tmp_path)
    assert ran.returncode in (2, 3)
    assert SECRET not in ran.stdout + ran.stderr


def test_secrets_are_left_out_of_any_text() -> None:
    said = without_secrets(f"at redis://u:{SECRET}@h:1/0 and x://h?password={SECRET}&a=1")
    assert said == "at redis://***@h:1/0 and x://h?password=***&a=1"


# -- Pipes, documents, what is shown --------------------------------------------------------------


def test_who_stops_reading_is_told_nothing(url: str) -> None:
    path = url.removeprefix("sqlite:///")  # more of it than any pipe holds
    with SQLiteSessionStore(path) as store:
        many: list[Any] = [{"role": "user", "content": "x" * 8_000} for _ in range(1_000)]
        store.append_messages("long", many)
    for options in ([], ["--json"]):
        command = [*COMMAND, "show", "long", *options]
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_of(url)
        )
        assert running.stdout
        assert running.stderr
        with running.stdout, running.stderr:
            assert running.stdout.read(10)
            running.stdout.close()
            assert running.stderr.read() == b""
        assert running.wait() == 141


def test_a_document_is_valid_whatever_the_locale(url: str) -> None:
    with SQLiteSessionStore(url.removeprefix("sqlite:///")) as store:
        store.append_message("trip", {"role": "user", "content": "日本 é 👩‍👧"})
    locale = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for arguments in (["ls", "--last", "1"], ["show", "trip"]):
        found = json.loads(Command().output(*arguments, "--json", url=url, **locale))
        assert found.get("sessions", [found])[0]["messages"][-1]["content"] == "日本 é 👩‍👧"
        assert Command().output(*arguments, url=url, **locale).isascii()


@given(st.text())
def test_what_is_shown_drives_no_terminal(text: str) -> None:
    obeyed = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202a\u202e\u2066\u2028"}
    assert not set(in_a_line(text)) & obeyed
    assert not set(in_lines(text)) & (obeyed - {"\n", "\t"})
    written = as_json({text: [text]})
    assert not set(written) & obeyed
    assert json.loads(written) == {text: [text]}


def test_words_of_all_languages_are_shown_as_they_are() -> None:
    for text in ("日本語　です", "می‌خواهم", "👩‍👩‍👧", "naïve café", "a\u00a0b", "שלום\u200f!"):
        assert in_lines(text) == in_a_line(text) == text


# -- What it needs --------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_extra_it_says_what_to_install(missing: str) -> None:
    program = f"""
import runpy, sys

sys.modules[{missing!r}] = None
runpy.run_module("sessionstore", run_name="__main__", alter_sys=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        "sessionstore: the command line needs the cli extra: pip install 'sessionstore[cli]'\n"
    )


def test_to_draw_without_its_extra_says_what_to_install(url: str) -> None:
    program = """
import runpy, sys

sys.modules["matplotlib"] = None
sys.argv = ["sessionstore", "show", "trip", "--plot", "trip.png"]
runpy.run_module("sessionstore", run_name="__main__", alter_sys=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_of(url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "pip install 'sessionstore[plots]'" in ran.stderr


def test_to_list_sessions_imports_no_framework_and_no_other_driver(url: str) -> None:
    program = """
import sys
from sessionstore.cli import main
assert main(["ls"]) == 0
heavy = {"langchain_core", "langgraph", "llama_index", "agents", "redis", "sqlalchemy", "psycopg"}
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_of(url),
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_shell_completes_commands_and_options() -> None:
    asked = {"_SESSIONSTORE_COMPLETE": "complete_bash", "COMP_WORDS": "sessionstore e"}
    assert Command().output(COMP_CWORD="1", **asked).split() == ["export", "erase"]
