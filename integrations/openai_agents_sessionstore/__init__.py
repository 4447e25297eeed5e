"""Sessions of the OpenAI Agents SDK in a `sessionstore.SessionStore`.

`SessionStoreSession` is the SDK's `Session` for `Runner.run`. Each name is imported at its first
use.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai_agents_sessionstore.codec import to_items, to_session_messages
    from openai_agents_sessionstore.session import SessionStoreSession

__all__ = ["SessionStoreSession", "to_items", "to_session_messages"]

if find_spec("agents") is None:
    raise ImportError(
        "openai_agents_sessionstore needs the openai-agents extra: "
        "pip install 'sessionstore[openai-agents]'"
    )

_MODULES = {
    "SessionStoreSession": "session",
    "to_items": "codec",
    "to_session_messages": "codec",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
