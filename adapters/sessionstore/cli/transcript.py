"""A session as people read it: who said what, each tool's result below its call.

What was said stands further in than who said it: no text can look like a message of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sessionstore.cli.text import as_json, in_a_line, in_lines
from sessionstore.cli.times import shown
from sessionstore.models import SessionData, SessionMessage
from sessionstore.notebook.parts import CALLS, Block, block_of, known_of, paired

__all__ = ["Line", "transcript"]

_STYLES = {"user": "bold blue", "assistant": "bold green", "tool": "bold yellow"}
_IN, _FURTHER_IN = "  ", "      "


class Line(NamedTuple):
    """A line of a transcript.

    Attributes:
        text: What a terminal may be shown.
        style: How it looks there, in the words of Rich.
    """

    text: str = ""
    style: str = ""


def transcript(session: SessionData) -> Iterator[Line]:
    """Write a session, with the messages of it that are here.

    Args:
        session: The session.

    Yields:
        The lines.
    """
    yield from _head(session)
    rows = paired(session.messages)
    for number, (message, pairs) in enumerate(rows, start=1):
        yield Line()
        yield _speaker(message)
        yield from _indented(_said(message, CALLS if pairs else ()), _IN)
        for call, result in pairs:
            yield from _call(call, result, is_last=number == len(rows))


def _head(session: SessionData) -> Iterator[Line]:
    if title := session.metadata.get("title"):
        yield Line(in_a_line(title), "bold")
    owner = "no owner" if session.user_id is None else f"user {in_a_line(session.user_id)}"
    count = f"{session.message_count:,} message{'' if session.message_count == 1 else 's'}"
    yield Line(f"session {in_a_line(session.id)}", "bold")
    yield Line(f"agent {in_a_line(session.agent_id)}, {owner}, {count}", "dim")
    times = f"created {shown(session.created_at)}, updated {shown(session.updated_at)} (UTC)"
    yield Line(times, "dim")
    others = {name: value for name, value in session.metadata.items() if name != "title"}
    if others:
        yield Line(f"metadata {in_a_line(as_json(others))}", "dim")
    if left := session.message_count - len(session.messages):
        yield Line()
        yield Line(f"… {left:,} earlier", "dim")


def _speaker(message: SessionMessage) -> Line:
    name = f" ({in_a_line(message.name)})" if message.name else ""
    # A result whose call is not here.
    of = f"  result of {in_a_line(message.tool_call_id)}" if message.tool_call_id else ""
    text = f"{in_a_line(message.role)}{name}  {shown(message.created_at)}{of}"
    return Line(text, _STYLES.get(message.role, "bold"))


def _call(call: dict[str, Any], result: SessionMessage | None, *, is_last: bool) -> Iterator[Line]:
    name, args = in_a_line(call.get("name") or ""), in_a_line(as_json(call.get("args")))
    yield Line(f"{_IN}→ {name} {args}", "yellow")
    if result is None:
        missing = "waiting for its result" if is_last else "no result"
        yield Line(f"{_FURTHER_IN}({missing})", "dim")
    else:
        yield from _indented(_said(result, ()), _FURTHER_IN)


def _said(message: SessionMessage, without: tuple[str, ...]) -> Iterator[str]:
    known = known_of(message)
    if known.get("status") == "error":
        yield "(error)"
    content = message.content if isinstance(message.content, list) else [message.content]
    blocks = [block for block in map(block_of, content) if block.kind not in without]
    blocks = [block for block in blocks if block.text != ""]
    if not blocks and not without:
        blocks = [block_of({"type": name}) for name in known]
    yield from map(_block, blocks)


def _block(block: Block) -> str:
    if block.text is None:
        return f"[{in_a_line(block.name)}]"
    return block.text if "text" in block.kind else f"({block.kind}) {block.text}"


def _indented(texts: Iterator[str], by: str) -> Iterator[Line]:
    for text in texts:
        for line in in_lines(text).split("\n"):
            yield Line(f"{by}{line}".rstrip())
