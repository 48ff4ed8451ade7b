"""One log line for what a client was not allowed, once for each client and topic in an interval."""

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from noctule.core.clients import Client

#: How long a denial of the same topic to the same client is not logged again.
INTERVAL_S: Final = 60.0

#: Lines about clients of one address in that time; what is beyond is told in one line.
LINES_PER_ADDRESS: Final = 20

#: Denials that are remembered; with more, everything is forgotten and may be logged again.
REMEMBERED_MAX: Final = 10_000

#: The latest denials that can be asked for.
RECENT_MAX: Final = 200

#: Which rule it is that no client publishes where the broker does.
BROKER_TOPIC_RULE: Final = "only the broker publishes below $SYS"


@dataclass(frozen=True, slots=True)
class Denial:
    """What a client was not allowed."""

    #: In seconds since 1970.
    at: float

    client: Client
    action: str
    topic: str
    rule: str


class DenialLog:
    """Remembers what was logged, and says nothing of it again for a while."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until: dict[tuple[str, str, str], float] = {}

        self._lines_by_address: dict[str, int] = {}
        self._counted_until = float("-inf")

        #: The latest, the last one at the end.
        self.recent: deque[Denial] = deque(maxlen=RECENT_MAX)

    def write(self, action: str, client: Client, topic: str, rule: str, now: float) -> None:
        """Log that an ``action`` ("publish to") was not allowed to a client at a topic, and by which rule."""
        self.recent.append(Denial(time.time(), client, action, topic, rule))
        key = (action, client.client_id, topic)
        if now < self._quiet_until.get(key, now):
            return
        if len(self._quiet_until) >= REMEMBERED_MAX:
            self._quiet_until.clear()
        self._quiet_until[key] = now + INTERVAL_S
        if not self._may_speak_of(client, now):
            return
        self._logger.warning(
            "Denied: client %s (user %s, %s) may not %s %s%s.",
            ascii(client.client_id)[1:-1],
            "none" if client.user_name is None else ascii(client.user_name)[1:-1],
            client.peer,
            action,
            ascii(topic)[1:-1],
            f" ({ascii(rule)[1:-1]})" if rule else "",
            extra={
                "client_id": client.client_id,
                "user_name": client.user_name,
                "peer": client.peer,
                "action": action,
                "topic": topic,
                "rule": rule,
            },
        )

    def _may_speak_of(self, client: Client, now: float) -> bool:
        """Whether clients of this address may have another line; of the first that is left out the log is told."""
        if now >= self._counted_until:
            self._lines_by_address.clear()
            self._counted_until = now + INTERVAL_S
        source = client.address or client.peer
        if source not in self._lines_by_address and len(self._lines_by_address) >= REMEMBERED_MAX:
            return False
        count = self._lines_by_address[source] = self._lines_by_address.get(source, 0) + 1
        if count == LINES_PER_ADDRESS + 1:
            self._logger.warning(
                "Denied: clients at %s have been denied more; no more of them is told for a minute.", source
            )
        return count <= LINES_PER_ADDRESS
