"""Opens the stream to a server: TCP, TLS, WebSocket, a unix socket, and through a proxy."""

import os
import socket
import ssl
from dataclasses import dataclass, field

import trio
from noctule.client.address import Address, Transport
from noctule.client.errors import UnreachableError
from noctule.client.socks import Proxy, connect_through
from noctule.client.tls import TlsOptions


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a server."""

    address: Address

    #: None: TLS's defaults, where the address asks for TLS.
    tls: ssl.SSLContext | None = None

    proxy: Proxy | None = None

    #: The address of this machine that the connection comes from; None: the system chooses.
    local_address: str | None = None

    #: The name that the server's certificate must have; None: the host's.
    server_name: str | None = field(default=None)


def route_to(
    address: Address,
    tls: ssl.SSLContext | TlsOptions | None = None,
    proxy: Proxy | None = None,
    local_address: str | None = None,
) -> Route:
    """The way to an address; the TLS options are made into a context once, as files are read for it.

    Raises ValueError for options that cannot be, OSError for a file that cannot be read.
    """
    context: ssl.SSLContext | None = None
    if address.transport.is_encrypted:
        context = tls if isinstance(tls, ssl.SSLContext) else (tls or TlsOptions()).context()
    return Route(address, context, proxy, local_address)


async def open_stream(route: Route, nursery: trio.Nursery) -> trio.abc.Stream:
    """The stream, open; what it needs of tasks runs in ``nursery`` and ends when the stream is closed.

    Raises UnreachableError if there is no connection. The time is bounded by the caller alone.
    """
    address = route.address
    stream: trio.abc.Stream | None = None
    try:
        stream = await _open_below(route)
        if route.tls is not None:
            stream = await _encrypted(stream, route.tls, route.server_name or address.host)
        if address.transport.is_websocket:
            # Imported where it is needed: it takes as long as the rest of the client together.
            from noctule.client.websocket import open_websocket

            below = stream
            host = f"[{address.host}]" if ":" in address.host else address.host
            stream = await nursery.start(open_websocket, below, f"{host}:{address.port}", address.path)
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise UnreachableError(f"no TLS connection to {address}: {error.reason or error}") from error
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError):
            text = getattr(cause, "verify_message", None) or cause.reason or str(cause)
            raise UnreachableError(f"no TLS connection to {address}: {text}") from error
        raise UnreachableError(f"{address} cannot be reached: the connection broke off") from error
    except OSError as error:
        raise UnreachableError(f"{address} cannot be reached: {reason_of(error)}") from error
    except BaseException:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        raise
    return stream


async def _open_below(route: Route) -> trio.abc.Stream:
    """The plain connection that all else stands on."""
    address = route.address
    if address.transport is Transport.UNIX:
        return await trio.open_unix_socket(address.path)
    if route.proxy is None:
        return await trio.open_tcp_stream(address.host, address.port, local_address=route.local_address)
    stream = await trio.open_tcp_stream(route.proxy.host, route.proxy.port, local_address=route.local_address)
    try:
        await connect_through(stream, route.proxy, address.host, address.port)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _encrypted(below: trio.abc.Stream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    # Servers close without a last word of TLS's; MQTT's own framing shows whether something is missing.
    stream = trio.SSLStream(below, context, server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(below)
        raise
    return stream


def reason_of(error: OSError) -> str:
    """What the system says, of the first of several attempts where it was several (one for each address)."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    told = cause if isinstance(cause, OSError) else error
    if isinstance(told, socket.gaierror) or not told.errno:
        return told.strerror or str(told)
    return os.strerror(told.errno)
