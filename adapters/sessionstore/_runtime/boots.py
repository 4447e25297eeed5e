"""Which start of the machine this is: the steady clock begins again with each."""

from __future__ import annotations

import sys
from functools import lru_cache

__all__ = ["boot_id"]


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Give a name that all processes of the machine agree on, and that is another after a restart.

    Returns:
        The name; ``""`` where the system gives none, as on Windows: what is left of an earlier
        start must then be told by times that can't be of this one.
    """
    if sys.platform == "darwin":
        return _of_darwin()
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _of_darwin() -> str:
    import ctypes  # noqa: PLC0415 - no other system needs it

    name, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    try:
        call = ctypes.CDLL(None).sysctlbyname
        failed = call(b"kern.bootsessionuuid", name, ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError):
        return ""
    return "" if failed else name.value.decode("ascii", "replace")
