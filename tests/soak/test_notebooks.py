"""Every notebook runs from top to bottom in a kernel of its own, and its outputs are current.

``make outputs`` runs them all and keeps what they give.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
import psycopg
import pytest
import redis
from nbclient import NotebookClient
from nbformat import NotebookNode
from servers import redis as redis_servers
from servers.postgres import PostgresServer, programs

HERE = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((HERE / "notebooks").glob("*.ipynb"))
# Those that say the same each time, but for numbers.
STEADY = ("quickstart", "langchain_agents", "llama_index_memory")
# What a machine calls its files and itself, and what its servers are reached by.
FOLDERS = "home|root|tmp|var|usr|opt|etc|mnt|srv|work|workspace|private|Users|Volumes"
# A machine may be called by a word of any text, which tells nothing.
NAMES = {
    name
    for name in (str(HERE), str(Path.home()), socket.gethostname(), socket.getfqdn())
    if name != "/" and re.search(r"[\d./-]", name)
}
OF_A_MACHINE = re.compile(
    "|".join(
        [
            rf"(?<![\w<])/(?:{FOLDERS})/",
            r"\b[A-Za-z]:\\",
            r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
            r"\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]:\d",
            r"localhost:(?!6379\b)\d",
            r"\b0x[0-9a-f]{6,}",
            *(rf"(?<!\w){re.escape(name)}(?!\w)" for name in NAMES),
        ]
    )
)


def run(path: Path) -> NotebookNode:
    """Run a notebook in an empty folder, and give it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder, redis_servers.single() as server:
        postgres = PostgresServer() if "POSTGRES_URL" in path.read_text() else None
        servers = {"SESSIONSTORE_REDIS_SERVER": redis_servers.binary(), "REDIS_URL": server.url}
        if postgres:
            servers["POSTGRES_URL"] = postgres.url()
        if "SESSIONSTORE_POSTGRES_PROGRAMS" in path.read_text():
            servers["SESSIONSTORE_POSTGRES_PROGRAMS"] = str(programs())
            Path(folder).chmod(0o711)  # its server is another user's, where this one is root
        client = NotebookClient(
            notebook,
            timeout=120,
            resources={"metadata": {"path": folder}},
            allow_errors=False,
            coalesce_streams=True,  # a slow cell's text comes in parts
        )
        try:
            client.execute(env={**os.environ, "OPENAI_API_KEY": "", "TMPDIR": folder, **servers})
        finally:
            left = {
                "keys": _keys(server.url),
                "tables": _tables(postgres.url()) if postgres else [],
            }
            if postgres:
                postgres.stop()
        assert left == {"keys": [], "tables": []}, "what it wrote into others' servers is there yet"
        return nbformat.reads(_of_any_machine(nbformat.writes(notebook), folder), as_version=4)


def _of_any_machine(text: str, folder: str) -> str:
    text = re.sub(rf"{re.escape(folder)}/(tmp\w{{8}}/)?", "", text)
    return re.sub(r"127\.0\.0\.1:\d+", "localhost:6379", text)


def _keys(url: str) -> list[bytes]:
    with redis.Redis.from_url(url) as client:
        return list(client.scan_iter())


def _tables(url: str) -> list[str]:
    query = (
        "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        r" WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'"
    )
    with psycopg.connect(url) as connection:
        return [str(name) for (name,) in connection.execute(query)]


def outputs_of(notebook: NotebookNode) -> list[list[NotebookNode]]:
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def kind_of(output: NotebookNode) -> tuple[str, ...]:
    """Tell what an output is: a text, a table, a picture."""
    return (output.output_type, *sorted(output.get("data", {"text": ""})))


def text_of(output: NotebookNode) -> str:
    """Give all that an output says, as text: a picture says nothing."""
    data = [text for kind, text in output.get("data", {}).items() if kind != "image/png"]
    error = [output.get("ename", ""), output.get("evalue", ""), *output.get("traceback", ())]
    return "\n".join([output.get("text", ""), *map(str, data), *error])


def without_numbers(text: str) -> str:
    random_id = r"\b[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\b"
    return re.sub(r"\d+", "0", re.sub(random_id, "0", text))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_outputs_are_current(path: Path) -> None:
    committed, now = outputs_of(nbformat.read(path, as_version=4)), outputs_of(run(path))
    shapes = [[list(map(kind_of, cell)) for cell in cells] for cells in (now, committed)]
    assert shapes[0] == shapes[1], "run `make outputs`"
    if path.stem in STEADY:
        for cell, before in zip(now, committed, strict=True):
            for output, old in zip(cell, before, strict=True):
                assert without_numbers(text_of(output)) == without_numbers(text_of(old)), (
                    "run `make outputs`"
                )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_names_the_machine_that_made_it(path: Path) -> None:
    for cell in outputs_of(nbformat.read(path, as_version=4)):
        for output in cell:
            assert not OF_A_MACHINE.search(text_of(output))


@pytest.mark.parametrize(
    "text",
    [
        *(f"(at {name}.)" for name in sorted(NAMES)),
        *["/srv/app/a.py", "'/Users/me/a'", "/opt/x", "/root/x", "file:///home/me", "/var/x"],
        *[r"C:\Users\me", r"c:\\Users", "10.0.0.7:80", "127.0.0.1", "192.168.1.20"],
        *[
            "[::1]:6379",
            "[fe80::1]:1",
            "localhost:5432",
            "0x7f00aabbcc",
        ],
    ],
)
def test_the_search_finds_text_that_names_a_machine(text: str) -> None:
    output = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[f"a {text}"])
    assert OF_A_MACHINE.search(text_of(output))


@pytest.mark.parametrize(
    "text", ["localhost:6379", "</var></opt>", "and/or", "13:04:05", "1.2.3", "a: \\n", "[1:2]"]
)
def test_the_search_leaves_text_that_is_the_same_on_any_machine(text: str) -> None:
    assert not OF_A_MACHINE.search(text)


if __name__ == "__main__":
    for notebook_path in [path for path in NOTEBOOKS if path.stem in sys.argv] or NOTEBOOKS:
        executed = run(notebook_path)
        for one in executed.cells:
            one.metadata.pop("execution", None)  # when it was run
        nbformat.write(executed, notebook_path)
