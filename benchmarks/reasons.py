"""Why targets are missed: reasons are kept in ``SHORT.md``, figures come from the run alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from targets import Target

SHORT = Path(__file__).parent / "SHORT.md"
_HEADING = re.compile(r"^## (.+?) \|(.*)\n", re.MULTILINE)
_UNKNOWN = "Why is not written down."


def shortfalls(reached: Iterable[Target]) -> str:
    """Give each missed target with its reason, in one paragraph for those that share it."""
    missed: dict[tuple[str, str], list[Target]] = {}
    reasons = list(_reasons(SHORT.read_text()))
    for one in reached:
        if not one.met:
            missed.setdefault((one.what, _reason(one, reasons)), []).append(one)
    return "\n\n".join(_told(*key, targets) for key, targets in missed.items()) or "Nothing."


def _reasons(text: str) -> Iterator[tuple[str, str, str]]:
    """Give each reason, with how the rows of the targets begin that it is for."""
    _, *parts = _HEADING.split(text)
    for what, where, reason in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield what, where.strip(), reason.strip()


def _reason(target: Target, reasons: Sequence[tuple[str, str, str]]) -> str:
    """Give the reason that says most exactly which targets it is for."""
    fitting = [
        (len(what) + len(where), reason)
        for what, where, reason in reasons
        if target.what.startswith(what) and target.where.startswith(where)
    ]
    return max(fitting, default=(0, _UNKNOWN))[1]


def _told(what: str, reason: str, targets: Sequence[Target]) -> str:
    rows = [f"- {one.where or what}: {one.figure}, {one.bound} wanted" for one in targets]
    return "\n".join([f"**{what}**", "", *rows, "", reason])
