"""Writers of what other libraries read: a line of JSON for each session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from sessionstore.forms.langchain import data_of
from sessionstore.forms.openai_chat import chat_message_of
from sessionstore.models import SessionData, require_opened

__all__ = ["WRITERS", "langchain_lines", "openai_lines"]

_encode = msgspec.json.Encoder().encode


def langchain_lines(sessions: Iterable[SessionData]) -> Iterator[bytes]:
    """Write sessions as LangChain's messages: ``messages_from_dict(line["messages"])`` reads them.

    Bytes in a message are base64 text there, since LangChain's JSON has no word for them.

    Args:
        sessions: The sessions; one is asked for at a time.

    Yields:
        A line for each: ``{"session_id": …, "messages": [{"type": …, "data": …}, …]}``.

    Raises:
        DecryptionError: A message is encrypted, and was read without its keys.
    """
    for session in sessions:
        messages = [data_of(require_opened(message)) for message in session.messages]
        yield _encode({"session_id": session.id, "messages": messages}) + b"\n"


def openai_lines(sessions: Iterable[SessionData]) -> Iterator[bytes]:
    r"""Write sessions as OpenAI's chat format, for fine-tuning and evaluations.

    Reasoning is left out, and what else the format has no place for is a text in brackets. A call
    whose result never came stays as it is: OpenAI refuses such a line for fine-tuning.

    Example:
        >>> from sessionstore import InMemorySessionStore
        >>> from sessionstore.transfer.writers import openai_lines
        >>> store = InMemorySessionStore()
        >>> session = store.create(messages=[{"role": "user", "content": "Hello!"}])
        >>> b"".join(openai_lines([session])).decode()
        '{"messages":[{"role":"user","content":"Hello!"}]}\n'

    Args:
        sessions: The sessions; one is asked for at a time.

    Yields:
        A line for each: ``{"messages": [{"role": …, "content": …}, …]}``.

    Raises:
        DecryptionError: The same.
    """
    for session in sessions:
        messages = [chat_message_of(require_opened(message)) for message in session.messages]
        yield _encode({"messages": messages}) + b"\n"


WRITERS: dict[str, Callable[[Iterable[SessionData]], Iterator[bytes]]] = {
    "langchain-jsonl": langchain_lines,
    "openai-jsonl": openai_lines,
}
"""What writes each format: called with sessions, it gives lines."""
