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
    types = revealed(program)
    assert types == [
        "int",
        "SessionData | None",
        "list[SessionMessage]",
        "list[str]",
        "SessionData | None",
    ]


def test_type_checkers_know_what_every_store_can_be_asked(tmp_path: Path) -> None:
    """For what `open_store` gives nobody needs a cast, whatever the URL names."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from sessionstore import StoreEvent, open_store
            with open_store("redis://localhost", create_parents=True) as store:
                reveal_type(store)
                reveal_type(store.setup)
                reveal_type(store.stats().operations)
                reveal_type(store.stats().degraded_since)
                reveal_type(store.stats().pending)
                events: tuple[StoreEvent, ...] = store.stats().events
                reveal_type(store.is_degraded())
                reveal_type(store.recover())
                reveal_type(store.timeout)
                session = store.session("s1", user_id="alice")
                reveal_type(session.append({"role": "user", "content": "Hello!"}))
                reveal_type(session.messages(limit=20))
            async def later() -> None:
                async with open_store("memory:") as store:
                    await store.asetup()
                    reveal_type(await store.arecover())
                    reveal_type(await store.session("s1").aappend({"role": "user"}))
        """)
    )
    assert revealed(program) == [
        "SessionStore",
        "def ()",
        "dict[str, int]",
        "datetime.datetime | None",
        "int",
        "bool",
        "bool",
        "float | None",
        "int",
        "list[SessionMessage]",
        "bool",
        "int",
    ]


def test_type_checkers_know_what_a_chain_that_remembers_takes_and_gives(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from langchain_core.messages import BaseMessage
            from langchain_core.runnables import Runnable
            from langchain_sessionstore import with_session_history
            from sessionstore import InMemorySessionStore
            def remember(model: Runnable[list[BaseMessage], BaseMessage]) -> None:
                chain = with_session_history(model, InMemorySessionStore())
                taken: Runnable[list[BaseMessage], BaseMessage] = chain
                reveal_type(chain.invoke([]))
                reveal_type(chain.check({"configurable": {"session_id": "s1"}}))
        """)
    )
    assert revealed(program) == ["BaseMessage", "None"]


def revealed(program: Path) -> list[str]:
    """Give the types that a strict type checker finds, which has nothing to say else."""
    cache = program.parent / "cache"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(program)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    types = [line.split('"')[1] for line in output.splitlines() if "Revealed type" in line]
    assert "error" not in output, output
    modules = (
        "sessionstore.models.classes.",
        "sessionstore.store.",
        "langchain_core.messages.base.",
    )
    for module in (*modules, "builtins."):
        types = [one.replace(module, "") for one in types]
    return types
