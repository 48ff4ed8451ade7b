"""One log line for what a client was not allowed, once for each client and topic in an interval."""

import logging
from typing import Final

from noctule.core.clients import Client

#: How long a denial of the same topic to the same client is not logged again.
INTERVAL_S: Final = 60.0

#: Denials that are remembered; with more, everything is forgotten and may be logged again.
REMEMBERED_MAX: Final = 10_000


class DenialLog:
    """Remembers what was logged, and says nothing of it again for a while."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until: dict[tuple[str, str, str], float] = {}

    def write(self, action: str, client: Client, topic: str, rule: str, now: float) -> None:
        """Log that an ``action`` ("publish to") was not allowed to a client at a topic, and by which rule."""
        key = (action, client.client_id, topic)
        if now < self._quiet_until.get(key, now):
            return
        if len(self._quiet_until) >= REMEMBERED_MAX:
            self._quiet_until.clear()
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
