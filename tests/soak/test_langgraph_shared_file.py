"""Two processes with one fallback file go on with the same thread in an outage; one is killed."""

from __future__ import annotations

import signal

import pytest
from children import Children
from langgraph.checkpoint.base import empty_checkpoint
from savers import CutFile

from langgraph_sessionstore import FallbackCheckpointer

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
GOES_ON = """
    import sys
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph_sessionstore import FallbackCheckpointer
    from savers import CutFile

    folder, number = sys.argv[1:]
    saver = CutFile(f"{folder}/primary.db")
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpointer = FallbackCheckpointer(
        saver, fallback=f"sqlite:///{folder}/journal.db", retry_after=0, retry_cap=0
    )
    at = checkpointer.get_tuple(config).config
    saver.is_away = True
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "put\\n":
            at = checkpointer.put(at, empty_checkpoint(), {"by": number}, {})
            checkpointer.put_writes(at, [("log", number)], f"task of {number}")
            print(at["configurable"]["checkpoint_id"], flush=True)
        elif line == "read\\n":
            print(checkpointer.get_tuple(config).checkpoint["id"], flush=True)
        elif line == "recover\\n":
            saver.is_away = False
            print(checkpointer.recover(), len(checkpointer.rejected()), flush=True)
    checkpointer.close()
"""


def put(checkpointer):
    made = checkpointer.put(CONFIG, empty_checkpoint(), {}, {})
    return made["configurable"]["checkpoint_id"]


def tell(child, word):
    """Have a child do something, and give what it says."""
    assert child.stdin
    assert child.stdout
    child.stdin.write(f"{word}\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


@pytest.mark.parametrize("killed", [False, True])
def test_both_lines_of_a_thread_are_kept(tmp_path, killed):
    saver = CutFile(tmp_path / "primary.db")
    with FallbackCheckpointer(saver) as checkpointer, Children() as children:
        begun = put(checkpointer)
        both = [children.start(GOES_ON, tmp_path, number) for number in range(2)]
        for child in both:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        told = [tell(child, "put") for _ in range(3) for child in both]
        # In the outage each goes on with its own line.
        assert [tell(child, "read") for child in both] == told[-2:]
        first, second = both
        if killed:
            second.send_signal(signal.SIGKILL)
            second.wait()
        else:
            assert tell(second, "recover") == "True 0"
        assert tell(first, "recover") == "True 0"
        there = list(saver.list(CONFIG))
        assert [each.checkpoint["id"] for each in there] == [*sorted(told, reverse=True), begun]
        for each in there[:-1]:
            number = each.metadata["by"]
            assert each.pending_writes == [(f"task of {number}", "log", number)]
        # By then all go on with the newest.
        assert tell(first, "read") == checkpointer.get_tuple(CONFIG).checkpoint["id"] == max(told)
    saver.close()
