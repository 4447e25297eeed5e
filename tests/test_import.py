from __future__ import annotations

from pathlib import Path

import pytest
from children import Children

IMPORT = """
    import sys

    import msgspec, msgspec.json  # and what they take if it is there
    before = {name.partition(".")[0] for name in sys.modules}
    import sessionstore
    after = {name.partition(".")[0] for name in sys.modules}
    print(*sorted(after - before - sys.stdlib_module_names))
"""


def test_the_core_imports_msgspec_and_the_standard_library_alone() -> None:
    with Children() as children:
        found = set(children.run(IMPORT).split())
    assert found == {"sessionstore"}


STAR = """
    import sys

    for driver in ("sqlalchemy", "psycopg", "redis"):
        sys.modules[driver] = None
    import sessionstore
    from sessionstore import *

    assert set(sessionstore.__all__) <= set(globals())
    for name in "DbSessionStore AgentDb PostgresAgentDb SqliteAgentDb RedisSessionStore".split():
        assert name in dir(sessionstore)
        try:
            getattr(sessionstore, name)
        except ImportError as error:
            print(str(error).partition(" ")[2])
"""


def test_a_star_imports_what_needs_no_driver() -> None:
    with Children() as children:
        hints = children.run(STAR).splitlines()
    assert len(hints) == 5
    assert all("pip install 'sessionstore[" in hint for hint in hints)


MISSING = """
    import sys

    sys.modules[sys.argv[1]] = None
    try:
        import sessionstore.testing
    except ImportError as error:
        print(error)
"""


def test_the_suite_says_what_it_needs() -> None:
    hint = "sessionstore.testing needs the testing extra: pip install 'sessionstore[testing]'\n"
    with Children() as children:
        for missing in ("pytest", "hypothesis"):
            assert children.run(MISSING, missing) == hint


WITHOUT = """
    import sys

    sys.modules[sys.argv[1]] = None
    try:
        import llama_index_sessionstore
    except ImportError as error:
        print(error)
"""


def test_the_llama_index_part_says_what_it_needs() -> None:
    needs = "llama_index_sessionstore needs the llama-index extra"
    with Children() as children:
        for missing in ("llama_index", "llama_index.core"):
            hint = f"{needs}: pip install 'sessionstore[llama-index]'\n"
            assert children.run(WITHOUT, missing) == hint


LAZY = """
    import sys

    import llama_index_sessionstore
    print("llama_index.core" in sys.modules, hasattr(llama_index_sessionstore, "nothing"))
"""


def test_llama_index_is_imported_at_its_first_use() -> None:
    with Children() as children:
        assert children.run(LAZY) == "False False\n"


COST = """
    import time

    start = time.process_time()
    import asyncio, concurrent.futures, dataclasses, msgspec.json, pathlib, secrets, sqlite3
    between = time.process_time()
    import sessionstore
    print((time.process_time() - between) / (between - start))
"""


def test_the_import_costs_little_beside_what_it_stands_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiled once, as an installed package is.
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    with Children() as children:
        assert min(float(children.run(COST)) for _ in range(5)) < 0.5
