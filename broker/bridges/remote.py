"""The other broker's side of a bridge: how it is reached, and what it is asked."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import trio
from noctule.client.address import Address, parse_address
from noctule.client.errors import DisconnectedError, RefusedError, UnreachableError
from noctule.client.handshake import Established, shake_hands
from noctule.client.tls import TLS_VERSIONS, TlsOptions
from noctule.client.transports import Route, open_stream, route_to
from noctule.config.bridge_transports import BridgeTlsSettings
from noctule.config.bridges import BridgeSettings, BridgeVersion, Notifications, RetainHandling
from noctule.config.settings import Limits
from noctule.protocol import (
    SESSION_NEVER_EXPIRES,
    Connect,
    ProtocolVersion,
    ReasonCode,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    encode_connect,
    encode_subscribe,
    encode_unsubscribe,
)

#: The versions by what they are called in files.
VERSIONS: Final = {
    BridgeVersion.V3_1: ProtocolVersion.V3_1,
    BridgeVersion.V3_1_1: ProtocolVersion.V3_1_1,
    BridgeVersion.V5: ProtocolVersion.V5,
}

_RETAIN_HANDLING: Final = {RetainHandling.ALWAYS: 0, RetainHandling.NEW: 1, RetainHandling.NEVER: 2}

#: A SUBSCRIBE has as many filters as a broker with narrow limits takes.
_FILTERS_AT_ONCE: Final = 50


class BridgeError(Exception):
    """A bridge cannot be had as it is configured; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The settings of a bridge with the files that they name read, and everything tried that needs no network."""

    settings: BridgeSettings
    routes: tuple[Route, ...]
    version: ProtocolVersion


def prepare(settings: BridgeSettings) -> Preparation:
    """Read what the settings name. BridgeError where they cannot be used."""
    try:
        addresses = [parse_address(address) for address in settings.addresses]
        context = None
        if any(address.transport.is_encrypted for address in addresses):
            context = _tls_options(settings.tls).context()
        routes = [_route(address, settings, context) for address in addresses]
        version = VERSIONS[settings.protocol_version]
        encode_connect(connect_request(settings, Limits(), is_private=True))
    except (OSError, ValueError) as error:
        text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        named = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        raise BridgeError(f"bridge {settings.name}: {text}{named}") from None
    return Preparation(settings, tuple(routes), version)


def _route(address: Address, settings: BridgeSettings, context: object) -> Route:
    if not address.transport.is_encrypted:
        return route_to(address, None, None, settings.bind_address)
    return route_to(address, context, None, settings.bind_address)  # type: ignore[arg-type]


def _tls_options(settings: BridgeTlsSettings) -> TlsOptions:
    return TlsOptions(
        ca_file=settings.ca_file,
        ca_path=settings.ca_directory,
        use_system_authorities=settings.use_system_authorities,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        key_password="",  # nobody is at a terminal
        ciphers=settings.ciphers or None,
        version=None if settings.version is None else TLS_VERSIONS[f"tlsv{settings.version.value}"],
        alpn=settings.alpn,
        check_host_name=settings.check_host_name,
        psk=None if settings.psk is None else bytes.fromhex(settings.psk.reveal()),
        psk_identity=settings.psk_identity or "",
    )


def connect_request(settings: BridgeSettings, limits: Limits, *, is_private: bool, clean: bool = False) -> Connect:
    """The CONNECT for the other broker. ``is_private``: with the bit that says that this is a bridge.

    ``clean``: whether it is to forget what it has, whatever the settings say.
    """
    is_clean = settings.clean_session or clean
    will = None
    if settings.notifications is Notifications.BOTH:
        will = Will(settings.state_topic, b"0", 1, retain=True)
    expiry_s = SESSION_NEVER_EXPIRES if settings.session_expiry_s is None else int(settings.session_expiry_s)
    password = settings.remote_password
    receive_maximum = limits.receive_maximum
    if settings.receive_maximum is not None:
        receive_maximum = min(receive_maximum, settings.receive_maximum)
    return Connect(
        version=VERSIONS[settings.protocol_version],
        client_id=settings.client_id_there,
        clean_start=is_clean,
        keep_alive_s=settings.keep_alive_s,
        will=will,
        user_name=settings.remote_user_name,
        password=None if password is None else password.reveal().encode(),
        session_expiry_interval_s=0 if settings.clean_session else expiry_s,
        receive_maximum=receive_maximum,
        maximum_packet_size=limits.packet_max_bytes if settings.speaks_version_5 else None,
        topic_alias_maximum=min(settings.topic_alias_max, limits.alias_max_in),
        is_bridge=is_private and settings.try_private,
    )


class Dialler:
    """Connects a bridge to its addresses, and remembers which broker does not understand that it is a bridge."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._refuses_bridges: set[int] = set()

    async def connect(self, number: int, limits: Limits, nursery: trio.Nursery) -> Established:
        """The connection to the address of this number, accepted. ClientError where there is none."""
        settings = self._preparation.settings
        request = connect_request(settings, limits, is_private=number not in self._refuses_bridges)
        if not request.is_bridge or settings.speaks_version_5:
            return await self._connect(number, replace(request, is_bridge=False), nursery)
        try:
            return await self._connect(number, request, nursery)
        except RefusedError as error:
            if error.reason_code != ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
                raise
            self._refuses_bridges.add(number)
        except DisconnectedError:
            pass  # some just hang up
        return await self._connect(number, replace(request, is_bridge=False), nursery)

    async def _connect(self, number: int, request: Connect, nursery: trio.Nursery) -> Established:
        settings = self._preparation.settings
        stream = await self.open(number, nursery)
        return await shake_hands(stream, request, None, settings.answer_timeout_s)

    async def open(self, number: int, nursery: trio.Nursery) -> trio.abc.Stream:
        """The stream to the address of this number. UnreachableError where there is none."""
        settings, route = self._preparation.settings, self._preparation.routes[number]
        try:
            with trio.fail_after(settings.answer_timeout_s):
                stream = await open_stream(route, nursery)
        except trio.TooSlowError:
            raise UnreachableError(
                f"{route.address} cannot be reached within {settings.answer_timeout_s:g} s"
            ) from None
        _tell_system(stream, settings)
        return stream


def _tell_system(stream: trio.abc.Stream, settings: BridgeSettings) -> None:
    """Set TCP's options, where there is TCP below."""
    below: object = stream
    while not isinstance(below, trio.SocketStream):
        below = getattr(below, "transport_stream", None)
        if below is None:
            return
    if below.socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    tcp = settings.tcp
    if tcp.keep_alive_s:
        below.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", tcp.keep_alive_s),
            ("TCP_KEEPINTVL", tcp.keep_alive_interval_s),
            ("TCP_KEEPCNT", tcp.keep_alive_count),
        ):
            if hasattr(socket, name):
                below.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if tcp.user_timeout_s and hasattr(socket, "TCP_USER_TIMEOUT"):
        below.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(tcp.user_timeout_s * 1_000))


def subscribe_packets(
    filters: dict[str, int], version: ProtocolVersion, retain_handling: RetainHandling, packet_ids: Iterable[int]
) -> list[tuple[bytes, tuple[str, ...]]]:
    """SUBSCRIBE packets for the filters, each with its filters: nothing of one's own, retained as published."""
    free = iter(packet_ids)
    found = []
    names = list(filters)
    for at in range(0, len(names), _FILTERS_AT_ONCE):
        part = names[at : at + _FILTERS_AT_ONCE]
        entries = tuple(
            SubscriptionRequest(
                name,
                filters[name],
                no_local=True,
                retain_as_published=True,
                retain_handling=_RETAIN_HANDLING[retain_handling],
            )
            for name in part
        )
        found.append((encode_subscribe(Subscribe(next(free), entries), version), tuple(part)))
    return found


def unsubscribe_packets(filters: Iterable[str], version: ProtocolVersion, packet_ids: Iterable[int]) -> list[bytes]:
    """UNSUBSCRIBE packets for the filters."""
    free = iter(packet_ids)
    names = list(filters)
    return [
        encode_unsubscribe(Unsubscribe(next(free), tuple(names[at : at + _FILTERS_AT_ONCE])), version)
        for at in range(0, len(names), _FILTERS_AT_ONCE)
    ]
