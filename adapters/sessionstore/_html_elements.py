"""What a notebook's tables are made of: text that stays text, in elements with one style.

A text goes in only through `prose` and `label`, which escape it. None goes into an attribute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import takewhile
from typing import Any, TypeVar

__all__ = [
    "as_json",
    "counted",
    "data",
    "element",
    "fields",
    "heading",
    "label",
    "omitted",
    "prose",
    "small",
    "some",
    "table",
    "utc",
]

T = TypeVar("T")

_CHARACTERS = 600
_LINES = 12
_NAME = 60
_PARTS = 10

# Control characters are shown as their pictures: a browser shows nothing, or something else.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}


# -- Texts ----------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Show a text as it was written, as far as there is room; nothing for an empty one."""
    kept = _beginning(text)
    left = len(text) - len(kept)
    return _text(kept, counted(left, "more character") if left else "")


def data(value: object) -> str:
    """Show a value as JSON, as far as there is room: how much more there is is not even counted."""
    text = as_json(value)
    kept = _beginning(text)
    return _text(kept, "more" if len(kept) < len(text) else "")


def _beginning(text: str) -> str:
    return "".join(text[:_CHARACTERS].splitlines(keepends=True)[:_LINES])


def _text(kept: str, more: str) -> str:
    if not kept:
        return ""
    # Beside the text, not in it: there, what is written from right to left would turn it round.
    beside = f"<p><i>… {more}</i></p>" if more else ""
    return f'<div class="text" dir="auto">{_escaped(kept.translate(_PICTURES))}</div>{beside}'


def label(value: object, room: int = _NAME) -> str:
    """Show a name on one line, with all in it that can't be seen spelt out."""
    text = str.__str__(value) if isinstance(value, str) else str(value)
    kept = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:room])
    return f"<bdi>{_escaped(kept)}{'…' * (len(text) > room)}</bdi>"


def as_json(value: object) -> str:
    """Give a value as JSON, or more of it than there is room for; what is none by its type."""
    left = _CHARACTERS + 1

    def short(part: Any) -> Any:  # each takes at least as many characters as it is counted for
        nonlocal left
        if isinstance(part, str):
            part = part[: max(left, 0)]
        left -= len(part) if isinstance(part, str) else 1
        if isinstance(part, dict):
            return {short(k): short(v) for k, v in takewhile(lambda _: left > 0, part.items())}
        if isinstance(part, (list, tuple)):
            return [short(item) for item in takewhile(lambda _: left > 0, part)]
        return part

    try:
        value = short(value)
        return json.dumps(value, ensure_ascii=False, default=lambda odd: f"<{type(odd).__name__}>")
    except (TypeError, ValueError, RecursionError):
        return "what is not JSON"


def utc(moment: object) -> str:
    """Give a moment to the second."""
    if not isinstance(moment, datetime):
        return ""
    try:
        moment = moment.astimezone(timezone.utc)
    except (OverflowError, ValueError):  # the first day, or the last
        moment = moment.replace(tzinfo=None)
    return moment.isoformat(" ", "seconds")[:19]


def counted(number: int, thing: str) -> str:
    """Say how many of a thing there are."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _escaped(text: str) -> str:
    return escape(text.encode(errors="replace").decode())


# -- Elements -------------------------------------------------------------------------------------


def element(head: str, body: str, kind: str) -> str:
    """Give the element of an object, with its style."""
    # JupyterLab and the classic notebook would set what stands between two $ as mathematics.
    return (
        f'<div class="sessionstore-html mathjax_ignore tex2jax_ignore"><style>{_STYLE}</style>'
        f'<header>{head}</header><div class="{kind}">{body}</div></div>'
    )


def heading(what: str, id: str, facts: Iterable[str] = ()) -> str:
    """Name what is shown, and tell some facts of it."""
    return f"<strong>{what} {label(id, _CHARACTERS)}</strong> {small(facts)}"


def small(facts: Iterable[str]) -> str:
    """Put facts beside each other."""
    return f"<small>{' · '.join(facts)}</small>"


def table(names: Iterable[str], rows: Iterable[str]) -> str:
    """Put rows under the names of their columns."""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def fields(rows: Iterable[tuple[str, str]]) -> str:
    """Put values beside their names."""
    cells = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows)
    return f"<table><tbody>{cells}</tbody></table>"


def some(things: Sequence[T], show: Callable[[T], str], thing: str) -> str:
    """Show the first ten of some things, and how many more there are."""
    left = len(things) - _PARTS
    more = f"<p><i>… {counted(left, f'more {thing}')}</i></p>" if left > 0 else ""
    return "".join(map(show, things[:_PARTS])) + more


def omitted(count: int, thing: str) -> list[str]:
    """Give the row, if there is to be one, that says how many are not shown."""
    if count <= 0:
        return []
    return [f'<tr class="more"><td colspan="3">… {counted(count, thing)}</td></tr>']


# The class is named three times to outweigh the notebook's own rules for tables. The colours are
# the notebook's; where it has none, those of the page's color-scheme. Both ink and paper are set,
# so that they fit each other on any page. A container has no width of its own: where its host asks
# for one (a flex item, a cell), it would have none.
_STYLE = """
& { container-type: inline-size; box-sizing: border-box; min-width: 280px; max-width: 1100px;
  overflow: hidden; text-align: left;
  font: 13px/1.45 var(--jp-content-font-family, var(--vscode-font-family, system-ui, sans-serif));
  color: var(--jp-content-font-color1, var(--vscode-editor-foreground, light-dark(#222, #ddd)));
  background: var(--jp-layout-color0, var(--vscode-editor-background, light-dark(#fff, #181818)));
  border: 1px solid #8884; border-radius: 6px; }
[data-jp-theme-light="false"] &, .vscode-dark &, .vscode-high-contrast & { color-scheme: dark; }
[data-jp-theme-light="true"] &, .vscode-light &, .vscode-high-contrast-light & {
  color-scheme: light; }
& * { overflow-wrap: anywhere; }
& bdi { display: inline-block; max-width: 100%; overflow: hidden; vertical-align: top; }
& header { display: block; padding: 8px 12px; background: #8881; border-bottom: 1px solid #8884; }
& small { font-size: 12px; opacity: .8; }
& strong { margin-right: 4px; }
& table { table-layout: fixed; width: 100%; margin: 0; border: 0; border-collapse: collapse;
  font-size: inherit; color: inherit; }
& tbody tr:nth-child(n) { background: transparent; border: 0; }
& tbody tr:nth-child(n + 2) { border-top: 1px solid #8883; }
& th, & td { padding: 6px 12px; border: 0; text-align: left; vertical-align: top;
  max-width: none; font-weight: inherit; white-space: normal; }
& thead th { font-size: 12px; opacity: .8; }
& tbody th, & b { font-weight: 600; }
& th small { display: block; font-weight: 400; }
& .time { font-variant-numeric: tabular-nums; opacity: .8; }
& .log th { width: 84px; } & .log th:nth-child(2) { width: 136px; }
& .log th:nth-child(3), & .page th { width: auto; }
& .page th:nth-child(2) { width: 84px; } & .page th:nth-child(3) { width: 136px; }
& .fields th { width: 84px; }
& .user th { color: light-dark(#084a9a, #8ab8ff); }
& .assistant th { color: light-dark(#0c5c2e, #7fd6a0); }
& .tool th, & .open { color: light-dark(#733d00, #f0b86a); }
& .text { white-space: pre-wrap; overflow: hidden; unicode-bidi: isolate; }
& p { margin: 0; } & > div > p { padding: 8px 12px; }
& .call { display: flex; flex-wrap: wrap; gap: 4px 12px; margin-top: 4px; padding: 4px 8px;
  background: #8881; border-radius: 4px; }
& .call > div { flex: 1 1 220px; min-width: 0; }
& .call > div > .text { font-family: ui-monospace, monospace; font-size: 12px; }
& .call > .result { padding-left: 12px; border-left: 2px solid #8886; }
& i, & .more td { opacity: .8; font-style: normal; }
& .more td { text-align: center; }
& code { display: flex; padding: 0; font-size: 12px; color: inherit; background: transparent; }
& .error, & .degraded { color: light-dark(#b3261e, #ff9d94); }
& .healthy { color: light-dark(#0c5c2e, #7fd6a0); }
@container (max-width: 560px) {
  & .log thead { display: none; }
  & .log tbody tr { display: flex; flex-wrap: wrap; gap: 2px 12px; padding: 6px 12px; }
  & .log tbody th, & .log tbody td { width: auto; padding: 0; }
  & .log tbody td:last-child { flex: 1 0 100%; min-width: 0; }
  & .page thead th:nth-child(n), & .page td { width: 74px; }
  & .page thead th:first-child { width: auto; }
}
""".replace("&", ".sessionstore-html" * 3)
