"""How long a bridge waits before it connects again."""

import random
from collections.abc import Callable


class RestartDelays:
    """The waits, in order: decorrelated jitter, so that not all bridges to a broker that comes back come at once.

    Each is drawn between the least wait and three times the one before; with both bounds the same it is fixed.
    """

    def __init__(self, least_s: float, most_s: float, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._draw = draw
        self._last_s = least_s

    def next_s(self) -> float:
        """The next wait, in seconds."""
        if self._least_s >= self._most_s:
            return self._least_s
        self._last_s = min(self._most_s, self._draw(self._least_s, self._last_s * 3))
        return self._last_s

    def reset(self) -> None:
        """Begin anew: the last connection was sound."""
        self._last_s = self._least_s
