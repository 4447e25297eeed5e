from __future__ import annotations

from pathlib import Path

import pytest
from children import Children
from warm import Warm

from sessionstore.arguments.urls import KNOWN

# In a process that may have imported them already.
HIDE = """
    import sys

    def hide(drivers):
        for name in [*drivers, *sys.modules]:
            if name.partition(".")[0] in drivers:
                sys.modules[name] = None
"""

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

    for driver in ("cryptography", "opentelemetry", "sqlalchemy", "psycopg", "redis"):
        sys.modules[driver] = None
    import sessionstore
    from sessionstore import *

    assert set(sessionstore.__all__) <= set(globals()) and "Window" in globals()
    for name in sys.argv[1:]:
        try:
            exec(f"from sessionstore import {name}")
        except ImportError as error:
            print(error)
"""


EXTRAS = {
    "DbSessionStore": "sql",
    "AgentDb": "sql",
    "PostgresAgentDb": "postgres",
    "SqliteAgentDb": "sql",
    "RedisSessionStore": "redis",
    "TracedSessionStore": "otel",
    "EncryptedSessionStore": "encryption",
}


def test_a_star_imports_what_needs_no_driver() -> None:
    with Children() as children:
        hints = children.run(STAR, *EXTRAS).splitlines()
    assert hints == [
        f"{name} needs the {extra} extra: pip install 'sessionstore[{extra}]'"
        for name, extra in EXTRAS.items()
    ]


LOOKED_AT = """
    import inspect, pydoc

    package, without, *lacks = sys.argv[1:]
    hide(without.split())
    module = __import__(package)
    names = {name for name in dir(module) if not name.startswith("__")}
    members = {name for name, _ in inspect.getmembers(module) if not name.startswith("__")}
    assert members == names, members ^ names
    assert pydoc.render_doc(module)
    assert names == set(module.__all__)
    assert set(module._MODULES) - names == set(lacks[0].split()), set(module._MODULES) - names
    exec(f"from {package} import *")
    assert names <= set(globals()), names - set(globals())
"""
DRIVERS = "redis sqlalchemy"
NEED_THEM = "AgentDb DbSessionStore PostgresAgentDb RedisSessionStore SqliteAgentDb"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("package", "without", "lacks"),
    [
        ("sessionstore", "", ""),
        ("sessionstore", "redis", "RedisSessionStore"),
        ("sessionstore", "psycopg", ""),
        ("sessionstore", "opentelemetry", "TracedSessionStore"),
        ("sessionstore", DRIVERS, NEED_THEM),
        ("langchain_sessionstore", "", ""),
        ("langchain_sessionstore", "langchain", "SessionMiddleware"),
        ("langgraph_sessionstore", "", ""),
        ("llama_index_sessionstore", "", ""),
        ("openai_agents_sessionstore", "", ""),
    ],
)
def test_help_inspect_and_a_star_meet_all_names_and_none_that_raises(
    warm: Warm, package: str, without: str, lacks: str
) -> None:
    with Children(warm) as children:
        children.run(HIDE + LOOKED_AT, package, without, lacks)


HINT = """
    hide(sys.argv[1].split())
    from sessionstore import open_store
    try:
        open_store(sys.argv[2])
    except (ImportError, ValueError) as error:
        print(type(error).__name__, error)
"""
NEEDS = "ImportError a URL that starts with {!r} needs SQLAlchemy: pip install {}"
NO_STORE = "ValueError no store for a URL that starts with {!r}: "
USE = f"use {KNOWN}"
SQL_EXTRA = f"{USE}, which needs the sql extra: pip install 'sessionstore[sql]'"
UNKNOWN = f"SQLAlchemy knows no such database; {USE}"


@pytest.mark.parametrize(
    ("without", "scheme", "said"),
    [
        ("sqlalchemy", "reddis", NO_STORE.format("reddis") + SQL_EXTRA),
        ("sqlalchemy", "mongodb", NO_STORE.format("mongodb") + SQL_EXTRA),
        ("", "reddis", NO_STORE.format("reddis") + UNKNOWN),
        ("", "mongodb+srv", NO_STORE.format("mongodb+srv") + UNKNOWN),
        ("sqlalchemy", "postgresql", NEEDS.format("postgresql", "'sessionstore[postgres]'")),
        (
            "sqlalchemy",
            "postgresql+psycopg",
            NEEDS.format("postgresql+psycopg", "'sessionstore[postgres]'"),
        ),
        ("sqlalchemy", "mysql", NEEDS.format("mysql", "'sessionstore[sql]' pymysql")),
        (
            "psycopg psycopg2",
            "postgresql",
            (
                "ImportError no driver for postgresql is installed: "
                "pip install 'sessionstore[postgres]'"
            ),
        ),
        (
            "redis",
            "redis",
            (
                "ImportError RedisSessionStore needs the redis extra: "
                "pip install 'sessionstore[redis]'"
            ),
        ),
    ],
)
def test_a_url_says_what_to_install(warm: Warm, without: str, scheme: str, said: str) -> None:
    with Children(warm) as children:
        assert children.run(HIDE + HINT, without, f"{scheme}://u:secret@h/d") == f"{said}\n"


MISSING = """
    hide(sys.argv[1:])
    try:
        import sessionstore.testing
    except ImportError as error:
        print(error)
"""


def test_the_suite_says_what_it_needs(warm: Warm) -> None:
    hint = "sessionstore.testing needs the testing extra: pip install 'sessionstore[testing]'\n"
    with Children(warm) as children:
        for missing in ("pytest", "hypothesis"):
            assert children.run(HIDE + MISSING, missing) == hint


WITHOUT = """
    import sys
    from importlib import import_module

    sys.modules[sys.argv[2]] = None
    try:
        import_module(sys.argv[1])
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("package", "extra", "missing"),
    [
        ("llama_index_sessionstore", "llama-index", "llama_index"),
        ("llama_index_sessionstore", "llama-index", "llama_index.core"),
        ("langgraph_sessionstore", "langgraph", "langgraph"),
        ("langgraph_sessionstore", "langgraph", "langgraph.checkpoint"),
        ("openai_agents_sessionstore", "openai-agents", "agents"),
        ("sessionstore.tracing", "otel", "opentelemetry"),
        ("sessionstore.tracing", "otel", "opentelemetry.trace"),
        ("sessionstore.encryption", "encryption", "cryptography"),
    ],
)
def test_an_integration_says_what_it_needs(package: str, extra: str, missing: str) -> None:
    hint = f"{package} needs the {extra} extra: pip install 'sessionstore[{extra}]'\n"
    with Children() as children:
        assert children.run(WITHOUT, package, missing) == hint


LAZY = """
    import sys

    import llama_index_sessionstore, openai_agents_sessionstore
    print("llama_index.core" in sys.modules, hasattr(llama_index_sessionstore, "nothing"))
    print("agents" in sys.modules, hasattr(openai_agents_sessionstore, "nothing"))
"""


def test_a_framework_is_imported_at_its_first_use() -> None:
    with Children() as children:
        assert children.run(LAZY) == "False False\n" * 2


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
