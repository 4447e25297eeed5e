"""Sessions go to a file and come from it: whole, in order, and whatever the file holds."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore
from msgspec.structs import replace
from transfers import all_of, fill, messages, require_same, session

from sessionstore import (
    InMemorySessionStore,
    SessionMessage,
    SessionStore,
    StoreUnavailableError,
)
from sessionstore.operations import GetMessages, Restore
from sessionstore.transfer import (
    LeftSession,
    TransferFileError,
    TransferProgress,
    TransferReport,
    aexport_sessions,
    aimport_sessions,
    export_sessions,
    import_sessions,
)
from sessionstore.transfer.jsonl import more_line

Move = Callable[..., TransferReport]
SECRET = "what a user wrote"  # noqa: S105


@pytest.fixture(params=["sync", "async"])
def moves(request: pytest.FixtureRequest) -> tuple[Move, Move]:
    """Give what exports and what imports."""
    if request.param == "sync":
        return export_sessions, import_sessions
    return (
        lambda *args, **kwargs: asyncio.run(aexport_sessions(*args, **kwargs)),
        lambda *args, **kwargs: asyncio.run(aimport_sessions(*args, **kwargs)),
    )


@pytest.fixture
def source() -> Iterator[SessionStore]:
    with InMemorySessionStore() as store:
        fill(store)
        yield store


def exported(source: SessionStore) -> list[bytes]:
    """Give the lines of an export."""
    file = io.BytesIO()
    export_sessions(source, file)
    return file.getvalue().splitlines(keepends=True)


def imported(data: bytes, **options: Any) -> tuple[TransferReport, SessionStore]:
    target = InMemorySessionStore()
    return import_sessions(io.BytesIO(data), target, **options), target


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_what_is_exported_is_imported(
    moves: tuple[Move, Move], source: SessionStore, tmp_path: Path, name: str
) -> None:
    export, import_ = moves
    file, target = tmp_path / name, InMemorySessionStore()
    told: list[TransferProgress] = []
    assert export(source, file) == TransferReport(copied=6, messages=1_707)
    assert os.listdir(tmp_path) == [name]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    report = import_(str(file), target, verify=True, progress=told.append)
    assert report == TransferReport(copied=6, messages=1_707, verified=6)
    require_same(source, target)
    assert (told[-1].sessions, told[-1].size) == (6, file.stat().st_size)
    assert 0 < told[0].read <= told[-1].read <= file.stat().st_size
    assert import_(file, target, verify=True) == TransferReport(equal=6, verified=6)


def test_open_files_are_used_and_left_open(
    moves: tuple[Move, Move], source: SessionStore, tmp_path: Path
) -> None:
    export, import_ = moves
    with open(tmp_path / "file", "w+b") as file:
        assert export(source, file).complete
        file.seek(0)
        target = InMemorySessionStore()
        assert import_(file, target).copied == 6
        require_same(source, target)
        assert not file.closed
    compressed = io.BytesIO(gzip.compress(b"".join(exported(source))))
    assert import_(compressed, InMemorySessionStore()).copied == 6
    assert not compressed.closed


def test_the_file_is_json_a_session_a_line(source: SessionStore) -> None:
    first, *lines, last = map(json.loads, exported(source))
    assert first == {"kind": "sessions", "version": 1}
    assert last == {"kind": "end", "sessions": 6}
    assert [line["id"] for line in lines] == [
        "open",
        "long",
        "long",
        "long",
        "s3",
        "s2",
        "s1",
        "s0",
    ]
    assert [line["at"] for line in lines if line["kind"] == "messages"] == [500, 1_500]
    assert lines[0]["messages"][0] == {
        "role": "user",
        "content": "Hello!",
        "id": "m",
        "name": "Ann",
        "created_at": lines[0]["messages"][0]["created_at"],
    }


def test_only_what_is_asked_for_goes(source: SessionStore) -> None:
    data = b"".join(exported(source))
    for chosen, ids in [
        ({"user_id": "user 0"}, {"s0", "s2", "long"}),
        ({"agent_id": "agent 0"}, {"s0", "s1"}),
        ({"user_id": "user 0", "agent_id": "agent 1"}, {"s2"}),
    ]:
        report, target = imported(data, **chosen)
        assert {info.id for info in all_of(target)} == ids
        assert report.complete
        file = io.BytesIO()
        export_sessions(source, file, **chosen)  # type: ignore[arg-type]
        assert {info.id for info in all_of(imported(file.getvalue())[1])} == ids


def test_what_can_not_be_read_is_not_in_the_file() -> None:
    source = InMemorySessionStore()
    fill(source)
    for name in ("s3", "long"):
        source._table.sessions[name].bodies[-1] = SECRET.encode()
    file = io.BytesIO()
    report = export_sessions(source, file)
    assert (report.copied, [left.session_id for left in report.failed]) == (4, ["long", "s3"])
    assert SECRET not in repr(report)
    assert b'"long"' not in file.getvalue()
    assert imported(file.getvalue())[0].copied == 4


def test_a_file_is_there_when_it_is_whole(source: SessionStore, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl.gz"
    file.write_bytes(b"what was there")
    faulty = FaultyStore(source)
    faulty.before[GetMessages] = lambda _: faulty.go_down()
    with pytest.raises(StoreUnavailableError):
        export_sessions(faulty, file)
    assert os.listdir(tmp_path) == ["all.jsonl.gz"]
    assert file.read_bytes() == b"what was there"
    with pytest.raises(FileNotFoundError):
        export_sessions(source, tmp_path / "nowhere" / "file")
    with pytest.raises(FileNotFoundError):
        import_sessions(tmp_path / "nowhere", source)


def test_a_session_that_is_written_to_is_in_the_file_as_it_is_then(source: SessionStore) -> None:
    faulty = FaultyStore(source)
    hello = SessionMessage("user", "Hello!", id="new")
    faulty.before[GetMessages] = lambda _: source.append_message("long", hello)
    file = io.BytesIO()
    assert export_sessions(faulty, file).complete
    require_same(source, imported(file.getvalue())[1])


# -- What a file may hold -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"\0\xff" * 50,
        b'{"kind":"session"}\n',
        b'{"kind":"sessions"}\n',
        b'{"kind":"sessions","version":2}\n{"kind":"end","sessions":0}\n',
        b'{"kind":"sessions","version":"1"}\n',
        b"\x1f\x8b" + b"no gzip",
        b"[" * 100_000,
        SECRET.encode(),
    ],
)
def test_what_is_no_export_is_refused(moves: tuple[Move, Move], data: bytes) -> None:
    _, import_ = moves
    with pytest.raises(TransferFileError) as caught:
        import_(io.BytesIO(data), InMemorySessionStore())
    assert caught.value.line == 1 + (data == b"\n\n") * 2
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or SECRET not in repr(caught.value.__context__)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_was_cut_is_told_and_the_whole_one_goes_on(
    source: SessionStore, compressed: bool
) -> None:
    """Wherever it was cut: what came before is there."""
    whole = b"".join(exported(source))
    data = gzip.compress(whole) if compressed else whole
    for part in (0.05, 0.3, 0.5, 0.9, 0.999):
        target = InMemorySessionStore()
        with pytest.raises(TransferFileError):
            import_sessions(io.BytesIO(data[: int(len(data) * part)]), target)
        assert import_sessions(io.BytesIO(data), target, verify=True).complete
        require_same(source, target)


def test_damaged_compressed_data_are_told(source: SessionStore) -> None:
    data = bytearray(gzip.compress(b"".join(exported(source))))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(TransferFileError, match="damaged"):
        import_sessions(io.BytesIO(bytes(data)), InMemorySessionStore())


def bad_line(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Give the line of a session, which was changed."""
    source = InMemorySessionStore()
    source.run(Restore(session("bad", 2, metadata={"title": SECRET})))
    line = json.loads(exported(source)[1])
    change(line)
    return json.dumps(line).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "session_id"),
    [
        (SECRET.encode() + b"\n", None),
        (b"\xff\xfe\n", None),
        (b"[" * 50_000 + b"\n", None),
        (bad_line(lambda line: line.pop("agent_id")), None),
        (bad_line(lambda line: line.update(kind="other")), None),
        (bad_line(lambda line: line.update(metadata=7)), None),
        (bad_line(lambda line: line.update(id="x" * 513)), "x" * 513),
        (bad_line(lambda line: line.update(created_at="2022-03-04T05:06:07")), "bad"),
        (bad_line(lambda line: line.update(updated_at="2999-03-04T05:06:07Z")), "bad"),
        (bad_line(lambda line: line.update(message_count=3)), "bad"),
        (bad_line(lambda line: line.update(message_count=-1)), "bad"),
        (bad_line(lambda line: line["messages"][1].pop("role")), "bad"),
        (bad_line(lambda line: line["messages"].append(7)), "bad"),
        (bad_line(lambda line: line["messages"].append(line["messages"][0])), "bad"),
        (bad_line(lambda line: line["messages"][0].pop("id")), "bad"),
        (bad_line(lambda line: line["metadata"].update({"sessionstore:restoring": 1})), "bad"),
        (b'{"kind":"messages","id":"lost","at":3,"messages":[]}\n', "lost"),
    ],
)
def test_a_line_that_can_not_be_taken_is_listed_and_the_others_are(
    source: SessionStore, line: bytes, session_id: str | None
) -> None:
    lines = exported(source)
    report, target = imported(b"".join([*lines[:2], line, *lines[2:]]))
    assert [(left.session_id, left.where) for left in report.failed] == [(session_id, "line 3")]
    assert SECRET not in repr(report)
    assert report.copied == 6
    require_same(source, target)


def test_a_part_of_a_session_that_is_missing_is_listed(source: SessionStore) -> None:
    """Nothing of that session stays."""
    lines = exported(source)
    [place] = [n for n, line in enumerate(lines) if b'"at":1500' in line]
    for changed in (
        [*lines[: place - 1], *lines[place:]],
        [*lines[:place], *lines[place + 1 :]],
        [*lines[:place], lines[place][:-50] + b"\n", *lines[place + 1 :]],
    ):
        report, target = imported(b"".join(changed))
        assert {left.session_id for left in report.failed} == {"long"}
        assert {info.id for info in all_of(target)} == {"open", "s0", "s1", "s2", "s3"}
    with pytest.raises(TransferFileError, match="says that there are 6 sessions, not 5"):
        imported(b"".join([*lines[:-2], lines[-1]]))


def test_messages_behind_a_whole_session_are_listed(source: SessionStore) -> None:
    lines = exported(source)
    place = next(n for n, line in enumerate(lines) if b'"s2"' in line)
    lines.insert(place + 1, more_line("s2", 2, messages(3)[2:]))
    report, target = imported(b"".join(lines))
    told = [(left.session_id, left.where) for left in report.failed]
    assert told == [("s2", f"line {place + 2}")]
    require_same(source, target)


def test_a_line_may_not_be_longer_than_is_said(source: SessionStore) -> None:
    data = b"".join(exported(source))
    with pytest.raises(TransferFileError, match="10,000 bytes"):
        imported(data, longest_line=10_000)
    with pytest.raises(ValueError, match="longest_line"):
        imported(data, longest_line=0)


def test_a_line_of_large_messages_is_no_longer_than_a_page(moves: tuple[Move, Move]) -> None:
    export, take_in = moves
    source, target, file = InMemorySessionStore(), InMemorySessionStore(), io.BytesIO()
    large = [*messages(490), *(replace(it, id=f"{it.id}+") for it in messages(30, 2**20))]
    source.run(Restore(session("long", 520, messages=large)))
    source.run(Restore(session("short", 20, messages=messages(20, 2**20))))
    export(source, file)
    file.seek(0)
    assert max(map(len, file)) < 6 * 2**20
    file.seek(0)
    assert take_in(file, target, verify=True, longest_line=6 * 2**20).complete
    require_same(source, target)


def test_files_may_be_put_behind_one_another(source: SessionStore) -> None:
    other = InMemorySessionStore()
    other.run(Restore(session("another")))
    data = b"".join(exported(source)) + b"\n" + b"".join(exported(other))
    report, _ = imported(data)
    assert (report.copied, report.equal) == (7, 0)
    assert imported(data + data)[0] == TransferReport(copied=7, messages=1_709, equal=7)


def test_what_is_different_is_told_and_left(source: SessionStore) -> None:
    data = b"".join(exported(source))
    source.append_message("s1", SessionMessage("user", "more"))
    before = all_of(source)
    report = import_sessions(io.BytesIO(data), source)
    assert (report.equal, report.copied) == (5, 0)
    why = "it is there already, with other updated_at, number of messages"
    assert report.different == [LeftSession("s1", "line 8", why)]
    assert all_of(source) == before


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, name: str) -> None:
    code = (
        "import resource, signal, sys\n"
        "from sessionstore import InMemorySessionStore\n"
        "from sessionstore.transfer import export_sessions\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))\n"
        "store = InMemorySessionStore()\n"
        "words = [str(hash(n * 0.1)) for n in range(9_000)]\n"
        "store.append_message('s', {'role': 'user', 'content': ' '.join(words)})\n"
        "export_sessions(store, sys.argv[1])\n"
    )
    (tmp_path / name).write_bytes(b"as it was")
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / name], check=False, capture_output=True, text=True
    )
    # From 3.12 on, gzip itself has a word to say behind that.
    assert any(line.endswith("File too large") for line in ran.stderr.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"as it was"


def test_two_exports_to_one_file_do_not_mix(source: SessionStore, tmp_path: Path) -> None:
    """The one that has begun last writes it; the other says so."""
    file, other = tmp_path / "x.jsonl", InMemorySessionStore()
    other.run(Restore(session("another")))

    def meanwhile(_: TransferProgress) -> None:
        if not file.exists():
            export_sessions(other, file)

    with pytest.raises(FileExistsError, match="another export"):
        export_sessions(source, file, progress=meanwhile)
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]
    target = InMemorySessionStore()
    assert import_sessions(file, target).copied == 1


def test_a_part_that_is_a_link_is_not_followed(source: SessionStore, tmp_path: Path) -> None:
    file, precious = tmp_path / "x.jsonl", tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "x.jsonl.part").symlink_to(precious)
    export_sessions(source, file)
    assert precious.read_text() == "precious"
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_file_comes_in_place_of_a_pipe_or_a_folder(source: SessionStore, tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    one = InMemorySessionStore()
    one.run(Restore(session("one")))
    reader = os.open(pipe, os.O_RDWR)  # so that nobody waits for the other end
    export_sessions(one, pipe)
    assert pipe.is_fifo()
    assert os.read(reader, 2**16) == b"".join(exported(one))
    os.close(reader)
    with pytest.raises(IsADirectoryError):
        export_sessions(source, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
