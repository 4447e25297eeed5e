"""A message as LangChain's histories keep it: the JSON of ``message_to_dict``."""

from __future__ import annotations

from typing import Any

from sessionstore.forms.faults import FormError
from sessionstore.forms.langchain import message_of
from sessionstore.models import SessionMessage
from sessionstore.transfer.readers.building import decoded

__all__ = ["message_of_json"]


def message_of_json(raw: Any) -> SessionMessage:
    """Read the JSON that LangChain's histories keep of a message.

    Args:
        raw: The JSON: ``{"type": …, "data": …}``.

    Returns:
        The message.

    Raises:
        FormError: It is none.
    """
    data = decoded(raw)
    if not isinstance(data, dict):
        raise FormError("a message is not a JSON object")
    return message_of(data.get("type"), data.get("data"))
