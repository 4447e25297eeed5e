"""Who owns a journal: processes with one host's name, but with numbers of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from clocks import MachineClock

from sessionstore.fallback.journal_owners import is_present, leave, name_for

LONG_AGO = timedelta(seconds=61)

# Prints its owner's name, then answers whether each that it is given is present.
PROGRAM = """
import sys
from datetime import datetime, timezone
from sessionstore.fallback.journal_owners import is_present, name_for

class Looker: pass

looker = Looker()
print(name_for(looker), flush=True)
for line in sys.stdin:
    print(is_present(line.strip(), datetime.now(timezone.utc)), flush=True)
"""
OWN_NUMBERS = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


class Looker:
    """Looks after nothing, but has a name."""


def now() -> datetime:
    return datetime.now(timezone.utc)


class Other:
    """Another process, with numbers of its own or with ours."""

    def __init__(self, *wrapper: str) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._child = subprocess.Popen(
            [*wrapper, sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.owner = self._line()

    def _line(self) -> str:
        assert self._child.stdout
        return self._child.stdout.readline().strip()

    def sees(self, owner: str) -> bool:
        assert self._child.stdin
        self._child.stdin.write(f"{owner}\n")
        self._child.stdin.flush()
        return self._line() == "True"

    def end(self) -> None:
        with self._child:
            self._child.kill()


def wrappers() -> list[str]:
    """Give what runs a program with numbers of its own; as no root, in a namespace of users."""
    return OWN_NUMBERS if os.geteuid() == 0 else [*OWN_NUMBERS, "--map-root-user"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux numbers processes by container")
def test_a_live_process_of_another_container_keeps_its_journals_for_a_minute() -> None:
    looker = Looker()
    ours = name_for(looker)
    others = [Other(*wrappers()) for _ in range(2)]
    try:
        one, other = (process.owner for process in others)
        assert one.split("|")[0] == other.split("|")[0] == socket.gethostname()
        # Both have one number, which is no process's here, or another one's.
        assert one.split("|")[3] == other.split("|")[3]
        for owner in (one, other):
            assert is_present(owner, now())
            assert not is_present(owner, now() - LONG_AGO)
        assert others[0].sees(other)
        assert others[1].sees(one)
        assert others[0].sees(ours)
    finally:
        for process in others:
            process.end()


def test_another_living_process_is_recognised_until_it_ends() -> None:
    other = Other()
    try:
        assert is_present(other.owner, now() - LONG_AGO)
        number = other.owner.rsplit("|", 3)
        assert not is_present("|".join((*number[:2], "0", number[3])), now())
    finally:
        other.end()
    assert not is_present(other.owner, now())


def test_an_owner_of_this_process_is_there_until_it_leaves_or_is_gone() -> None:
    first, second = Looker(), Looker()
    names = name_for(first), name_for(second)
    assert all(is_present(name, now() - LONG_AGO) for name in names)
    leave(names[0])
    del second
    assert not any(is_present(name, now()) for name in names)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["host", "boot", "namespace"])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the host is all there is")
def test_a_process_number_counts_only_on_the_same_machine_and_boot(part: int) -> None:
    looker = Looker()
    parts = name_for(looker).split("|")
    parts[3] = str(2**22 + 1)  # no process has this number
    assert not is_present("|".join(parts), now())
    parts[part] = "another"
    assert is_present("|".join(parts), now())
    assert not is_present("|".join(parts), now() - LONG_AGO)


def test_a_name_that_an_older_version_gave_counts_for_a_minute() -> None:
    old = f"{socket.gethostname()}|{2**22 + 1}|123|0123"
    if sys.platform == "linux":
        assert is_present(old, now())
    assert not is_present(old, now() - LONG_AGO)


def test_a_clock_that_is_set_takes_no_journal_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = MachineClock(monkeypatch)
    machine.set_ahead(2)
    assert is_present("another host|1|0|x", now())
    machine.let_pass(1)
    assert not is_present("another host|1|0|x", now())
