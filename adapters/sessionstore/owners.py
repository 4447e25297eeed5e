"""Who looks after a journal: a name for each object, and whether its process is still there."""

from __future__ import annotations

import os
import socket
import sys
import weakref
from datetime import datetime, timedelta, timezone

from sessionstore.models import new_id

__all__ = ["is_looked_after", "leave", "name_for"]

_ABANDONED = timedelta(seconds=60)
_here: set[str] = set()


def name_for(looker: object) -> str:
    """Name an object of this process that looks after journals, for as long as it lives."""
    pid = os.getpid()
    owner = f"{socket.gethostname()}|{pid}|{_started(pid)}|{new_id()}"
    _here.add(owner)
    weakref.finalize(looker, _here.discard, owner)
    return owner


def leave(owner: str) -> None:
    """Look after nothing any more under this name."""
    _here.discard(owner)


def is_looked_after(owner: str, written_at: datetime) -> bool:
    """Tell whether an owner is still there.

    Of a process on another host, such as a container that shares the file, this can't be told:
    what it has not written to for a minute is taken for abandoned.

    Args:
        owner: Its name.
        written_at: When it last wrote.
    """
    host, pid, started, _ = (*owner.rsplit("|", 3), "", "", "")[:4]
    if host != socket.gethostname() or not pid.isdecimal() or sys.platform == "win32":
        return owner in _here or datetime.now(timezone.utc) - written_at < _ABANDONED
    if int(pid) == os.getpid():
        return owner in _here
    return _runs(int(pid)) and _started(int(pid)) == started


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
