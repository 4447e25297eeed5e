"""A process that writes in batches is killed fifty times."""

from __future__ import annotations

from pathlib import Path

from sqlite_killed import lives
from warm import Warm


def test_a_process_killed_in_the_middle_of_batches_loses_nothing_that_was_acknowledged(
    warm: Warm, tmp_path: Path
) -> None:
    lives(warm, tmp_path / "sessions.db", 50)
