"""Pictures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from crowds import DISTINCT, SHARED
from matplotlib import pyplot as plt
from measure import Measured
from scaling import SCALING
from turns import TURN, WINDOWED

PLOTS = Path(__file__).parent / "plots"
_COLOURS = {
    "limit": "black",
    "naive": "dimgray",
    "ours": "tab:blue",
    "langchain": "tab:orange",
    "llama-index": "tab:green",
    "openai-agents": "tab:red",
    "langgraph": "tab:purple",
}
_STYLES = {"sync": "-", "async": "--"}
_MARKS = "os^vDPX*<>"


def draw(measured: Sequence[Measured]) -> list[Path]:
    """Write all pictures, and give their files."""
    mpl.use("agg")
    mpl.rcParams["font.size"] = 8
    PLOTS.mkdir(exist_ok=True)
    there = [one for one in measured if one.seconds]
    return [*_turns(there), *_crowds(there), *_scaling(there)]


def _of(measured: Sequence[Measured], **wanted: str) -> list[Measured]:
    return [
        one for one in measured if all(getattr(one, key) == value for key, value in wanted.items())
    ]


def _turns(measured: Sequence[Measured]) -> Iterator[Path]:
    for backend in ("sqlite", "redis", "postgresql"):
        figure, axes = plt.subplots(1, 2, figsize=(16, 5.5), sharey=True, layout="constrained")
        for axis, work in zip(axes, (TURN.name, WINDOWED.name), strict=True):
            _lines(axis, _of(measured, backend=backend, work=work))
            axis.set(title=f"{work}, {backend}", xlabel="stored messages", ylabel="ms")
        yield _saved(figure, f"turns_{backend}")


def _milliseconds(one: Measured) -> float:
    return one.median * 1e3


def _lines(
    axis: Any,
    measured: Sequence[Measured],
    height: Callable[[Measured], float] = _milliseconds,
) -> None:
    lines: dict[tuple[str, str, str], dict[int, float]] = {}
    for one in measured:
        key = one.family, one.name, one.mode
        lines.setdefault(key, {})[one.size] = height(one)
    for n, ((family, name, mode), points) in enumerate(sorted(lines.items())):
        axis.loglog(
            *zip(*sorted(points.items()), strict=True),
            _STYLES[mode],
            marker=_MARKS[n % len(_MARKS)],
            markersize=4,
            linewidth=1,
            color=_COLOURS[family],
            label=f"{name}, {mode}",
        )
    axis.grid(visible=True, alpha=0.3)
    if lines:
        axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))


def _crowds(measured: Sequence[Measured]) -> Iterator[Path]:
    for backend in ("sqlite", "redis", "postgresql"):
        figure, axes = plt.subplots(2, 2, figsize=(13, 8), layout="constrained")
        for row, (mode, crowd) in zip(axes, _crowd_names(), strict=True):
            for axis, work in zip(row, (DISTINCT, SHARED), strict=True):
                found = _of(measured, backend=backend, work=work, mode=mode)
                found.sort(key=lambda one: one.median, reverse=True)
                _bars(axis, found)
                axis.set(title=f"{work}, {crowd}, {backend}")
        yield _saved(figure, f"throughput_{backend}")


def _scaling(measured: Sequence[Measured]) -> Iterator[Path]:
    for backend in ("sqlite", "redis", "postgresql"):
        figure, axis = plt.subplots(figsize=(11, 5.5), layout="constrained")
        found = _of(measured, backend=backend, work=SCALING)
        _lines(axis, found, lambda one: 1 / one.median)
        axis.set(title=f"{SCALING}, {backend}", xlabel="tasks, or threads", ylabel="turns a second")
        yield _saved(figure, f"scaling_{backend}")


def _bars(axis: Any, measured: Sequence[Measured]) -> None:
    """Draw who lost messages hatched: their sessions are shorter than the others'."""
    axis.barh(
        [f"{one.name} (lost messages)" if one.note else one.name for one in measured],
        [1 / one.median for one in measured],
        color=[_COLOURS[one.family] for one in measured],
        edgecolor="white",
        hatch=["///" if one.note else "" for one in measured],
    )


def _crowd_names() -> tuple[tuple[str, str], tuple[str, str]]:
    return ("sync", "8 threads"), ("async", "64 tasks")


def _saved(figure: Any, name: str) -> Path:
    path = PLOTS / f"{name}.png"
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
    return path
