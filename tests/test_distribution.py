"""What is built for PyPI has all that it should have, and no more."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "sessionstore": ROOT / "adapters",
    "langchain_sessionstore": ROOT / "integrations",
    "llama_index_sessionstore": ROOT / "integrations",
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
    extras = {"langchain", "llama-index", "postgres", "redis", "sql"}
    assert set(metadata.get_all("Provides-Extra", [])) == {*extras, "all", "testing"}
    assert metadata["Author"] == "sessionstore maintainers"
    assert metadata["License-Expression"] == "MIT"
    all_of = [one for one in metadata.get_all("Requires-Dist", []) if one.endswith("'all'")]
    for package in ("langchain-core", "llama-index-core", "psycopg", "redis", "sqlalchemy"):
        assert any(one.startswith(package) for one in all_of), package
