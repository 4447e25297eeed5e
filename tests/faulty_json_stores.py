"""The store of `json_file_store`, as it is and wrong in one way each, and tests of the suite.

`test_conformance_suite` runs them in a process of their own: nothing here is collected by itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from json_file_store import FUNCTIONS, File, JsonFileStore

from sessionstore import StoreBusyError
from sessionstore.operations import Operation
from sessionstore.testing import OpenStore, volume
from sessionstore.testing.blocking import WaitContract
from sessionstore.testing.crashing import CrashContract
from sessionstore.testing.lifetime import LifetimeContract
from sessionstore.testing.scarcity import ScarcityContract
from sessionstore.testing.volume import VolumeContract

T = TypeVar("T")

PAGE = Path(__file__).parent.parent / "docs" / "extend" / "writing_a_store.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
exec(BLOCKS[0])  # noqa: S102 - what the page tells others to write


class AsDocumented(BlockingStore, JsonFileStore):  # noqa: F821 - it is in that block
    functions = FUNCTIONS

    @contextmanager
    def transaction(self) -> Iterator[File]:
        with self._locked():
            file = self._load()
            before = file.text()
            yield file
            if (after := file.text()) != before:
                self._save(after)


class OpenOnce(JsonFileStore):
    """No second one opens the file: no fault where that is not claimed."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._opened = open(f"{path}.opened", "a")  # noqa: SIM115 - closed with the store
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._opened.close()
            raise StoreBusyError("somebody else has the file open") from error

    def close(self) -> None:
        super().close()
        self._opened.close()


class WritesInPlace(JsonFileStore):
    def _save(self, content: str) -> None:
        with open(self._path, "w") as file:
            file.write(content)


class RaisesOsErrors(JsonFileStore):
    def _do(self, work: Callable[[File], T]) -> T:
        self._refuse_closed()
        with self._locked():
            return self._change(work)


class WorksWhenClosed(JsonFileStore):
    def close(self) -> None:
        pass


class BlocksTheLoop(JsonFileStore):
    async def arun(self, operation: Operation[T]) -> T:
        return self.run(operation)


class LandsLater(JsonFileStore):
    async def arun(self, operation: Operation[T]) -> T:
        return await asyncio.to_thread(self.run, operation)


class Suite(LifetimeContract, CrashContract, WaitContract, ScarcityContract, VolumeContract):
    kind = JsonFileStore
    supports_flat_cost = False

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(self.kind, tmp_path / "sessions.json", durable=False)


class TestAsItIs(Suite):
    pass


class TestAsDocumented(Suite):
    kind = AsDocumented


class TestOpenOnce(Suite):
    kind = OpenOnce
    supports_processes = False


class TestInPlace(Suite):
    kind = WritesInPlace


class TestOsErrors(Suite):
    kind = RaisesOsErrors


class TestClosed(Suite):
    kind = WorksWhenClosed


class TestBlocking(Suite):
    kind = BlocksTheLoop
    patience = 0.5


class TestLater(Suite):
    kind = LandsLater


class TestWholeFile(Suite):
    """That each call costs the whole file, which is no fault where it is not claimed."""

    supports_flat_cost = True

    @pytest.fixture(autouse=True)
    def _shorter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(volume, "LONG", 5_000)


class TestNothingClaimed(Suite):
    kind = LandsLater
    supports_expiry = supports_cancellation = supports_nonblocking_async = False
    supports_crash_safety = supports_processes = False
