"""What a type checker says to those who use the package."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def test_type_checkers_know_what_an_operation_gives(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from sessionstore import InMemorySessionStore, SessionMessage
            from sessionstore.operations import Append, DeleteMessages, Get, GetMessages, Ping
            store = InMemorySessionStore()
            reveal_type(store.run(Append("s", [SessionMessage("user", "Hello!")])))
            reveal_type(store.run(Get("s")))
            reveal_type(store.run(GetMessages("s")))
            reveal_type(store.run(DeleteMessages("s", ["m1"])))
            async def later() -> None:
                reveal_type(await store.arun(Get("s")))
        """)
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    output = subprocess.run([*command, program], capture_output=True, text=True, check=False).stdout
    types = [line.split('"')[1] for line in output.splitlines() if "Revealed type" in line]
    assert [one.replace("sessionstore.models.", "").replace("builtins.", "") for one in types] == [
        "int",
        "SessionData | None",
        "list[SessionMessage]",
        "list[str]",
        "SessionData | None",
    ], output
