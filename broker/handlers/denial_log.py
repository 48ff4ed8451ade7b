"""One log line for what a client was not allowed, once for each client and topic in an interval."""

import logging
from typing import Final

from noctule.core.clients import Client

#: How long a denial of the same topic to the same client is not logged again.
INTERVAL_S: Final = 60.0

#: Lines about one client in an interval: who tries topic after topic must not fill the log.
PER_CLIENT_MAX: Final = 20

#: Denials that are remembered; with more, everything is forgotten and may be logged again.
REMEMBERED_MAX: Final = 10_000


class DenialLog:
    """Remembers what was logged, and says nothing of it again for a while."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until: dict[tuple[str, str, str], float] = {}

        #: By client: lines in its interval, and when that ends.
        self._lines: dict[str, tuple[int, float]] = {}

    def write(self, action: str, client: Client, topic: str, rule: str, now: float) -> None:
        """Log that an ``action`` ("publish to") was not allowed to a client at a topic, and by which rule."""
        key = (action, client.client_id, topic)
        if now < self._quiet_until.get(key, now):
            return
        lines, until = self._lines.get(client.client_id, (0, 0.0))
        if now >= until:
            lines, until = 0, now + INTERVAL_S
        if lines > PER_CLIENT_MAX:
            return
        if max(len(self._quiet_until), len(self._lines)) >= REMEMBERED_MAX:
            self._quiet_until.clear()
            self._lines.clear()
        self._lines[client.client_id] = (lines + 1, until)
        if lines == PER_CLIENT_MAX:
            self._logger.warning(
                "Denied: client %s: more than %d topics; further ones are not logged for a minute.",
                ascii(client.client_id)[1:-1],
                PER_CLIENT_MAX,
            )
            return
        self._quiet_until[key] = now + INTERVAL_S
        self._logger.warning(
            "Denied: client %s (user %s, %s) may not %s %s%s.",
            ascii(client.client_id)[1:-1],
            "none" if client.user_name is None else ascii(client.user_name)[1:-1],
            client.peer,
            action,
            ascii(topic)[1:-1],
            f" ({ascii(rule)[1:-1]})" if rule else "",
        )
