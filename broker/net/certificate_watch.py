"""The task that looks after the certificates of all listeners: changed files, and certificates that end soon."""

import logging
from collections.abc import Sequence

import trio
from noctule.config import limits
from noctule.net.tls_contexts import TlsError, TlsServer

_logger = logging.getLogger("noctule.net")


class CertificateWatch:
    """Reads what has changed, as often as is reasonable. ``servers``: each with the name of its listener."""

    def __init__(self, servers: Sequence[tuple[str, TlsServer]] = ()) -> None:
        #: Each with the name of its listener.
        self.servers = servers
        self._warned_at: dict[str, float] = {}
        self._has_servers = trio.Event()

    def watch(self, servers: Sequence[tuple[str, TlsServer]]) -> None:
        """Look after these from now on."""
        self.servers = servers
        self._has_servers.set()

    def days_left(self) -> dict[str, float]:
        """Days until the first certificate of each listener ends, below 0 where one has."""
        found: dict[str, float] = {}
        for name, server in self.servers:
            days = server.days_left()
            if days is not None:
                found[name] = min(days, found.get(name, days))
        return found

    def reload(self) -> None:
        """Read every file now. What cannot be used is logged, and the listener keeps what it has."""
        for name, server in self.servers:
            try:
                server.reload()
            except TlsError as error:
                _logger.error("Cannot renew the certificates of %s, what was read before stays: %s", name, error)
            else:
                _logger.info("Read the certificates of %s again.", name)
        self._warned_at.clear()
        self.warn()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            while not self.servers:
                self._has_servers = trio.Event()
                await self._has_servers.wait()
            self.warn()
            await trio.sleep(limits.CERTIFICATE_WATCH_INTERVAL_S)
            for name, server in self.servers:
                await self._look_at(name, server)

    async def _look_at(self, name: str, server: TlsServer) -> None:
        try:
            # The files may be on a disk that is slow.
            if await trio.to_thread.run_sync(server.reload_if_changed):
                _logger.info("Read the certificates of %s again: their files have changed.", name)
                self._warned_at.pop(name, None)
        except TlsError as error:
            # A certificate and its key change one after the other: with the second it is tried again.
            _logger.warning("Cannot renew the certificates of %s yet, what was read before stays: %s", name, error)

    def warn(self) -> None:
        """Log which certificates end soon or have ended, once a day each."""
        now = trio.current_time()
        for name, days in self.days_left().items():
            if days > limits.CERTIFICATE_WARNING_DAYS:
                continue
            if now - self._warned_at.get(name, float("-inf")) < limits.CERTIFICATE_WARNING_INTERVAL_S:
                continue
            self._warned_at[name] = now
            if days < 0:
                _logger.error("A certificate of %s has ended %.0f days ago: clients will refuse it.", name, -days)
            else:
                _logger.warning("A certificate of %s ends in %.0f days.", name, days)
