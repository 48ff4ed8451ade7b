"""The PROXY protocol, versions 1 and 2: what a load balancer says of the connection before its first byte."""

import ipaddress
import re
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final

from noctule._speedups.buffers import PacketError, PacketReader
from noctule._speedups.link import Link
from noctule.config.settings import ProxySettings
from noctule.net.certificates import common_name_certificate
from noctule.net.filters import Filter
from noctule.net.gate import Visit

#: The longest line of version 1, its end included (2.1).
_LINE_MAX_BYTES: Final = 107
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]+) ([0-9]+))"
)

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES: Final = 16

#: What stands behind the fixed part of version 2: two unix paths are 216 bytes, and a certificate's fields some more.
_HEADER_MAX_BYTES: Final = 4_096

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

#: Address family and transport, with the size of an address; None: there is none that we could use.
_FAMILIES: Final = {0x00: 0, 0x11: 4, 0x21: 16, 0x31: 108}
_UNIX: Final = 0x31

_TYPE_SSL: Final = 0x20
_SUBTYPE_COMMON_NAME: Final = 0x22


class _ClientFlags(IntFlag):
    """PP2_CLIENT_*: how the client came to the proxy."""

    SSL = 0x01
    CERTIFICATE_OF_CONNECTION = 0x02
    CERTIFICATE_OF_SESSION = 0x04


class ProxyError(Exception):
    """The header is wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the header says."""

    #: The client's address, and its port; None where the proxy speaks for itself, or does not know.
    address: str | None = None
    port: int = 0

    uses_tls: bool = False

    #: Whether the client has shown a certificate, and whether the proxy has found it valid.
    has_certificate: bool = False
    is_verified: bool = False

    #: Of the certificate.
    common_name: str | None = None


def read_header(data: bytes, version: int) -> tuple[ProxyHeader, int] | None:
    """The header at the beginning of the bytes, and its size; None as long as it is not whole. ProxyError."""
    return _read_line(data) if version == 1 else _read_binary(data)


def _read_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\r\n", 0, _LINE_MAX_BYTES)
    if end < 0:
        beginning = data[: len(b"PROXY ")]
        if not b"PROXY ".startswith(beginning):
            raise ProxyError("no header of version 1 of the PROXY protocol")
        if len(data) >= _LINE_MAX_BYTES:
            raise ProxyError("a header of the PROXY protocol that is too long")
        return None
    match = _LINE.fullmatch(data, 0, end)
    if match is None:
        raise ProxyError("a malformed header of version 1 of the PROXY protocol")
    if match[1] is None:
        return ProxyHeader(), end + 2
    try:
        source = ipaddress.ip_address(match[2].decode())
        target = ipaddress.ip_address(match[3].decode())
    except ValueError:
        raise ProxyError("an address that is none in a header of the PROXY protocol") from None
    wanted = 4 if match[1] == b"TCP4" else 6
    if source.version != wanted or target.version != wanted:
        raise ProxyError("an address of another family in a header of the PROXY protocol")
    return ProxyHeader(str(source), _port(match[4])), _end_of_line(match[5], end)


def _end_of_line(last_port: bytes, end: int) -> int:
    _port(last_port)
    return end + 2


def _port(digits: bytes) -> int:
    if len(digits) > 5 or (digits[:1] == b"0" and digits != b"0") or int(digits) > 65_535:
        raise ProxyError("a port that is none in a header of the PROXY protocol")
    return int(digits)


def _read_binary(data: bytes) -> tuple[ProxyHeader, int] | None:
    if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        raise ProxyError("no header of version 2 of the PROXY protocol")
    if len(data) < _FIXED_BYTES:
        return None
    fixed = PacketReader(data[len(_SIGNATURE) : _FIXED_BYTES])
    command, family, size = fixed.u8(), fixed.u8(), fixed.u16()
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("a version or command that the PROXY protocol does not have")
    if size > _HEADER_MAX_BYTES:
        raise ProxyError("a header of the PROXY protocol that is too long")
    if len(data) < _FIXED_BYTES + size:
        return None
    whole = _FIXED_BYTES + size
    if command == _LOCAL:
        return ProxyHeader(), whole  # a health check of the proxy's own: what else it says does not count
    if family not in _FAMILIES:
        raise ProxyError("an address family or transport that is not spoken here in a header of the PROXY protocol")
    try:
        return _read_fields(PacketReader(data[_FIXED_BYTES:whole]), family), whole
    except PacketError:
        raise ProxyError("a header of the PROXY protocol that ends within a field") from None


def _read_fields(fields: PacketReader, family: int) -> ProxyHeader:
    size = _FAMILIES[family]
    source = fields.take(size)
    fields.take(size)
    address: str | None = None
    port = 0
    if size and family != _UNIX:
        address = str(ipaddress.ip_address(source))
        port = fields.u16()
        fields.u16()
    elif family == _UNIX:
        address = ""
    header = ProxyHeader(address, port)
    while fields.remaining:
        kind, content = _field(fields)
        if kind == _TYPE_SSL:
            header = _with_tls(header, PacketReader(content))
    return header


def _field(fields: PacketReader) -> tuple[int, bytes]:
    kind = fields.u8()
    return kind, fields.take(fields.u16())


def _with_tls(header: ProxyHeader, fields: PacketReader) -> ProxyHeader:
    if header.uses_tls:
        raise ProxyError("TLS is told of twice in a header of the PROXY protocol")
    client = _ClientFlags(fields.u8() & 0x07)
    is_verified = fields.u32() == 0
    common_name: str | None = None
    while fields.remaining:
        kind, content = _field(fields)
        if kind == _SUBTYPE_COMMON_NAME:
            if common_name is not None:
                raise ProxyError("a second common name in a header of the PROXY protocol")
            try:
                common_name = content.decode()
            except UnicodeDecodeError:
                raise ProxyError("a common name that is no UTF-8 in a header of the PROXY protocol") from None
            if "\0" in common_name:
                raise ProxyError("a common name with a null character in a header of the PROXY protocol")
    return replace(
        header,
        uses_tls=_ClientFlags.SSL in client,
        has_certificate=bool(client & (_ClientFlags.CERTIFICATE_OF_CONNECTION | _ClientFlags.CERTIFICATE_OF_SESSION)),
        is_verified=is_verified,
        common_name=common_name,
    )


class ProxyFilter:
    """Reads the header of one connection, as ``noctule._speedups.link.Filter``; then ``following`` takes its place."""

    __slots__ = ("_begun", "_following", "_settings", "_visit")

    def __init__(self, settings: ProxySettings, visit: Visit, following: Filter | None) -> None:
        self._settings = settings
        self._visit = visit
        self._following = following
        self._begun = b""

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        """As a filter has it."""
        self._begun += data
        try:
            found = read_header(self._begun, self._settings.protocol_version or 1)
            if found is None:
                return b"", b"", None
            header, size = found
            self._tell(link, header)
        except ProxyError as error:
            return b"", b"", str(error)
        rest = self._begun[size:]
        self._begun = b""
        following = self._following
        link.filter = following
        if following is None:
            self._visit.established()
            return rest, b"", None
        return following.received(link, rest) if rest else (b"", b"", None)

    def _tell(self, link: Link, header: ProxyHeader) -> None:
        """Say who connects. ProxyError where it may not."""
        settings = self._settings
        if settings.require_tls and not header.uses_tls:
            raise ProxyError("the client has not come to the proxy by TLS, and this listener requires it (require_tls)")
        origin = link.origin
        if header.address is not None:
            if not self._visit.come_from(header.address):
                raise ProxyError(self._visit.gate.too_many_from(header.address))
            shown = f"[{header.address}]" if ":" in header.address else header.address
            link.peer = f"{shown}:{header.port}"
            origin = replace(origin, address=header.address)
        if settings.user_name_from_certificate and header.has_certificate:
            if not header.is_verified or not header.common_name:
                raise ProxyError("the proxy has not verified the client's certificate, or it has no common name")
            certificate = common_name_certificate(header.common_name)
            origin = replace(origin, user_name=header.common_name, certificate=certificate)
        link.origin = origin

    def to_send(self, data: bytes) -> bytes:
        """As a filter has it; nothing is sent before CONNECT has come."""
        return data

    def end(self) -> bytes:
        """As a filter has it."""
        return b""
