"""One log line for what a client was not allowed, once for each client and topic in an interval."""

import logging
from typing import Final

#: How long a denial of the same topic to the same client is not logged again.
INTERVAL_S: Final = 60.0

#: Denials that are remembered; with more, everything is forgotten and may be logged again.
REMEMBERED_MAX: Final = 10_000


class DenialLog:
    """Remembers what was logged, and says nothing of it again for a while."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until: dict[tuple[str, str, bytes], float] = {}

    def write(self, action: str, client_id: str, user_name: str | None, peer: str, topic: bytes, now: float) -> None:
        """Log that ``action`` ("publish", "subscribe", "receive") was not allowed to a client at a topic."""
        key = (action, client_id, topic)
        if now < self._quiet_until.get(key, now):
            return
        if len(self._quiet_until) >= REMEMBERED_MAX:
            self._quiet_until.clear()
        self._quiet_until[key] = now + INTERVAL_S
        self._logger.warning(
            "Denied: client %s (user %s, %s) may not %s %s.",
            ascii(client_id)[1:-1],
            "none" if user_name is None else ascii(user_name)[1:-1],
            peer,
            action,
            ascii(topic.decode(errors="replace"))[1:-1],
        )
