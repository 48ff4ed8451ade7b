"""Accepting: from one listening socket, as fast as its listener's limits allow."""

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

import trio
from noctule.config import limits
from noctule.net.entrance import Arrival, Entrance

#: What ``accept`` says when the system has no more to give: wait, and go on. As in trio's own accept loop.
_CAPACITY_ERRNOS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

_logger = logging.getLogger("noctule.net")


class Acceptor:
    """Accepts what waits on one listening socket, whoever finds that it is readable.

    ``adopt(connected, arrival)`` takes each connection over; what it raises is logged, and that connection closed.
    """

    def __init__(
        self,
        listening: socket.socket,
        entrance: Entrance,
        adopt: Callable[[socket.socket, Arrival], None],
    ) -> None:
        self.listening = listening
        self._entrance = entrance
        self._adopt = adopt
        self._failures = 0
        self._quiet_until = float("-inf")

    def accept_waiting(self) -> float:
        """Accept a burst, and return how long to rest before the next: 0, some seconds, or infinity (``rest``)."""
        listening, entrance = self.listening, self._entrance
        now = trio.current_time()
        for _ in range(limits.ACCEPT_BURST):
            rest_s = entrance.gate.rest_s(now)
            if rest_s:
                return rest_s
            try:
                connected, address = listening.accept()
            except BlockingIOError:
                return 0.0
            except OSError as error:
                if error.errno not in _CAPACITY_ERRNOS:
                    return 0.0  # about the one connection that was to be accepted: it is gone
                self._log_exhaustion(error, now)
                return limits.ACCEPT_RETRY_S
            entrance.gate.accepted()
            self._take(connected, address, now)
        return 0.0

    def _take(self, connected: socket.socket, address: object, now: float) -> None:
        arrival: Arrival | None = None
        try:
            arrival = self._entrance.admit(connected, address, now)
            if arrival is None:
                connected.close()
                return
            self._adopt(connected, arrival)
        except OSError as error:
            connected.close()
            if arrival is not None and arrival.leave is not None:
                arrival.leave()
            self.log_failure(arrival.peer if arrival else address, error)

    def log_failure(self, peer: object, error: OSError) -> None:
        """A connection was accepted, and the system does not let us have it."""
        _logger.error("Cannot take the connection of %s: %s", peer, error)

    def _log_exhaustion(self, error: OSError, now: float) -> None:
        self._failures += 1
        if now < self._quiet_until:
            return
        self._quiet_until = now + limits.FAULT_LOG_INTERVAL_S
        _logger.error(
            "Cannot accept connections for now: %s. Trying again every %g s (%d times so far).",
            error.strerror,
            limits.ACCEPT_RETRY_S,
            self._failures,
        )

    async def rest(self, rest_s: float) -> None:
        """Wait until accepting may go on."""
        with trio.move_on_after(rest_s):
            if rest_s == float("inf"):
                await self._entrance.gate.room()
            else:
                await trio.sleep_forever()

    async def run(self) -> None:
        """Accept until cancelled, as a task of its own."""
        while True:
            await trio.lowlevel.wait_readable(self.listening)
            rest_s = self.accept_waiting()
            if rest_s:
                await self.rest(rest_s)
