"""The pages of the documentation: their Python runs, and prints what they say it prints."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pages import PAGES, POSTGRES, REDIS, Servers, fences, outputs, program
from servers import redis as redis_servers
from servers.postgres import PostgresServer
from warm import Warm

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
RUNNING = [name for name, text in TEXTS.items() if program(text)]


@pytest.fixture
def servers(request: pytest.FixtureRequest, name: str) -> Iterator[Servers]:
    code = "".join(block.code for block in program(TEXTS[name]))
    with ExitStack() as stack:
        redis = postgres = None
        database = f"page_{uuid.uuid4().hex[:12]}"
        if REDIS in code:
            config = {"appendonly": "yes", "appendfsync": "always"}
            redis = stack.enter_context(redis_servers.single(**config))
        if "# PostgreSQL is killed" in code:
            postgres = PostgresServer(fsync="on")
            stack.callback(postgres.stop)
        elif POSTGRES in code:
            postgres = request.getfixturevalue("postgres")
        if postgres:
            with psycopg.connect(postgres.url(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        yield Servers(redis, postgres, database)


@pytest.mark.soak
@pytest.mark.parametrize("name", RUNNING)
def test_the_python_of_a_page_runs_and_prints_what_is_said(
    name: str, servers: Servers, tmp_path: Path, warm: Warm
) -> None:
    blocks = program(TEXTS[name])
    said = {f"line {block.line}": block.output for block in blocks}
    printed = outputs(name, blocks, servers, tmp_path, warm)
    assert dict(zip(said, printed, strict=True)) == said


@pytest.mark.parametrize("name", RUNNING)
def test_the_python_of_a_page_is_formatted_to_be_read(name: str) -> None:
    long = [line for block in program(TEXTS[name]) for line in block.code.splitlines()]
    assert not [line for line in long if len(line) > 100]


def test_every_page_is_written() -> None:
    assert not [name for name, text in TEXTS.items() if "*To be written.*" in text]


RUNS_OTHERWISE = re.compile(
    r"^[ ]*(?:~~~|```(?:py|py3|python3|pycon|ipython|\{code\S*)\b)", re.MULTILINE
)


def test_no_python_is_shown_that_does_not_run() -> None:
    assert not [name for name, text in TEXTS.items() if RUNS_OTHERWISE.search(text)]
    for name, text in TEXTS.items():
        opened = len(re.findall(r"^[ ]*```", text, re.MULTILINE))
        assert opened == 2 * len(fences(text)), f"{name}: a block is not closed"
