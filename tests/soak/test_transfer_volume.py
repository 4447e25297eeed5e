"""A million messages are moved in bounded memory: in one session, and in many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MESSAGES = 1_000_000
MOVES = """
import resource, sys
from sessionstore import SQLiteSessionStore
from sessionstore.transfer import copy_sessions, export_sessions, import_sessions

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def opened(name):
    return SQLiteSessionStore(f"{folder}/{name}.db", synchronous="NORMAL", timeout=60)

def done(report):
    assert report.complete and report.messages == messages, report
    return report.copied

folder, sessions, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
source, each = opened("source"), messages // sessions
for number in range(sessions):
    for start in range(0, each, 10_000):
        source.append_messages(f"s{number}", [
            {"role": "user", "content": "x" * 200, "id": f"m{n}"}
            for n in range(start, min(each, start + 10_000))
        ])
before = peak()
assert done(copy_sessions(source, opened("copy"), verify=True)) == sessions
assert done(export_sessions(source, f"{folder}/all.jsonl.gz")) == sessions
assert done(import_sessions(f"{folder}/all.jsonl.gz", opened("import"))) == sessions
print(peak() - before, before)
"""


@pytest.mark.soak
@pytest.mark.parametrize("sessions", [1, 10_000])
def test_a_million_messages_are_moved_in_bounded_memory(tmp_path: Path, sessions: int) -> None:
    """It takes so many megabytes more than to fill the store took, of some 300 MB of JSON."""
    arguments = [str(tmp_path), str(sessions), str(MESSAGES)]
    run = subprocess.run(
        [sys.executable, "-c", MOVES, *arguments], check=True, capture_output=True, text=True
    )
    taken, _ = map(int, run.stdout.split())
    assert taken < 100
