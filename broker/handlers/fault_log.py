"""One log line for each fault of a peer's, at a limited rate: a hostile peer must not fill the log."""

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from noctule._speedups.deadlines import Alarm, Deadlines
from noctule.config import limits
from noctule.handlers.login_throttle import network_of

#: The latest faults that can be asked for.
RECENT_MAX: Final = 200


class FaultKind(Enum):
    """What is counted for itself, so that a flood of one kind hides no other: its line (of peer, who, text and rule),
    and its name."""

    HANDSHAKE = ("Closed the connection of %s%s: %s%s.", "broken handshake")
    PACKET = ("Closed the connection of %s%s: %s%s.", "broken packet")
    SILENCE = ("Gave up the connection of %s%s: %s%s.", "silent connection")
    CONNECTION = ("Refused the connection of %s%s: %s%s.", "refused connection")
    LOGIN = ("Refused the login of %s%s: %s%s.", "refused login")
    DECISION = ("Could not decide for %s%s: %s%s.", "failed decision")


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


@dataclass(slots=True)
class _Counts:
    """One kind's in the interval that lasts; addresses are as few as the lines."""

    ends_at: float = float("-inf")
    by_address: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    left_out: int = 0


class FaultLog:
    """Counts lines of each kind by address and over all in intervals; what is beyond the limits is summed up in one
    line at the end of the interval."""

    def __init__(self, logger: logging.Logger, deadlines: Deadlines) -> None:
        self._logger = logger
        self._deadlines = deadlines
        self._alarm = Alarm(self._sum_up_what_is_due)
        self._counts = {kind: _Counts() for kind in FaultKind}

        #: The latest, the last one at the end.
        self.recent: deque[Fault] = deque(maxlen=RECENT_MAX)

    def write(
        self,
        peer: str,
        who: str,
        text: str,
        rule: str,
        now: float,
        error: BaseException | None = None,
        kind: FaultKind = FaultKind.PACKET,
    ) -> None:
        """Log why the connection of ``peer`` (address and port) ends, unless its address has said enough for now.

        ``error``: of ours or of a plugin's, whose traceback is wanted.
        """
        self.recent.append(Fault(time.time(), peer, who, text, rule))
        counts = self._counts[kind]
        if now >= counts.ends_at:
            self._sum_up(kind)
            counts.ends_at = now + limits.FAULT_LOG_INTERVAL_S
            counts.by_address.clear()
            counts.lines = 0
        address = network_of(peer.rpartition(":")[0].strip("[]"))
        count = counts.by_address.get(address, 0)
        if count >= limits.FAULT_LOG_PER_ADDRESS or counts.lines >= limits.FAULT_LOG_OVERALL:
            counts.left_out += 1
            if not self._alarm.scheduled:
                self._deadlines.schedule(self._alarm, counts.ends_at)
            return
        counts.by_address[address] = count + 1
        counts.lines += 1
        rule_text = f" [{rule}]" if rule else ""
        line, _ = kind.value
        self._logger.warning(
            line,
            peer,
            who,
            text,
            rule_text,
            exc_info=error,
            extra={"peer": peer, "rule": rule},
        )

    def sum_up(self) -> None:
        """Say what has been left out so far, without waiting for the end of the interval."""
        for kind in FaultKind:
            self._sum_up(kind)

    def _sum_up(self, kind: FaultKind) -> None:
        left_out, self._counts[kind].left_out = self._counts[kind].left_out, 0
        if left_out:
            _, name = kind.value
            self._logger.warning(
                "%d more %s not logged.", left_out, f"{name} was" if left_out == 1 else f"{name}s were"
            )

    def _sum_up_what_is_due(self) -> None:
        """The interval of a kind is over; where another kind's still lasts, that comes later."""
        due = self._alarm.deadline
        later = float("inf")
        for kind, counts in self._counts.items():
            if counts.ends_at <= due:
                self._sum_up(kind)
            elif counts.left_out:
                later = min(later, counts.ends_at)
        if later != float("inf"):
            self._deadlines.schedule(self._alarm, later)
