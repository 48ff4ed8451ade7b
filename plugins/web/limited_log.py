"""Warnings at a limited rate: whatever fails for every client must not fill the log."""

import logging
from typing import Final

import trio

INTERVAL_S: Final = 10.0


class LimitedLog:
    """Writes one warning in an interval, and with the next one how many there were between. Within trio only."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until = float("-inf")
        self._left_out = 0

    def warn(self, text: str) -> None:
        """Write the text, or count it."""
        now = trio.current_time()
        if now < self._quiet_until:
            self._left_out += 1
            return
        more = f" ({self._left_out} more were not logged)" if self._left_out else ""
        self._quiet_until = now + INTERVAL_S
        self._left_out = 0
        self._logger.warning("%s%s", ascii(text)[1:-1], more)
