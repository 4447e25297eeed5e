"""What is built for PyPI has all that it should have, and no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "sessionstore": ROOT / "adapters",
    "langchain_sessionstore": ROOT / "integrations",
    "langgraph_sessionstore": ROOT / "integrations",
    "llama_index_sessionstore": ROOT / "integrations",
    "openai_agents_sessionstore": ROOT / "integrations",
}
FOLDERS = (".ci", "adapters", "benchmarks", "docs", "integrations", "notebooks", "tests")
FILES = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
}
MADE = {"__pycache__", "_build", ".ipynb_checkpoints", ".hypothesis", ".pytest_cache"}
LEFT = (".db", ".db-wal", ".db-shm", ".egg-info")


def files(folder: Path, root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for path in folder.rglob("*")
        if path.is_file() and not MADE.intersection(path.parts) and not path.name.endswith(LEFT)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    [path] = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_the_packages_alone(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {name for package, root in PACKAGES.items() for name in files(root / package, root)}
    assert names == expected
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest"))]
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert any(name.endswith(".lua") for name in names)


def test_the_archive_of_the_sources_has_all(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= FILES
    missing = {name for folder in FOLDERS for name in files(ROOT / folder, ROOT)} - names
    assert not missing
    assert not [name for name in names if MADE.intersection(Path(name).parts)]


def test_the_metadata_names_every_extra(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    extras = {
        "cli",
        "encryption",
        "langchain",
        "langgraph",
        "llama-index",
        "openai-agents",
        "otel",
        "plots",
        "postgres",
        "redis",
        "sql",
    }
    assert set(metadata.get_all("Provides-Extra", [])) == {*extras, "all", "testing"}
    assert metadata["Author"] == "sessionstore maintainers"
    assert metadata["License-Expression"] == "MIT"
    all_of = [one for one in metadata.get_all("Requires-Dist", []) if one.endswith("'all'")]
    packages = ("langchain-core", "llama-index-core", "openai-agents", "psycopg", "redis")
    for package in (*packages, "cryptography", "matplotlib", "rich", "sqlalchemy", "typer"):
        assert any(one.startswith(package) for one in all_of), package


STAR = """
import sys

before = set(globals())
from sessionstore import *
got = set(globals()) - before - {"before"}

import sessionstore
assert sorted(got) == sorted(sessionstore.__all__) == sessionstore.__all__
print(*got)
store = FallbackSessionStore(InMemorySessionStore(), fallback=SQLiteSessionStore())
with store:
    assert store.append_message("s1", {"role": "user", "content": "Hello!"}) == 1
for name in sys.argv[1:]:
    try:
        getattr(sessionstore, name)
    except ImportError as error:
        assert "pip install 'sessionstore[" in str(error), error
    else:
        raise AssertionError(name)
"""
NEEDS = {
    "redis": {"RedisSessionStore"},
    "sqlalchemy": {"AgentDb", "DbSessionStore", "PostgresAgentDb", "SqliteAgentDb"},
}


def test_a_star_gives_what_is_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """In an environment of its own: the wheel and msgspec, and then one driver more."""
    python = environment(tmp_path, wheel)
    missing = set().union(*NEEDS.values())
    command = [str(python), "-I", "-W", "error", "-c", STAR]
    for driver in ("", "redis"):
        if driver:
            path = link_to(tmp_path / "drivers", driver, "async_timeout")  # which Python 3.10 needs
            (site_packages(tmp_path) / "drivers.pth").write_text(f"{path}\n")
            missing -= NEEDS[driver]
        ran = subprocess.run([*command, *missing], check=True, capture_output=True, text=True)
        found = set(ran.stdout.split())
        assert {"InMemorySessionStore", "FallbackSessionStore", "open_store"} <= found
        assert not found & missing
        assert all(NEEDS[driver] <= found for driver in filter(None, [driver]))


def environment(folder: Path, wheel: zipfile.ZipFile) -> Path:
    """Make an environment with the wheel and msgspec alone, and give its Python."""
    made = venv.EnvBuilder(symlinks=True, with_pip=False)
    made.create(folder / "env")
    packages = site_packages(folder)
    wheel.extractall(packages)  # noqa: S202 - it is ours
    shutil.copytree(Path(msgspec.__file__).parent, packages / "msgspec")
    return folder / "env" / "bin" / "python"


def site_packages(folder: Path) -> Path:
    [found] = (folder / "env" / "lib").glob("python*/site-packages")
    return found


def link_to(folder: Path, *packages: str) -> Path:
    """Make a folder for the path of imports: in it are some packages of this environment alone."""
    folder.mkdir()
    for package in packages:
        if found := find_spec(package):
            (folder / package).symlink_to(Path(found.origin or "").parent)
    return folder
