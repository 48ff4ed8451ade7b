"""Sets of addresses, as settings name them."""

import ipaddress
from collections.abc import Iterable


class Networks:
    """Addresses and networks, written as ``10.0.0.0/8`` or ``::1``. ValueError where one is neither."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        """Whether the address is in one of them. Who has none, at a unix socket, is: it is of this machine."""
        if not self._networks:
            return False
        if not address:
            return True
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)
