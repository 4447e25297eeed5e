"""The command line on an encrypted store: with its keys, and without them."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from canary import WORD, files_with
from command import Command
from warm import Warm

from sessionstore import EncryptedSessionStore, SQLiteSessionStore
from sessionstore.encryption.records import key_of

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def line(key_id: str, key: bytes) -> str:
    return f"{key_id}: {b64encode(key).decode()}\n"


@pytest.fixture
def cli(warm: Warm) -> Command:
    return Command(warm)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with an encrypted store, and files with keys."""
    with SQLiteSessionStore(tmp_path / "s.db") as held:
        store = EncryptedSessionStore(held, {"old": OLD})
        talk = [{"role": "user", "content": WORD}, {"role": "assistant", "content": "Hello!"}]
        store.create("talk", messages=talk, metadata={"title": WORD}, user_id="alice")
    (tmp_path / "old.keys").write_text("# the old one\n" + line("old", OLD))
    (tmp_path / "new.keys").write_text(line("new", NEW) + line("old", OLD))
    return tmp_path


def key_ids(folder: Path) -> set[str | None]:
    with SQLiteSessionStore(folder / "s.db") as held:
        session = held.get("talk")
        assert session is not None
        values = [*session.metadata.values(), *(m.extra for m in session.messages)]
        return {key_of(value) for value in values}


def test_with_its_keys_an_encrypted_store_is_as_any(cli: Command, folder: Path) -> None:
    url = f"sqlite:///{folder / 's.db'}"
    for command in ("ls --last 2", "show talk", "show talk --json", "export"):
        shown = cli.run(*command.split(), "--keys", folder / "new.keys", url=url)
        assert (shown.returncode, shown.stdout.count(WORD)) == (0, 2), shown.stderr
    table = cli.run("ls", "--keys", folder / "new.keys", url=url).stdout.splitlines()
    assert (len(table), WORD in table[1]) == (2, True)
    keys = (folder / "old.keys").read_text()
    assert WORD in cli.run("show", "talk", url=url, SESSIONSTORE_KEYS=keys).stdout


def test_without_its_keys_it_says_that_it_is_encrypted(cli: Command, folder: Path) -> None:
    url = f"sqlite:///{folder / 's.db'}"
    for command in ("ls --last 2", "show talk", "show talk --html -"):
        shown = cli.run(*command.split(), url=url)
        assert (shown.returncode, shown.stdout.count("[encrypted]")) == (0, 3), shown.stdout
        assert WORD not in shown.stdout
    lines = cli.run("export", "--to", "openai-jsonl", url=url)  # else: of messages that say nothing
    assert (lines.returncode, lines.stdout, "without its keys" in lines.stderr) == (4, "", True)
    (folder / "wrong.keys").write_text(line("old", NEW))
    listed = cli.run("ls", "--keys", folder / "wrong.keys", url=url)
    assert (listed.returncode, "[not opened by these keys]" in listed.stdout) == (0, True)
    wrong = cli.run("show", "talk", "--keys", folder / "wrong.keys", url=url)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "'old'" in wrong.stderr
    left = cli.run("export", "--keys", folder / "wrong.keys", url=url)
    assert (left.returncode, left.stdout.count("talk")) == (4, 0)
    assert "'old'" in left.stderr


def test_keys_are_rotated(cli: Command, folder: Path) -> None:
    url = f"sqlite:///{folder / 's.db'}"
    ran = cli.run("rotate", "--keys", folder / "new.keys", url=url)
    assert ran.stdout == "went through 1 session, sealed anew 2 messages, 1 value of metadata\n"
    assert (ran.returncode, key_ids(folder)) == (0, {"new"})
    again = cli.run("rotate", "--keys", folder / "new.keys", "--json", url=url)
    assert json.loads(again.stdout)["messages"] == 0
    (folder / "third.keys").write_text(line("third", bytes(32)))
    left = cli.run("rotate", "--keys", folder / "third.keys", url=url)
    assert left.returncode == 4
    assert "missing or wrong: 'new'" in left.stderr
    assert key_ids(folder) == {"new"}


def test_sessions_are_copied_into_an_encrypted_store_and_out_of_it(
    cli: Command, folder: Path
) -> None:
    url = f"sqlite:///{folder / 's.db'}"
    plain, other = (f"sqlite:///{folder / name}.db" for name in ("plain", "other"))
    assert cli.run("copy", url, plain, "--from-keys", folder / "old.keys").returncode == 0
    assert files_with(folder) == {"plain.db"}
    keys = folder / "new.keys"
    assert cli.run("copy", plain, other, "--to-keys", keys, "--verify").returncode == 0
    assert files_with(folder) == {"plain.db"}
    assert WORD in cli.run("show", "talk", "--keys", keys, url=other).stdout
    # One that is moved over in its place.
    assert cli.run("rotate", "--keys", keys, url=plain).returncode == 4
    assert cli.run("rotate", "--keys", keys, "--allow-plain", url=plain).returncode == 0
    assert WORD in cli.run("show", "talk", "--keys", keys, url=plain).stdout


def test_what_is_encrypted_is_not_encrypted_twice(cli: Command, folder: Path) -> None:
    url, other = (f"sqlite:///{folder / name}.db" for name in ("s", "other"))
    assert cli.run("export", "-o", folder / "file.jsonl", url=url).returncode == 0
    keys = folder / "new.keys"
    for command in (("copy", url, other, "--to-keys"), ("import", folder / "file.jsonl", "--keys")):
        left = cli.run(*command, keys, url=other)
        assert left.returncode == 4
        assert "it is encrypted already" in left.stderr
    assert cli.run("import", folder / "file.jsonl", url=other).returncode == 0  # as it is
    assert WORD in cli.run("show", "talk", "--keys", keys, url=other).stdout


def test_keys_that_are_none_are_refused(cli: Command, folder: Path) -> None:
    url, bad = f"sqlite:///{folder / 's.db'}", folder / "bad.keys"
    for text in ("no Base64", line("a", OLD) + line("a", NEW), line("a", b"")):
        bad.write_text(text)
        require_refused(cli.run("rotate", "--keys", bad, url=url))
    require_refused(cli.run("show", "talk", "--keys", folder / "missing.keys", url=url))
    require_refused(cli.run("rotate", url=url))
    assert key_ids(folder) == {"old"}


def require_refused(ran: subprocess.CompletedProcess[str]) -> None:
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "key" in ran.stderr
    assert b64encode(OLD).decode() not in ran.stderr
