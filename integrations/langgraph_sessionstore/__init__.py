"""LangGraph with `sessionstore`: graphs go on when their checkpointer's database is down.

`FallbackCheckpointer` is a checkpointer around another one; `is_outage` tells by which errors it
takes that for away; a `PendingCall` is a call that waits for it, or was set aside.
"""

from importlib.util import find_spec

if find_spec("langgraph") is None or find_spec("langgraph.checkpoint") is None:
    raise ImportError(
        "langgraph_sessionstore needs the langgraph extra: pip install 'sessionstore[langgraph]'"
    )

from langgraph_sessionstore.checkpointer import FallbackCheckpointer
from langgraph_sessionstore.outages import is_outage
from langgraph_sessionstore.pending import PendingCall

__all__ = ["FallbackCheckpointer", "PendingCall", "is_outage"]
