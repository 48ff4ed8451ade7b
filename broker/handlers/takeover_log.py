"""One log line where a client identifier is taken over again and again: two clients that end each other for ever."""

import logging
from typing import Final

from noctule.handlers.connection import escaped

#: So many takeovers of one identifier within the interval are told. A client whose network is bad may come back before
#: the broker has noticed that it was gone, but not so often.
TAKEOVERS: Final = 3
INTERVAL_S: Final = 60.0

#: Identifiers that are remembered; with more, everything is forgotten.
REMEMBERED_MAX: Final = 1_000


class TakeoverLog:
    """Counts takeovers by client identifier, and says once in an interval that there are many."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

        #: By client identifier: when its interval ends, and the takeovers in it.
        self._seen: dict[str, tuple[float, int]] = {}

    def note(self, client_id: str, old_peer: str, new_peer: str, now: float) -> None:
        """A connection from ``new_peer`` (address and port) has taken the place of one from ``old_peer``."""
        until, count = self._seen.get(client_id, (0.0, 0))
        if now >= until:
            until, count = now + INTERVAL_S, 0
            if len(self._seen) >= REMEMBERED_MAX:
                self._seen.clear()
        count += 1
        self._seen[client_id] = until, count
        if count == TAKEOVERS:
            self._logger.warning(
                "Client %s has been taken over %d times within a minute, at last from %s by %s: do two clients have "
                "this identifier?",
                escaped(client_id),
                count,
                old_peer,
                new_peer,
            )
