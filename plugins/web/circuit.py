"""Circuit: leaves a server alone for a while that does not answer."""

import random
from typing import Final

#: Failures in a row after which the server is left alone. One is an accident; a client that is refused tries again.
FAILURES_MAX: Final = 5

#: The first rest in seconds; each one after it is twice as long, up to the longest.
REST_S: Final = 1.0
REST_MAX_S: Final = 30.0


class Circuit:
    """Counts failures in a row. After too many nothing is asked during a rest; then one request tries, and only where
    it succeeds the others may again. Times are seconds of one clock, of the caller's choice."""

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = REST_S
        self._opens_at: float | None = None
        self._is_trying = False

    def may_ask(self, now: float) -> bool:
        """Whether a request may be made. After True ``succeed``, ``fail`` or ``abandon`` must be called."""
        if self._opens_at is None:
            return True
        if now < self._opens_at or self._is_trying:
            return False
        self._is_trying = True
        return True

    def succeed(self) -> None:
        """The server has answered."""
        self._failures = 0
        self._rest_s = REST_S
        self._opens_at = None
        self._is_trying = False

    def fail(self, now: float) -> None:
        """It has not, or not with an answer."""
        self._failures += 1
        was_trying, self._is_trying = self._is_trying, False
        if self._opens_at is not None and not was_trying:
            return  # one of those that were under way when it was found out
        if self._failures >= FAILURES_MAX:
            # Several brokers of one server do not come back in step.
            self._opens_at = now + self._rest_s * random.uniform(0.5, 1.0)  # noqa: S311
            self._rest_s = min(self._rest_s * 2, REST_MAX_S)

    def abandon(self) -> None:
        """The request was given up, and nothing is known of the server."""
        self._is_trying = False
