"""Who owns a journal: a name for each object, and whether its process is still there."""

from __future__ import annotations

import os
import socket
import sys
import weakref
from datetime import datetime

from sessionstore._runtime.clock import clock
from sessionstore.models import new_id, to_microseconds

__all__ = ["is_present", "leave", "name_for"]

_ABANDONED = 60_000_000  # microseconds
_here: set[str] = set()


def name_for(owner: object) -> str:
    """Name an object of this process that owns journals, for as long as it lives."""
    pid = os.getpid()  # by which other processes know it: a forked child makes names of its own
    name = f"{_where()}|{pid}|{_started(pid)}|{new_id()}"
    _here.add(name)
    weakref.finalize(owner, _here.discard, name)
    return name


def leave(owner: str) -> None:
    """Own nothing any more under this name."""
    _here.discard(owner)


def is_present(owner: str, written_at: datetime) -> bool:
    """Tell whether an owner is still there.

    Of a process elsewhere, such as one in a container that shares the file, this is not known,
    also where its host has the same name: what it has not written to for a minute is taken for
    abandoned. So is what an older version of this package has named, which names no container.

    Args:
        owner: Its name.
        written_at: When it last wrote.
    """
    where, pid, started, _ = (*owner.rsplit("|", 3), "", "", "")[:4]
    if where != _where() or not pid.isdecimal() or sys.platform == "win32":
        return owner in _here or to_microseconds(written_at) >= clock.oldest_live(_ABANDONED)
    if int(pid) == os.getpid():
        return owner in _here
    # When another user's process began may not be for us to see.
    return _runs(int(pid)) and _started(int(pid)) in (started, "")


def _where() -> str:
    """Name what numbers processes: two that have equal numbers there are one."""
    host = socket.gethostname()
    if sys.platform != "linux":
        return host
    try:
        # A /proc that was mounted for others than us shows their processes.
        if os.readlink("/proc/self") != str(os.getpid()):
            return f"{host}|{new_id()}"
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{host}|{boot}|{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{host}|{new_id()}"  # nobody's but its own: no number counts


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    # A number is given to one process after the other: when it began tells them apart.
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
