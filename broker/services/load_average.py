"""Moving averages of a rate over 1, 5 and 15 minutes, computed as Mosquitto does."""

import math
from typing import Final

#: The periods by the names that end their topics, in seconds.
PERIODS: Final = (("1min", 60.0), ("5min", 300.0), ("15min", 900.0))

#: Mosquitto publishes an average where it has changed by this.
CHANGE_MIN: Final = 0.01


class LoadAverage:
    """The averages of one counter, per minute."""

    def __init__(self) -> None:
        self._count = 0
        self._averages = [0.0] * len(PERIODS)

    def update(self, count: int, elapsed_s: float) -> None:
        """The counter stands at ``count``, ``elapsed_s`` after the last time."""
        if elapsed_s <= 0:
            return
        per_minute = (count - self._count) * 60.0 / elapsed_s
        self._count = count
        for index, (_, period_s) in enumerate(PERIODS):
            exponent = math.exp(-elapsed_s / period_s)
            self._averages[index] = per_minute + exponent * (self._averages[index] - per_minute)

    def averages(self) -> dict[str, float]:
        """By the names of the periods."""
        return {name: average for (name, _), average in zip(PERIODS, self._averages, strict=True)}
