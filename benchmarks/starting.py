"""The first turn in a fresh process, imports included; and what imports take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata

from first_peers import PEERS
from first_programs import BEGINNING, Program, house
from measure import Loop, Measured, Use, interleaved
from peers import STACK
from places import Place

FIRST = "the first turn in a fresh process"
IMPORT = "an import"
LANGCHAIN, CORE = "langchain_sessionstore", "sessionstore"
_SEARCH = "langchain-redis"  # which needs a server of its own


def _run(code: str, url: str = "") -> str:
    """Run a program, with modules that are compiled once, as they are where they are installed."""
    command = [sys.executable, "-W", "ignore", "-c", code, url]
    compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=compiled).stdout


def _programs(backend: str) -> Iterator[Program]:
    """Give those that can run here; for the others, the peers tell why there is none."""
    for program in (*house(backend), *PEERS[backend]):
        _, _, needs, _ = program
        if _installed(needs) and (needs != _SEARCH or STACK in os.environ):
            yield program


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def first_turns(loop: Loop, backend: str, place: Place, times: int) -> list[Measured]:
    """Measure whole processes, interleaved, each in a database that has its tables already."""
    uses = [Use(Measured(FIRST, backend, "sync", "Python, and no more", "", 0), partial(_run, ""))]
    for name, family, needs, code in _programs(backend):
        measured = Measured(FIRST, backend, "sync", name, family, 0)
        url = os.environ[STACK] if needs == _SEARCH else place()
        uses.append(Use(measured, partial(_run, BEGINNING + code, url)))
    return interleaved(loop, uses, seconds=0, most=times, least=times, burst=1)


# What a program has imported that has models, messages and histories of LangChain's, before it
# chooses where to keep them: langchain-core alone, and not all of it.
_LANGCHAIN_CORE = (
    "import langchain_core.chat_history, langchain_core.messages, langchain_core.runnables.history"
)
# By name: what is imported when it is first asked for counts.
_IMPORTS = (
    (CORE, "SessionMessage, SQLiteSessionStore", "pass"),
    (LANGCHAIN, "SessionChatMessageHistory, with_session_history", _LANGCHAIN_CORE),
)
_TIMED = """
import time
{before}
start = time.perf_counter()
from {module} import {names}
print(time.perf_counter() - start)
"""


def imports(times: int) -> list[Measured]:
    """Measure imports in fresh processes, over what is imported there already."""
    measured = [Measured(IMPORT, "", "sync", module, "ours", 0) for module, *_ in _IMPORTS]
    for n in range(times + 1):
        for one, (module, names, before) in zip(measured, _IMPORTS, strict=True):
            code = _TIMED.format(before=before, module=module, names=names)
            taken = float(_run(code))
            if n:  # the first may have compiled the modules
                one.seconds.append(taken)
    return measured
