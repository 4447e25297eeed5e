"""All of the conformance suite on a store as somebody else would write it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from json_file_store import JsonFileStore

from sessionstore.testing import OpenStore, SharedStoreConformance


class TestJsonFile(SharedStoreConformance):
    supports_flat_cost = False  # each call reads the file

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(JsonFileStore, tmp_path / "sessions.json")
