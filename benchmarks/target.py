"""One figure to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass
class Target:
    """What is compared, what is wanted of it, and what each round gave.

    Attributes:
        what: What is compared with what.
        where: On which backend, sync or async, beside whom.
        sign: ``"≤"`` or ``"≥"``; empty where nothing is wanted, and the figure only informs.
        wanted: The figure.
        found: What each round of this run gave; ratios, or milliseconds.
    """

    what: str
    where: str
    sign: str
    wanted: float
    found: Sequence[float]

    @property
    def reached(self) -> float:
        """The median of all rounds."""
        return median(self.found)

    @property
    def quartiles(self) -> tuple[float, float]:
        """What a quarter of the rounds stayed below, and what a quarter exceeded."""
        if len(self.found) == 1:
            return self.reached, self.reached
        low, _, high = quantiles(self.found, method="inclusive")
        return low, high

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        if not self.sign:
            return True
        return self.reached <= self.wanted if self.sign == "≤" else self.reached >= self.wanted

    @property
    def bound(self) -> str:
        """What is wanted, in words."""
        return f"{self.sign} {self.wanted:g}" if self.sign else "none"

    @property
    def figure(self) -> str:
        """What was reached, and the quartiles; with three digits at the bound itself."""
        digits = 3 if self.sign and f"{self.reached:.2f}" == f"{self.wanted:.2f}" else 2
        low, high = self.quartiles
        return f"{self.reached:.{digits}f} ({low:.2f} to {high:.2f})"

    @property
    def verdict(self) -> str:
        """Whether it is reached, in words; what half of the rounds deny is within noise."""
        if not self.sign:
            return "for information"
        low, high = self.quartiles
        noise = ", within noise" if low < self.wanted < high else ""
        return ("yes" if self.met else "**no**") + noise
