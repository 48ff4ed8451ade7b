"""Through a SOCKS5 proxy (RFC 1928, RFC 1929); the proxy looks the host name up, as ``socks5h`` means."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

import trio
from noctule.client.errors import UnreachableError

_VERSION: Final = 5
_CREDENTIALS_VERSION: Final = 1
_NO_AUTHENTICATION: Final = 0
_USER_NAME_AND_PASSWORD: Final = 2
_CONNECT: Final = 1
_IPV4: Final = 1
_DOMAIN_NAME: Final = 3
_IPV6: Final = 4
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
_PORT_BYTES: Final = 2
_DEFAULT_PORT: Final = 1080

_FAILURES: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "connection refused",
    6: "timed out",
    7: "command not supported",
    8: "address type not supported",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A SOCKS5 proxy."""

    host: str
    port: int = _DEFAULT_PORT
    user_name: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_proxy(url: str) -> Proxy:
    """The proxy of a URL ``socks5h://[user[:password]@]host[:port]``. ValueError, the caller's fault, for any other."""
    parts = urlsplit(url)
    if parts.scheme != "socks5h":
        raise ValueError("a proxy is named as socks5h://[user[:password]@]host[:port]")
    try:
        port = _DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not parts.hostname or not port:
        raise ValueError("a proxy is named as socks5h://[user[:password]@]host[:port]")
    user_name = None if parts.username is None else unquote(parts.username)
    return Proxy(parts.hostname, port, user_name, None if parts.password is None else unquote(parts.password))


async def connect_through(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Ask the proxy at the other end of ``stream`` for a connection; from then on the stream is that connection.

    Raises UnreachableError where the proxy will not or cannot, ValueError for a name that SOCKS has no room for.
    """
    name = host.encode("idna") if not host.isascii() else host.encode()
    if len(name) > 255:
        raise ValueError(f"a host name of {len(name)} bytes; SOCKS takes 255")
    reader = _Reader(stream)
    methods = [_NO_AUTHENTICATION] + ([] if proxy.user_name is None else [_USER_NAME_AND_PASSWORD])
    await stream.send_all(bytes((_VERSION, len(methods), *methods)))
    version, method = await reader.take(2)
    if version != _VERSION:
        raise UnreachableError("what answers at the proxy's address does not speak SOCKS5")
    if method == _USER_NAME_AND_PASSWORD and proxy.user_name is not None:
        await _log_in(stream, reader, proxy.user_name.encode(), (proxy.password or "").encode())
    elif method != _NO_AUTHENTICATION:
        raise UnreachableError("the proxy accepts none of our ways to log in")
    await stream.send_all(
        bytes((_VERSION, _CONNECT, 0, _DOMAIN_NAME, len(name))) + name + port.to_bytes(_PORT_BYTES, "big")
    )
    _, reply, _, kind = await reader.take(4)
    if reply:
        raise UnreachableError(f"the proxy has no connection to {host}:{port}: {_FAILURES.get(reply, 'unknown')}")
    if kind == _DOMAIN_NAME:
        (size,) = await reader.take(1)
    else:
        size = _ADDRESS_BYTES.get(kind, 0)
    await reader.take(size + _PORT_BYTES)


async def _log_in(stream: trio.abc.Stream, reader: "_Reader", user_name: bytes, password: bytes) -> None:
    if max(len(user_name), len(password)) > 255:
        raise ValueError("the proxy's user name and password have at most 255 bytes")
    await stream.send_all(
        bytes((_CREDENTIALS_VERSION, len(user_name))) + user_name + bytes((len(password),)) + password
    )
    _, status = await reader.take(2)
    if status:
        raise UnreachableError("the proxy does not accept the user name and password")


class _Reader:
    """Exactly as many bytes as are asked for: what comes behind them belongs to somebody else."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._stream.receive_some(size - len(data))
            if not part:
                raise UnreachableError("the proxy closed the connection")
            data += part
        return bytes(data)
