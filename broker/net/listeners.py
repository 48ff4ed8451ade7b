"""The sockets of listeners: opened on addresses, on a path, or taken from systemd."""

import errno
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio
from noctule.config import limits
from noctule.config.settings import EVERY_ADDRESS, ListenerSettings, Protocol, TcpSettings
from noctule.net.errors import ListenError
from noctule.net.systemd import take_sockets
from noctule.net.unix_sockets import open_unix

__all__ = ["ListenError", "Listening", "open_listeners"]

_SCHEMES: Final = {
    (Protocol.MQTT, False): "mqtt",
    (Protocol.MQTT, True): "mqtts",
    (Protocol.WEBSOCKET, False): "ws",
    (Protocol.WEBSOCKET, True): "wss",
}


@dataclass(slots=True, eq=False)
class Listening:
    """One socket that is listened on."""

    socket: socket.socket
    settings: ListenerSettings

    #: How clients name it.
    url: str

    #: What else has to go when it is closed: the file of a unix socket.
    remove: Callable[[], None] | None = None

    def close(self) -> None:
        """Accept no more. More than once is as good as once."""
        remove, self.remove = self.remove, None
        if remove is not None and self.socket.fileno() >= 0:
            remove()
        self.socket.close()


def url_of(bound: socket.socket, settings: ListenerSettings) -> str:
    """How clients name what the socket is bound to; there is no common way to name a unix socket."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    scheme = _SCHEMES[settings.protocol, settings.tls is not None]
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"


async def open_listeners(settings: ListenerSettings) -> list[Listening]:
    """The bound, listening, non-blocking sockets of one listener: one for each address of each of its host names.

    ListenError where one of them cannot be had; then none is left open.
    """
    if settings.path is not None:
        bound, file = open_unix(settings.path, settings.unix, settings.tcp.backlog)
        return [Listening(bound, settings, url_of(bound, settings), file.remove)]
    if settings.systemd_socket:
        taken = take_sockets(settings.systemd_socket)
        return [Listening(bound, settings, url_of(bound, settings)) for bound in taken]
    opened: list[socket.socket] = []
    port = settings.port
    try:
        for host in settings.hosts:
            opened += await _open_host(host, port, settings.tcp)
            port = opened[0].getsockname()[1]  # with port 0 the first address chooses for all
    except ListenError:
        for one in opened:
            one.close()
        raise
    return [Listening(bound, settings, url_of(bound, settings)) for bound in opened]


async def _open_host(host: str, port: int, settings: TcpSettings) -> list[socket.socket]:
    """The sockets of one host name, as ``open_listeners`` has them."""
    name = "" if host == EVERY_ADDRESS else host
    try:
        found = await trio.socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}") from None
    opened: list[socket.socket] = []
    wanted = port
    for family, kind, protocol, _, address in found:
        try:
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                continue  # the name has an IPv6 address and the system does not speak it
            raise
        opened.append(bound)
        try:
            bound.setblocking(False)
            if sys.platform != "win32":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            set_options(bound, settings)
            # With port 0 the first address chooses for all.
            bound.bind((address[0], port, *address[2:]))
            port = bound.getsockname()[1]
            bound.listen(settings.backlog)
        except (OSError, ListenError) as error:
            if not name and isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                opened.remove(bound)
                bound.close()
                continue  # every address of a machine where IPv6 is switched off
            for one in opened:
                one.close()
            if isinstance(error, ListenError):
                raise
            raise ListenError(f"cannot listen on {host}:{wanted}: {_hint(error)}") from None
    if not opened:
        raise ListenError(f"cannot listen on {host}: no address of it can be used")
    return opened


def _hint(error: OSError) -> str:
    """What is wrong with an address, and what to do."""
    return {
        errno.EADDRINUSE: "another program listens there (another broker?); stop it or choose another port",
        errno.EACCES: "ports below 1024 need privileges; choose another port",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }.get(error.errno or 0, error.strerror or str(error))


def set_options(bound: socket.socket, settings: TcpSettings) -> None:
    """Set on a listening socket what each connection that it accepts inherits. ListenError where that cannot be."""
    if settings.interface:
        option = getattr(socket, "SO_BINDTODEVICE", None)
        if option is None:
            raise ListenError("tcp.interface: this system cannot listen on one interface; name its address")
        try:
            bound.setsockopt(socket.SOL_SOCKET, option, settings.interface.encode())
        except OSError as error:
            raise ListenError(f"tcp.interface: cannot listen on {settings.interface}: {error.strerror}") from None
    if settings.keep_alive_s:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", settings.keep_alive_s),
            ("TCP_KEEPINTVL", limits.TCP_KEEP_ALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", limits.TCP_KEEP_ALIVE_PROBES),
        ):
            option = getattr(socket, name, None)
            if option is not None:
                bound.setsockopt(socket.IPPROTO_TCP, option, value)
    if settings.user_timeout_s:
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is None:
            raise ListenError("tcp.user_timeout: this system has no such time")
        bound.setsockopt(socket.IPPROTO_TCP, option, round(settings.user_timeout_s * 1_000))
