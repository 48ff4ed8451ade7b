"""A connection to the broker in memory: an MQTT 5 client's, with the broker's own link at its other end.

So that whatever holds for clients (authentication, access rules, sessions, limits) holds for what comes by MQTT-SN.
"""

import logging
from collections.abc import Callable

from noctule._speedups.codec import FrameScanner
from noctule._speedups.link import CLOSED, ENDING, Link
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher
from noctule.protocol.ping import PINGREQ
from noctule.protocol.versions import ProtocolVersion

#: What is spoken on it: reason codes, Receive Maximum, session expiry.
VERSION = ProtocolVersion.V5

_logger = logging.getLogger("noctule.net")


class MemoryConnection:
    """One connection. ``woken`` is called when there is something to ``take``: within a turn of the broker's, so that
    it must only take note. Everything else here is called within a turn of the caller's."""

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        origin: Origin,
        peer: str,
        woken: Callable[[], None],
    ) -> None:
        self._link = Link(state.router, dispatcher, peer, origin)
        self._link.wake = woken
        self._scanner = FrameScanner()
        state.links.add(self._link)
        state.plane.deadlines.schedule(self._link, state.plane.now + state.settings.limits.connect_timeout_s)

    @property
    def link(self) -> Link:
        """The broker's end."""
        return self._link

    @property
    def is_over(self) -> bool:
        """Whether the broker has ended it, or we have."""
        return bool(self._link.state >= ENDING)

    @property
    def is_busy(self) -> bool:
        """Whether what it was fed has to wait."""
        return bool(self._link.is_paused or self._link.is_stalled or self._link.has_more)

    def feed(self, packet: bytes) -> None:
        """Give the broker whole packets. An error of the broker's ends this connection, and nothing else."""
        try:
            self._link.feed(packet)
            self._wake_for_more()
        except Exception:
            _logger.exception("An error of the broker's; it closes the connection of %s", self._link.peer)
            self.lose("an error of the broker's")

    def _wake_for_more(self) -> None:
        """What is more than one go of the link waits for the next ``take``."""
        if self._link.has_more and self._link.wake is not None:
            self._link.wake()

    def ping(self) -> None:
        """Keep it alive, where the broker has set a Keep Alive."""
        if self._link.keep_alive_s:
            self.feed(PINGREQ)

    def take(self) -> list[tuple[int, bytes]]:
        """Every packet that the broker has sent, as (first byte, body)."""
        packets: list[tuple[int, bytes]] = []
        link = self._link
        try:
            if link.has_more:
                link.go_on()
                self._wake_for_more()
            while link.sendable_bytes:
                packets += self._scanner.feed(link.take_output())
                link.output_sent()
        except Exception:
            _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
            self.lose("an error of the broker's")
        if link.state == ENDING and not link.pending_bytes:
            link.close()  # all that it has sent is taken
        return packets

    def lose(self, cause: str) -> None:
        """It is gone without DISCONNECT."""
        if self._link.state == CLOSED:
            return
        try:
            self._link.lose(cause)
        except Exception:
            _logger.exception("An error of the broker's while the connection of %s ends", self._link.peer)
