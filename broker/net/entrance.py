"""One listener as its connections meet it: who is let in, and what they go through before their first packet."""

import logging
import socket
from collections.abc import Callable
from typing import Final

from noctule.config import limits
from noctule.config.settings import ListenerSettings, Protocol
from noctule.core.origin import Origin
from noctule.net.errors import ListenError
from noctule.net.filters import Filter, Layers
from noctule.net.gate import Gate, Visit
from noctule.net.networks import Networks
from noctule.net.proxy_protocol import ProxyFilter
from noctule.net.tls_contexts import TlsError, TlsServer
from noctule.net.unix_sockets import peer_of, user_name_of
from noctule.net.upgrade import UpgradeRules
from noctule.net.websocket import WebSocketFilter

#: The protocols that TLS is told (ALPN). Who names others only is let in all the same.
_ALPN: Final = {Protocol.MQTT: "mqtt", Protocol.WEBSOCKET: "http/1.1"}

_logger = logging.getLogger("noctule.net")


class Arrival:
    """A connection that was let in: what is known of it, and what its bytes go through."""

    __slots__ = ("filter", "leave", "origin", "peer")

    def __init__(self, peer: str, origin: Origin, passing: Filter | None, leave: Callable[[], None] | None) -> None:
        #: Address and port, for the log.
        self.peer = peer
        self.origin = origin
        #: None where its bytes are those of its packets.
        self.filter = passing
        #: To be called when the connection is closed; None where nobody counts it.
        self.leave = leave


class Entrance:
    """One listener. ListenError where its certificates cannot be used."""

    def __init__(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.gate = Gate(settings.limits)
        self.tls: TlsServer | None = None
        if settings.tls is not None:
            try:
                self.tls = TlsServer(settings.tls, alpn=_ALPN[settings.protocol])
            except TlsError as error:
                raise ListenError(f"listener {settings.name}: {error}") from None
        self._trusted = Networks(settings.proxy.trusted)
        self._speaks_proxy = settings.proxy.protocol_version is not None
        self._has_filter = self.tls is not None or self._speaks_proxy or settings.protocol is Protocol.WEBSOCKET
        self._quiet_until = float("-inf")
        self._unsaid = 0

    @property
    def is_open_door(self) -> bool:
        """Whether whoever comes over TCP is let in, without a filter and without being counted."""
        return not self._has_filter and not self.gate.has_limits and self.settings.limits.accepts_per_s_max is None

    def origin_of(self, host: str) -> Origin:
        """What is known of a connection from this address, of a listener that is an open door."""
        return Origin(self.settings, host)

    def admit(self, connected: socket.socket, address: object, now: float) -> Arrival | None:
        """What becomes of a connection that was accepted; None where it is turned away, which has been logged."""
        user_name: str | None = None
        if connected.family == socket.AF_UNIX:
            host = ""
            credentials = peer_of(connected)
            peer = f"{self.settings.name}:{credentials[0] if credentials else connected.fileno()}"
            if self.settings.unix.peer_user_name:
                if credentials is None:
                    self._turn_away(peer, "the system does not tell its user (unix.peer_user_name)", now)
                    return None
                user_name = user_name_of(credentials[1])
        else:
            assert isinstance(address, tuple)  # noqa: S101
            host, port = address[:2]
            peer = f"[{host}]:{port}" if connected.family == socket.AF_INET6 else f"{host}:{port}"
            if self._speaks_proxy and host not in self._trusted:
                self._turn_away(peer, "it is no proxy that is trusted (proxy.trusted)", now)
                return None
        if not self._has_filter and not self.gate.has_limits:
            return Arrival(peer, Origin(self.settings, host, user_name), None, None)
        # Behind a proxy the address to count is the one that it tells.
        is_proxy = self._speaks_proxy or (self.settings.protocol is Protocol.WEBSOCKET and host in self._trusted)
        visit = self.gate.enter("" if is_proxy else host, shakes_hands=self._has_filter)
        if isinstance(visit, str):
            self._turn_away(peer, visit, now)
            return None
        return Arrival(peer, Origin(self.settings, host, user_name), self._filter_of(visit), visit.leave)

    def _filter_of(self, visit: Visit) -> Filter | None:
        if not self._has_filter:
            return None
        found: Filter | None = None
        settings = self.settings
        is_websocket = settings.protocol is Protocol.WEBSOCKET
        if is_websocket:
            rules = UpgradeRules(
                settings.websocket,
                self.tls is not None,
                # The PROXY protocol has told already who connects.
                Networks(()) if self._speaks_proxy else self._trusted,
                visit.come_from,
                self.gate.too_many_from,
            )
            found = WebSocketFilter(rules, visit.established)
        if self.tls is not None:
            secure = self.tls.make_filter(_nothing if is_websocket else visit.established)
            found = secure if found is None else Layers(secure, found)
        if self._speaks_proxy:
            found = ProxyFilter(settings.proxy, visit, found)
        return found

    def _turn_away(self, peer: str, why: str, now: float) -> None:
        """Log it, at a limited rate."""
        if now < self._quiet_until:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more before it)" if self._unsaid else ""
        self._unsaid = 0
        self._quiet_until = now + limits.FAULT_LOG_INTERVAL_S
        _logger.warning("Turned away %s at %s: %s%s.", peer, self.settings.name, why, more)


def _nothing() -> None:
    """The handshake is done, and another follows."""
