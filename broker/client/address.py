"""Where a server is, as a URL says it: the scheme, the host and port or the path of a socket, who we are."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

_PORT_MAXIMUM: Final = 65_535


class Transport(Enum):
    """What carries the bytes; the value is the scheme of a URL."""

    TCP = "mqtt"
    TLS = "mqtts"
    WEBSOCKET = "ws"
    WEBSOCKET_TLS = "wss"
    UNIX = "unix"

    @property
    def is_encrypted(self) -> bool:
        """Whether there is TLS below."""
        return self in (Transport.TLS, Transport.WEBSOCKET_TLS)

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT is carried in WebSocket frames."""
        return self in (Transport.WEBSOCKET, Transport.WEBSOCKET_TLS)


#: The ports that a URL without one means; those of WebSocket are HTTP's.
DEFAULT_PORTS: Final = {
    Transport.TCP: 1883,
    Transport.TLS: 8883,
    Transport.WEBSOCKET: 80,
    Transport.WEBSOCKET_TLS: 443,
}

#: What WebSocket servers for MQTT listen on where the URL names no path.
DEFAULT_WEBSOCKET_PATH: Final = "/mqtt"


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server."""

    transport: Transport

    #: A name or an address, without brackets; empty for ``unix``.
    host: str = ""

    port: int = 0

    #: Of ``unix`` the path of the socket, of WebSocket the path (and query) that is asked for.
    path: str = ""

    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URL, without who we are: it is for messages to people."""
        if self.transport is Transport.UNIX:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport.value}://{host}:{self.port}{self.path}"


def parse_address(url: str) -> Address:
    """The address that a URL names: ``mqtt://``, ``mqtts://``, ``ws://``, ``wss://`` or ``unix://``.

    User name and password may stand before the host, percent-encoded. Without a scheme ``host`` or ``host:port`` is
    taken for ``mqtt://``. Raises ValueError, the caller's fault, with what was expected.
    """
    text = url if "://" in url else f"mqtt://{url}"
    try:
        parts = urlsplit(text)
        transport = Transport(parts.scheme)
    except ValueError:
        schemes = ", ".join(f"{one.value}://" for one in Transport)
        raise ValueError(f"{_without_secret(url)!r} is no address of a server; expected one of {schemes}") from None
    if transport is Transport.UNIX:
        path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
        if not path:
            raise ValueError(f"{_without_secret(url)!r} names no socket; expected unix:///path/to/socket")
        return Address(transport, path=path, user_name=_user_name(parts), password=_password(parts))
    if not parts.hostname:
        raise ValueError(f"{_without_secret(url)!r} names no host; expected {transport.value}://host:port")
    path = parts.path
    if transport.is_websocket:
        path = path if path not in ("", "/") else DEFAULT_WEBSOCKET_PATH
        path += f"?{parts.query}" if parts.query else ""
    elif path not in ("", "/"):
        raise ValueError(f"{_without_secret(url)!r} has a path, which {transport.value}:// has no use for")
    return Address(
        transport,
        parts.hostname,
        _port(parts, transport, url),
        path if transport.is_websocket else "",
        _user_name(parts),
        _password(parts),
    )


def _port(parts: SplitResult, transport: Transport, url: str) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return DEFAULT_PORTS[transport]
    if not 1 <= port <= _PORT_MAXIMUM:
        raise ValueError(f"{_without_secret(url)!r}: a port is 1 to {_PORT_MAXIMUM}")
    return port


def _user_name(parts: SplitResult) -> str | None:
    return None if parts.username is None else unquote(parts.username)


def _password(parts: SplitResult) -> bytes | None:
    return None if parts.password is None else unquote_to_bytes(parts.password)


def _without_secret(url: str) -> str:
    """The URL for a message: what stands before the host may be a password."""
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, separator, _ = head.partition("://")
    return f"{scheme}{separator}...@{tail}" if separator else f"...@{tail}"
