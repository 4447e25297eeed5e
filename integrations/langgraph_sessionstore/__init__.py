"""LangGraph with `sessionstore`: graphs go on when their checkpointer's database is down.

`FallbackCheckpointer` is a checkpointer around another one; `is_outage` tells by which errors it
takes that for away; a `PendingCall` is a call that waits for it, or was set aside. Each is
imported at its first use, with what it needs of langgraph-checkpoint.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langgraph_sessionstore.checkpointer import FallbackCheckpointer
    from langgraph_sessionstore.outages import is_outage
    from langgraph_sessionstore.pending import PendingCall

__all__ = ["FallbackCheckpointer", "PendingCall", "is_outage"]

if find_spec("langgraph") is None or find_spec("langgraph.checkpoint") is None:
    raise ImportError(
        "langgraph_sessionstore needs the langgraph extra: pip install 'sessionstore[langgraph]'"
    )

_MODULES = {
    "FallbackCheckpointer": "checkpointer",
    "PendingCall": "pending",
    "is_outage": "outages",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
