"""The tables of one run, as Markdown: what was to be reached first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path

from measure import Measured
from notes import IN_MEMORY, LEFT_OUT, PEERS, SAVERS_APPEND
from parts import WIRING
from reasons import shortfalls
from tabulate import tabulate
from targets import Target
from turns import APPEND

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
_RATES = "turns a second"
_VERDICTS = (
    "Reached is the median over all rounds of the run of what one took over what the other took in"
    " the same round, with the quartiles; within noise: the target is between these."
)
_LEGEND = (
    "In each cell: the median and, of 20 or more, the 95th percentile in milliseconds (of a"
    " throughput: turns a second); n, of how many; and how many times the limit's by hand the"
    " median is. Slow peers take part in fewer rounds, spread over the run."
    " Who lost messages had shorter sessions to read: beside them stand how many, no ratio, and"
    " their bars are hatched."
)


def results(
    measured: Sequence[Measured],
    reached: Sequence[Target],
    missing: Iterable[str],
    *,
    machine: dict[str, str],
    versions: dict[str, str],
    plots: Sequence[Path],
) -> str:
    """Give the whole of ``RESULTS.md``."""
    today = dt.datetime.now(dt.timezone.utc).date()
    pictures = [f"![{one.stem.replace('_', ' ')}](plots/{one.name})" for one in plots]
    return "\n\n".join(
        [
            "# Results",
            f"Measured on {today} by `make bench`, all in one run. Times are medians.",
            _pairs(machine),
            "## What was to be reached",
            goals(reached),
            _VERDICTS,
            "## What falls short, and why",
            shortfalls(reached),
            "## Figures",
            _LEGEND,
            "Of the peers, as they are by themselves:",
            "\n".join(f"- {name}: {note}." for name, note in PEERS.items()),
            *pictures,
            tables(measured),
            "## Left out",
            "\n".join(f"- {one}" for one in [*LEFT_OUT, *missing, *_failed(measured)]),
            "## Versions",
            _pairs(versions),
            "",
        ]
    )


def _pairs(told: dict[str, str]) -> str:
    return tabulate(list(told.items()), headers=("", ""), tablefmt="github", disable_numparse=True)


def goals(reached: Sequence[Target]) -> str:
    """Give the table of targets."""
    rows = [(one.what, one.where, one.bound, one.figure, one.verdict) for one in reached]
    head = ("what", "where", "target", "reached (quartiles)", "")
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)


def tables(measured: Sequence[Measured]) -> str:
    """Give a table for each work on each backend."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.work, one.backend), []).append(one)
    return "\n\n".join(
        f"### {', '.join(filter(None, (work, backend)))}\n\n{_table(group)}{_beside(group)}"
        for (work, backend), group in groups.items()
    )


def _beside(group: Sequence[Measured]) -> str:
    one = group[0]
    if one.work == APPEND.name and any(each.family == "langgraph" for each in group):
        return f"\n\n{SAVERS_APPEND}"
    return f"\n\n{IN_MEMORY}" if one.work.startswith(WIRING) and one.backend == "memory" else ""


def _table(group: Sequence[Measured]) -> str:
    sizes = sorted({one.size for one in group})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for one in group:
        rows.setdefault((one.name, one.mode), {})[one.size] = _cell(one, group)
    return tabulate(
        [(*key, *(cells.get(size, "") for size in sizes)) for key, cells in rows.items()],
        headers=("", "", *(f"{size:,}" if any(sizes) else "median" for size in sizes)),
        tablefmt="github",
        disable_numparse=True,
    )


def _cell(one: Measured, group: Sequence[Measured]) -> str:
    if not one.seconds:
        return one.note
    limit = None if one.note else _limit(one, group)
    if one.work.startswith(_RATES):
        ratio = f" · {limit.median / one.median:.2f} x" if limit else ""
        p95 = f" · {1 / one.p95:,.0f}" if one.p95 else ""
        told = f"{1 / one.median:,.0f}{p95} · n {len(one.seconds)}{ratio}"
        return told + (f" · {one.note}" if one.note else "")
    ratio = f" · {one.median / limit.median:.2f} x" if limit else ""
    p95 = f" · {_ms(one.p95)}" if one.p95 else ""
    return f"{_ms(one.median)}{p95} · n {len(one.seconds)}{ratio}"


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _limit(one: Measured, group: Sequence[Measured]) -> Measured | None:
    """Give the limit with the same guarantees: beside a full sync at each commit, another such."""
    lazy = "(NORMAL)" in one.name
    same = (
        other
        for other in group
        if other.family == "limit"
        and (other.mode, other.size) == (one.mode, one.size)
        and ("(NORMAL)" in other.name) == lazy
    )
    return next(same, None)


def _failed(measured: Iterable[Measured]) -> list[str]:
    return [
        f"{one.name}, {one.backend}, {one.mode}, {one.work}, {one.size:,}: {one.note}"
        for one in measured
        if one.note and not one.seconds
    ]
