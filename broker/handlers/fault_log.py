"""One log line for each fault of a peer's, at a limited rate: a hostile peer must not fill the log."""

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from noctule.config import limits

#: The latest faults that can be asked for.
RECENT_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a connection was ended or refused."""

    #: In seconds since 1970.
    at: float

    #: Address and port.
    peer: str

    #: The client identifier in brackets, escaped; empty where it is not known.
    who: str

    text: str

    #: The statement of the specification; empty where it is none.
    rule: str


class FaultLog:
    """Counts lines by address and over all in intervals; what is beyond the limits is summed up in one line."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._interval_ends_at = float("-inf")
        self._by_address: dict[str, int] = {}
        self._lines = 0
        self._left_out = 0

        #: The latest, the last one at the end.
        self.recent: deque[Fault] = deque(maxlen=RECENT_MAX)

    def write(self, peer: str, who: str, text: str, rule: str, now: float, error: BaseException | None = None) -> None:
        """Log why the connection of ``peer`` (address and port) ends, unless its address has said enough for now.

        ``error``: of ours or of a plugin's, whose traceback is wanted.
        """
        self.recent.append(Fault(time.time(), peer, who, text, rule))
        if now >= self._interval_ends_at:
            if self._left_out:
                self._logger.warning("%d more broken packets were not logged.", self._left_out)
            self._interval_ends_at = now + limits.FAULT_LOG_INTERVAL_S
            self._by_address.clear()
            self._lines = self._left_out = 0
        address = peer.rpartition(":")[0]
        count = self._by_address.get(address, 0)
        if count >= limits.FAULT_LOG_PER_ADDRESS or self._lines >= limits.FAULT_LOG_OVERALL:
            self._left_out += 1
            return
        self._by_address[address] = count + 1
        self._lines += 1
        rule_text = f" [{rule}]" if rule else ""
        self._logger.warning(
            "Closed the connection of %s%s: %s%s.",
            peer,
            who,
            text,
            rule_text,
            exc_info=error,
            extra={"peer": peer, "rule": rule},
        )
