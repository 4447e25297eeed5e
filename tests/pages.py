"""The pages of the documentation, and their Python as the programs that they promise to be."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

from servers.postgres import PostgresServer
from servers.redis import Server
from warm import Warm

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    str(path.relative_to(DOCS).with_suffix("")): path
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}
FENCE = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
REDIS = "localhost:6379"
POSTGRES = "app@localhost/chat"
# Where a page says that something happens to a server, it does.
STEP = re.compile(r"^([ ]*)# (Redis|PostgreSQL) is (killed|back)\b.*$", re.MULTILINE)
MARK = "\x1f"  # what no page prints
WAIT = rf"\1print('{MARK}\2 \3', flush=True); input()"
# Each block is compiled as the lines of its page, so that a traceback leads there.
RUN = f"""
def run(page, blocks):
    import sys, types
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    for line, code in blocks:
        exec(compile("\\n" * line + code, page, "exec"), vars(main))
        print("{MARK}end", flush=True)
"""


class Block(NamedTuple):
    """A block of Python on a page, with what it prints."""

    line: int
    code: str
    output: str


def fences(page: str) -> list[tuple[str, str, int, str]]:
    """Give each block of a page: its language, its text, its line, and what is before it."""
    found, end = [], 0
    for fence in FENCE.finditer(page):
        line = page.count("\n", 0, fence.start("text"))
        between = page[end : fence.start()]
        found.append((fence["language"], dedent(fence["text"]), line, between))
        end = fence.end()
    return found


def program(page: str) -> list[Block]:
    """Give a page's Python; a text block right after one is what that one prints."""
    blocks: list[Block] = []
    last = ""
    for language, text, line, between in fences(page):
        if language == "python":
            blocks.append(Block(line, text, ""))
        elif (language, last, between.strip()) == ("text", "python", ""):
            blocks[-1] = blocks[-1]._replace(output=text)
        last = language
    return blocks


class Servers:
    """The servers that a page names, and those that it has instead."""

    def __init__(
        self, redis: Server | None, postgres: PostgresServer | None, database: str
    ) -> None:
        self._redis, self._postgres = redis, postgres
        self._names = {}
        if redis:
            self._names[REDIS] = f"127.0.0.1:{redis.port}"
        if postgres:
            self._names[POSTGRES] = postgres.url(database).partition("://")[2]

    def put_in(self, code: str) -> str:
        for name, real in self._names.items():
            code = code.replace(name, real)
        return code

    def taken_out(self, output: str) -> str:
        for name, real in self._names.items():
            hidden = re.sub(r":[^:@]*@", ":***@", real)
            output = output.replace(real, name).replace(hidden, name)
        return output

    def do(self, step: str) -> None:
        name, what = step.split()
        server: Any = {"Redis": self._redis, "PostgreSQL": self._postgres}[name]
        server.kill() if what == "killed" else server.start()


def outputs(
    name: str, blocks: list[Block], servers: Servers, folder: Path, warm: Warm
) -> list[str]:
    """Run a page's blocks as one program, and give what each of them printed."""
    given = [(block.line, STEP.sub(WAIT, servers.put_in(block.code))) for block in blocks]
    running = warm.start(f"{RUN}\nrun({name!r}, {given!r})\n", folder=folder)
    found, printed = [], ""
    with running.stdin, running.stdout:
        for line in running.stdout:
            said, mark, told = line.rstrip("\n").partition(MARK)
            printed += said if mark else line
            if told == "end":
                found.append(servers.taken_out(printed))
                printed = ""
            elif mark:
                servers.do(told)
                running.stdin.write("\n")
                running.stdin.flush()
    assert running.wait() == 0, f"{name}: block {len(found) + 1} failed after printing {printed!r}"
    return found
