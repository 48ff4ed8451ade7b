"""The limits at a listener's door: how many are inside, from where, how fast they come, how many shake hands."""

import ipaddress
from dataclasses import dataclass

import trio
from noctule.config.limits import HANDSHAKES_SHARE
from noctule.config.settings import ListenerLimits

_NO_REST = 0.0
_UNTIL_ROOM = float("inf")

#: A connection's worth, less what adding fractions may lose.
_ONE = 1 - 1e-6


class Gate:
    """Counts one listener's connections. Whoever is let in holds a ``Visit`` until its connection is closed."""

    def __init__(self, limits: ListenerLimits) -> None:
        self._limits = limits
        self._by_address: dict[bytes, int] = {}
        self._shaking_by_address: dict[bytes, int] = {}
        share = max(1, limits.handshakes_max // HANDSHAKES_SHARE)
        self._handshakes_per_address = limits.handshakes_per_address_max or share
        self._tokens = float(limits.accepts_per_s_max or 0)
        self._tokens_at = float("-inf")
        self._room = trio.Event()
        #: Connections now, and those of them within a handshake.
        self.connections = 0
        self.handshakes = 0
        #: How many have been turned away.
        self.refused = 0

    @property
    def has_limits(self) -> bool:
        """Whether it makes a difference who is inside."""
        limits = self._limits
        return limits.max_connections is not None or limits.max_connections_per_address is not None

    def rest_s(self, now: float) -> float:
        """For how long nobody is to be accepted; infinity: until ``room``."""
        limits = self._limits
        if self.handshakes >= limits.handshakes_max:
            return _UNTIL_ROOM
        rate = limits.accepts_per_s_max
        if rate is None:
            return _NO_REST
        # At most a second's worth at once.
        self._tokens = min(float(rate), self._tokens + max(0.0, now - self._tokens_at) * rate)
        self._tokens_at = now
        return _NO_REST if self._tokens >= _ONE else (1 - self._tokens) / rate

    def accepted(self) -> None:
        """One more has come, whatever becomes of it."""
        self._tokens -= 1

    async def room(self) -> None:
        """Return when there is room for one more handshake."""
        while self.handshakes >= self._limits.handshakes_max:
            await self._room.wait()

    def enter(self, address: str, *, shakes_hands: bool) -> "Visit | str":
        """Let a connection in that was accepted; a text where it is one too many."""
        limits = self._limits
        if limits.max_connections is not None and self.connections >= limits.max_connections:
            self.refused += 1
            return f"there are {limits.max_connections} connections already (max_connections)"
        visit = Visit(self, shakes_hands=shakes_hands)
        if not visit.come_from(address):
            self.refused += 1
            return self.too_many_from(address)
        self.connections += 1
        visit.is_inside = True
        self.handshakes += shakes_hands
        return visit

    def too_many_from(self, address: str) -> str:
        """Why no more are let in from there, for the log."""
        most = self._limits.max_connections_per_address
        if most is not None and self._by_address.get(self.network_of(address), 0) >= most:
            return f"there are {most} connections from {address} already (max_connections_per_address)"
        most = self._handshakes_per_address
        return f"{most} connections from {address} are within a handshake already (max_handshakes_per_address)"

    def come_in(self, network: bytes, *, shakes_hands: bool) -> bool:
        """Count a connection as the network's; False where it is one too many."""
        most = self._limits.max_connections_per_address
        if most is not None and self._by_address.get(network, 0) >= most:
            return False
        if shakes_hands:
            if self._shaking_by_address.get(network, 0) >= self._handshakes_per_address:
                return False
            _count(self._shaking_by_address, network, 1)
        if most is not None:
            _count(self._by_address, network, 1)
        return True

    def go_out(self, network: bytes, *, shakes_hands: bool) -> None:
        """Count it no more as the network's."""
        if shakes_hands:
            _count(self._shaking_by_address, network, -1)
        if self._limits.max_connections_per_address is not None:
            _count(self._by_address, network, -1)

    def network_of(self, address: str) -> bytes:
        """Whose connections are counted together; empty: nobody's are counted.

        An IPv4 address, or the first 64 bits of an IPv6 address: whoever has one of those has all of them.
        """
        if not address:
            return b""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            return parsed.packed[:8] if parsed.ipv4_mapped is None else parsed.ipv4_mapped.packed
        return parsed.packed

    def handshake_ended(self, network: bytes) -> None:
        """One connection of the network less within a handshake."""
        if network:
            _count(self._shaking_by_address, network, -1)
        if self.handshakes == self._limits.handshakes_max:
            self._room.set()
            self._room = trio.Event()
        self.handshakes -= 1


def _count(by_network: dict[bytes, int], network: bytes, change: int) -> None:
    """Change a count; one that is 0 is not kept."""
    count = by_network.get(network, 0) + change
    if count:
        by_network[network] = count
    else:
        del by_network[network]


@dataclass(slots=True, eq=False)
class Visit:
    """One connection's place in its listener's counts."""

    gate: Gate
    network: bytes = b""
    is_inside: bool = False
    shakes_hands: bool = False

    def come_from(self, address: str) -> bool:
        """Count the connection at this address, which a proxy may have told; False where that is one too many."""
        gate = self.gate
        network = gate.network_of(address)
        if network == self.network:
            return True
        if network and not gate.come_in(network, shakes_hands=self.shakes_hands):
            return False
        if self.network:
            gate.go_out(self.network, shakes_hands=self.shakes_hands)
        self.network = network
        return True

    def established(self) -> None:
        """The handshake is done."""
        if self.shakes_hands:
            self.shakes_hands = False
            self.gate.handshake_ended(self.network)

    def leave(self) -> None:
        """The connection is closed; more than once is as good as once."""
        if not self.is_inside:
            return
        self.is_inside = False
        self.established()
        self.gate.connections -= 1
        if self.network:
            self.gate.go_out(self.network, shakes_hands=False)
            self.network = b""
