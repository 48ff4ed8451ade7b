"""Opens the UDP socket of a gateway."""

import errno
import ipaddress
import socket

import trio
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.config.settings import EVERY_ADDRESS
from noctule.net.listeners import ListenError


async def open_gateway(settings: MqttSnSettings) -> socket.socket:
    """The bound, non-blocking UDP socket of a gateway. ListenError where it cannot be had."""
    host = "0.0.0.0" if settings.address == EVERY_ADDRESS else settings.address  # noqa: S104
    where = f"{settings.address}:{settings.port} (UDP)"
    try:
        found = await trio.socket.getaddrinfo(host, settings.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, socket_address = found[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {where}: {error.strerror or error}") from None
    try:
        bound.setblocking(False)
        if settings.advertise_address is not None:
            _prepare_advertising(bound, settings.advertise_address)
        bound.bind(socket_address)
    except (OSError, ValueError) as error:
        bound.close()
        hint = str(error)
        if isinstance(error, OSError):
            hint = {
                errno.EADDRINUSE: "another program has this port (another gateway?); stop it or choose another port",
                errno.EACCES: "ports below 1024 need privileges; choose another port",
                errno.EADDRNOTAVAIL: "this machine does not have that address",
            }.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {where}: {hint}") from None
    return bound


def _prepare_advertising(bound: socket.socket, text: str) -> None:
    """Allow broadcasts, or join the multicast group. ValueError where the address is neither form of address."""
    group = ipaddress.ip_address(text)
    if (group.version == 6) != (bound.family == socket.AF_INET6):
        raise ValueError(f"advertise_address {text} is of another version of IP")
    if not group.is_multicast:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    elif group.version == 4:
        bound.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + bytes(4))
    else:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + bytes(4))
