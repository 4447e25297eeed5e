"""Which messages of a session an agent sees. The log itself is never cut."""

from sessionstore.window.tokens import approximate_tokens
from sessionstore.window.turns import INTERRUPTED
from sessionstore.window.view import Window

__all__ = ["INTERRUPTED", "Window", "approximate_tokens"]
