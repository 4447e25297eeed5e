"""The README: its Python runs, as one program, and prints what it says; and it stays short."""

import re
from pathlib import Path

import pytest
from pages import Servers, outputs, program
from servers import redis as redis_servers

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


@pytest.fixture
def servers():
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield Servers(server, None, "")


def test_the_snippets_run_and_print_what_they_promise(servers, tmp_path, warm):
    blocks = program(TEXT)
    said = {f"line {block.line}": block.output for block in blocks}
    printed = outputs("README", blocks, servers, tmp_path, warm)
    assert dict(zip(said, printed, strict=True)) == said


def test_it_is_two_hundred_lines_that_fit_a_window():
    lines = TEXT.splitlines()
    assert len(lines) <= 200
    assert not [line for line in lines if len(line) > 120]


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", TEXT)
    assert not [link for link in links if not (README.parent / link).exists()]
    assert len(links) > 20
