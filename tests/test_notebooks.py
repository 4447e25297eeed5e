"""Every notebook runs from top to bottom in a kernel of its own, and its outputs are current.

``make outputs`` runs them all and keeps what they give.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from servers import redis as redis_servers
from servers.postgres import PostgresServer

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
# What a machine calls its files, and what its servers are reached by.
OF_A_MACHINE = re.compile(
    r"/home/|/root/|/tmp/|/var/|/usr/|[A-Z]:\\\\|127\.0\.0\.1|localhost:(?!6379)|0x[0-9a-f]{6,}"
)


def run(path: Path) -> NotebookNode:
    """Run a notebook in an empty folder, and give it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder, redis_servers.single() as redis:
        postgres = PostgresServer() if "POSTGRES_URL" in path.read_text() else None
        servers = {"SESSIONSTORE_REDIS_SERVER": redis_servers.binary(), "REDIS_URL": redis.url}
        if postgres:
            servers["POSTGRES_URL"] = postgres.url()
        client = NotebookClient(
            notebook,
            timeout=120,
            resources={"metadata": {"path": folder}},
            allow_errors=False,
            coalesce_streams=True,  # a slow cell's text comes in parts
        )
        try:
            client.execute(env={**os.environ, "OPENAI_API_KEY": "", **servers})
        finally:
            if postgres:
                postgres.stop()
        return nbformat.reads(_of_any_machine(nbformat.writes(notebook), folder), as_version=4)


def _of_any_machine(text: str, folder: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "localhost:6379", text.replace(f"{folder}/", ""))


def kinds_of_outputs(notebook: NotebookNode) -> list[list[object]]:
    """Give for each cell what its outputs are: a text, a table, a picture."""
    return [
        [(output.output_type, *sorted(output.get("data", {"text": ""}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_outputs_are_current(path: Path) -> None:
    committed = nbformat.read(path, as_version=4)
    assert kinds_of_outputs(run(path)) == kinds_of_outputs(committed), "run `make outputs`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_tell_nothing_of_the_machine(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            texts = [output.get("text", ""), *map(str, output.get("data", {}).values())]
            assert not OF_A_MACHINE.search("".join(t for t in texts if not t.startswith("iVBOR")))


if __name__ == "__main__":
    for notebook_path in [path for path in NOTEBOOKS if path.stem in sys.argv] or NOTEBOOKS:
        executed = run(notebook_path)
        for one in executed.cells:
            one.metadata.pop("execution", None)  # when it was run
        nbformat.write(executed, notebook_path)
