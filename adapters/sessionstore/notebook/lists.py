"""A list of messages shows itself, too: a plain list, that IPython is told how to show.

Stores give plain lists: one of a class of ours would cost every read, and no part or copy of it
would be one.
"""

from __future__ import annotations

import sys
from typing import Any

from sessionstore.models import SessionMessage
from sessionstore.notebook import messages_html

__all__ = ["list_html", "show_lists"]


def show_lists() -> None:
    """Have the notebook that runs this process show lists of messages as tables.

    Where none does, or somebody has said already how it shows lists, nothing is changed.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    formatters = getattr(getattr(shell, "display_formatter", None), "formatters", {})
    formatter = formatters.get("text/html")
    if formatter is None:
        return
    try:
        formatter.lookup_by_type(list)
    except KeyError:
        formatter.for_type(list, list_html)


def list_html(value: list[Any]) -> str | None:
    """Show a list as a table, if it is one of messages.

    Args:
        value: Any list.

    Returns:
        The HTML; of any other list what it would be shown by without this, ``None`` if by its text.
    """
    own = getattr(type(value), "_repr_html_", None)
    if own is not None:
        shown: str | None = own(value)
        return shown
    ends = [*value[:1], *value[-20:]]
    if ends and all(isinstance(one, SessionMessage) for one in ends):
        return messages_html(value)
    return None
