"""TCP listeners: open the sockets, accept, and hand each connection to its carrier."""

import errno
import logging
import socket
import sys
from collections.abc import Callable
from typing import Final

import trio
from noctule.config import limits
from noctule.config.settings import EVERY_ADDRESS, ListenerSettings
from noctule.core.origin import Origin

#: What ``accept`` says when the system has no more to give: wait, and go on. As in trio's own accept loop.
_CAPACITY_ERRNOS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

_logger = logging.getLogger("noctule.net")


class ListenError(Exception):
    """An address cannot be listened on; the text says which and why, for whoever configured it."""


def url_of(bound: socket.socket) -> str:
    """How clients name the address that the socket is bound to."""
    host, port = bound.getsockname()[:2]
    return f"mqtt://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"mqtt://{host}:{port}"


async def open_listeners(settings: ListenerSettings) -> list[socket.socket]:
    """The bound, listening, non-blocking sockets of one listener: one for each address of each of its host names.

    ListenError where one of them cannot be had; then none is left open.
    """
    opened: list[socket.socket] = []
    port = settings.port
    try:
        for host in settings.hosts:
            opened += await _open_host(host, port)
            port = opened[0].getsockname()[1]  # with port 0 the first address chooses for all
    except ListenError:
        for one in opened:
            one.close()
        raise
    return opened


async def _open_host(host: str, port: int) -> list[socket.socket]:
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
            # With port 0 the first address chooses for all.
            bound.bind((address[0], port, *address[2:]))
            port = bound.getsockname()[1]
            bound.listen(limits.BACKLOG)
        except OSError as error:
            if not name and error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                opened.remove(bound)
                bound.close()
                continue  # every address of a machine where IPv6 is switched off
            for one in opened:
                one.close()
            hint = {
                errno.EADDRINUSE: "another program listens there (another broker?); stop it or choose another port",
                errno.EACCES: "ports below 1024 need privileges; choose another port",
                errno.EADDRNOTAVAIL: "this machine does not have that address",
            }.get(error.errno or 0, error.strerror or str(error))
            raise ListenError(f"cannot listen on {host}:{wanted}: {hint}") from None
    if not opened:
        raise ListenError(f"cannot listen on {host}: no address of it can be used")
    return opened


class Acceptor:
    """Accepts what waits on one listening socket, whoever finds that it is readable.

    ``adopt(connected, peer, origin)`` takes each connection over; what it raises is logged, and that connection closed.
    """

    def __init__(
        self,
        listening: socket.socket,
        listener: ListenerSettings,
        adopt: Callable[[socket.socket, str, Origin], None],
    ) -> None:
        self.listening = listening
        self._listener = listener
        self._adopt = adopt
        self._failures = 0
        self._quiet_until = float("-inf")

    def accept_waiting(self) -> bool:
        """Accept a burst; False where the system has no descriptors left: try again after a rest."""
        listening = self.listening
        for _ in range(limits.ACCEPT_BURST):
            try:
                connected, address = listening.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno not in _CAPACITY_ERRNOS:
                    return True  # about the one connection that was to be accepted: it is gone
                self._failures += 1
                if trio.current_time() >= self._quiet_until:
                    _logger.error(
                        "Cannot accept connections for now: %s. Trying again every %g s (%d times so far).",
                        error.strerror,
                        limits.ACCEPT_RETRY_S,
                        self._failures,
                    )
                    self._quiet_until = trio.current_time() + limits.FAULT_LOG_INTERVAL_S
                return False
            host, port = address[:2]
            peer = f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"
            try:
                self._adopt(connected, peer, Origin(self._listener, host))
            except OSError as error:
                connected.close()
                _logger.error("Cannot take the connection of %s: %s", peer, error)
        return True

    async def run(self) -> None:
        """Accept until cancelled, as a task of its own."""
        while True:
            await trio.lowlevel.wait_readable(self.listening)
            if not self.accept_waiting():
                await trio.sleep(limits.ACCEPT_RETRY_S)
