"""All benchmarks, or some of them: ``python benchmarks/run.py [--quick] [--only turns,crowds]``.

Prints the tables. With all of them, and not ``--quick``, it also writes ``RESULTS.md`` and plots.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import branches
import checkpointing
import decoding
import encrypting
import leasing
import many
import outages
import parts
import places
import starting
import tracing
from crowds import DISTINCT, EACH, SHARED, crowds
from everyone import everyone
from machine import commit, machine, versions
from measure import BURST, Loop, Measured
from places import Place
from report import RESULTS, goals, results, tables
from scaling import scaling
from subject import Subject
from targets import targets
from turns import APPEND, READ, READ_LAST, TURN, WINDOWED, Work, done


@dataclass(frozen=True)
class Scale:
    """How much is measured; seconds are for one table on one backend, for crowds, sync or async."""

    whole: Sequence[int] = (10, 100, 1000, 5000)
    windowed: Sequence[int] = (10, 100, 1000, 5000, 100_000)
    others: int = 20
    seconds: float = 6
    most: int = 60
    least: int = 3
    burst: int = BURST
    crowd: float = 10
    each: int | None = None
    sessions: int = 200_000
    replayed: int = 10_000
    times: int = 5


FULL = Scale()
QUICK = Scale((10, 1000), (10, 1000), 2, 0.5, 1, 1, 2, 0, 1, 500, 200, 1)


class Run:
    """One run: what was measured, and what could not be.

    Args:
        scale: How much.
        only: Which workloads; all when empty.
        backends: On what.
    """

    def __init__(self, scale: Scale, only: Sequence[str], backends: Sequence[str]) -> None:
        """Start an event loop."""
        self._scale, self._only, self._backends = scale, only, backends
        self._loop = Loop()
        self._start = time.perf_counter()
        self.measured: list[Measured] = []
        self.missing: list[str] = []

    def all(self) -> None:
        """Measure all, a backend at a time, so that no server is up for nothing."""
        for backend in self._backends:
            with places.place(backend) as place:
                self._with_everyone(backend, place)
                self._alone(backend, place)
        self._elsewhere()
        self._loop.close()

    def _group(self, name: str, backend: str, work: Callable[[], list[Measured]]) -> None:
        if self._only and name not in self._only:
            return
        self.measured += work()
        taken = time.perf_counter() - self._start
        print(f"{taken:6.0f} s: {name} {backend}", file=sys.stderr, flush=True)

    def _with_everyone(self, backend: str, place: Place) -> None:
        if self._only and not {"turns", "operations", "crowds", "scaling"} & set(self._only):
            return
        with everyone(self._loop, backend, place, self.missing, self._scale.others) as subjects:
            self._group("turns", backend, lambda: self._turns(subjects))
            self._group("operations", backend, lambda: self._operations(subjects))
            if backend != "memory":
                self._group("crowds", backend, lambda: self._crowds(subjects))
                self._group("scaling", backend, lambda: self._scaling(subjects))

    def _turns(self, subjects: Sequence[Subject]) -> list[Measured]:
        windowed = self._done(subjects, self._scale.windowed, WINDOWED)
        return windowed + self._done(subjects, self._scale.whole, TURN, share=2)

    def _operations(self, subjects: Sequence[Subject]) -> list[Measured]:
        few = [
            *self._done(subjects, [100], APPEND, share=0.5),
            *self._done(subjects, [100], READ_LAST, share=0.5),
        ]
        return few + self._done(subjects, [100, 1000], READ)

    def _done(
        self, subjects: Sequence[Subject], sizes: Sequence[int], work: Work, share: float = 1
    ) -> list[Measured]:
        scale = self._scale
        return done(
            self._loop,
            subjects,
            sizes,
            work,
            seconds=scale.seconds * share,
            most=scale.most,
            least=scale.least,
            burst=scale.burst,
        )

    def _crowds(self, subjects: Sequence[Subject]) -> list[Measured]:
        scale = self._scale
        backend = subjects[0].backend
        return [
            measured
            for work in (DISTINCT, SHARED)
            for mode in ("sync", "async")
            for measured in crowds(
                self._loop,
                subjects,
                work,
                mode,
                each=scale.each or EACH[backend, mode],
                seconds=scale.crowd,
                most=scale.most,
                least=scale.least,
            )
        ]

    def _scaling(self, subjects: Sequence[Subject]) -> list[Measured]:
        scale = self._scale
        return [
            measured
            for mode in ("sync", "async")
            for measured in scaling(
                self._loop,
                subjects,
                mode,
                seconds=scale.crowd,
                most=scale.most,
                least=scale.least,
            )
        ]

    def _alone(self, backend: str, place: Place) -> None:
        """Measure ours beside itself."""
        loop, scale = self._loop, self._scale
        self._group(
            "branches",
            backend,
            lambda: branches.branches(loop, backend, place, seconds=scale.seconds / 2),
        )
        self._group(
            "leases",
            backend,
            lambda: leasing.leasing(loop, backend, place, seconds=scale.seconds / 2),
        )
        if backend == "memory":
            return
        self._group(
            "sessions",
            backend,
            lambda: many.many(loop, backend, place, scale.sessions, seconds=scale.seconds / 2),
        )
        self._group(
            "starting", backend, lambda: starting.first_turns(loop, backend, place, scale.times)
        )
        self._group(
            "fallback",
            backend,
            lambda: outages.healthy(
                loop, backend, place, others=scale.others, seconds=scale.seconds
            ),
        )
        self._group(
            "tracing",
            backend,
            lambda: tracing.tracing(loop, backend, place, seconds=scale.seconds),
        )
        self._group(
            "encrypting",
            backend,
            lambda: encrypting.encrypting(loop, backend, place, seconds=scale.seconds),
        )
        self._group(
            "checkpointing",
            backend,
            lambda: checkpointing.checkpointing(loop, backend, place, seconds=2 * scale.seconds),
        )

    def _elsewhere(self) -> None:
        loop, scale = self._loop, self._scale
        self._group(
            "fallback",
            "in an outage",
            lambda: (
                outages.degraded(loop, rounds=scale.most, seconds=scale.seconds / 3)
                + outages.replays(scale.replayed, min(3, scale.times))
            ),
        )
        self._group("starting", "imports", lambda: starting.imports(3 * scale.times))
        self._group("parts", "", lambda: parts.wiring(loop, seconds=scale.seconds / 3))
        self._group("parts", "", lambda: decoding.decoding(loop, seconds=scale.seconds / 6))


def main() -> None:
    """Measure, print, and write what is to be kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a little of all, in minutes")
    parser.add_argument("--only", default="", help="workloads, with commas between them")
    parser.add_argument("--on", default="", help="backends, with commas between them")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers, of what they use
    logging.getLogger("sessionstore").setLevel(logging.CRITICAL)  # the outages are of our making
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and files go with us
    only, backends = filter(None, chosen.only.split(",")), filter(None, chosen.on.split(","))
    measured = commit()  # before this run changes files
    run = Run(QUICK if chosen.quick else FULL, [*only], [*backends] or places.BACKENDS)
    run.all()
    reached = targets(run.measured)
    print(f"{tables(run.measured)}\n\n{goals(reached)}")
    print("\n".join(run.missing))
    if not (chosen.quick or chosen.only or chosen.on):
        # What draws is not to be in memory while others are measured.
        from plots import draw

        pictures = draw(run.measured)
        text = results(
            run.measured,
            reached,
            run.missing,
            machine={"commit": measured, **machine()},
            versions=versions(),
            plots=pictures,
        )
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
