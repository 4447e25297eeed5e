"""Who takes part in which round, so that the slow cost the quick no rounds."""

from __future__ import annotations

from collections.abc import Mapping

ENOUGH = 15
"""How many rounds the limits and ours take part in, however long that takes."""


class Plan:
    """Rounds that all of ours and the limits take part in, and each peer in its share of them.

    Args:
        house: What a round of each of ours and of each limit takes, in seconds, by its key.
        guests: The same of the peers.
        seconds: How long all may take.
        most: How many rounds at most.
        least: How many rounds at least for each.
    """

    def __init__(
        self,
        house: Mapping[int, float],
        guests: Mapping[int, float],
        *,
        seconds: float,
        most: int,
        least: int,
    ) -> None:
        """Give each peer the same time, and what is left to ours and the limits."""
        each = seconds / max(1, len(house) + len(guests))
        wanted = {key: min(most, max(least, int(each / cost))) for key, cost in guests.items()}
        self.rounds = max(wanted.values(), default=0)
        if house:
            left = seconds - sum(guests[key] * count for key, count in wanted.items())
            fitting = int(left / sum(house.values()))
            self.rounds = min(most, max(least, ENOUGH, fitting))
        shares = {key: min(1.0, count / self.rounds) for key, count in wanted.items()}
        self._shares = {**dict.fromkeys(house, 1.0), **shares}

    def has(self, key: int, n: int) -> bool:
        """Tell whether this one takes part in round ``n``, of 1 to `rounds`."""
        share = self._shares[key]
        return int(n * share + 1e-9) > int((n - 1) * share + 1e-9)
