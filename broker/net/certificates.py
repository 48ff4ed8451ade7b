"""What certificates say: a client's, whose chain has been verified, as names; our own, when they end and for whom."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from noctule._speedups.buffers import PacketError, PacketReader
from noctule.config.tls import CertificateName
from noctule.core.origin import Certificate

#: What RFC 4514 and OpenSSL call these; any other has its long name.
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_ESCAPED: Final = frozenset('"+,;<>\\')

#: Kinds of alternative names whose value is a text, with Python's names for them.
_KINDS: Final = {"DNS": "DNS", "email": "email", "URI": "URI", "IP Address": "IP"}
_KIND_OF: Final = {
    CertificateName.DNS_NAME: "DNS:",
    CertificateName.EMAIL: "email:",
    CertificateName.URI: "URI:",
}


class CertificateError(Exception):
    """A client's certificate cannot be read, or does not say who the client is; the text says why."""


def certificate_of(decoded: Mapping[str, Any]) -> Certificate:
    """A verified certificate as ``ssl.SSLObject.getpeercert`` decodes it. CertificateError where a name has U+0000."""
    subject: Sequence[Sequence[tuple[str, str]]] = decoded.get("subject", ())
    common_name = next((value for part in subject for kind, value in part if kind == "commonName"), None)
    alternative_names = tuple(
        f"{_KINDS[kind]}:{value}" for kind, value in decoded.get("subjectAltName", ()) if kind in _KINDS
    )
    certificate = Certificate(_written(subject), common_name, alternative_names)
    if any("\0" in name for name in (common_name or "", *alternative_names)):
        raise CertificateError("a name in the client's certificate has a null character in it")
    return certificate


def _written(subject: Sequence[Sequence[tuple[str, str]]]) -> str:
    """A subject as RFC 4514 writes it: the last part first."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    """A value as it stands in a subject (RFC 4514, 2.4)."""
    last = len(value) - 1
    escaped = []
    for index, character in enumerate(value):
        if character == "\0":
            escaped.append("\\00")
        elif character in _ESCAPED or (character == " " and index in (0, last)) or (character == "#" and index == 0):
            escaped.append("\\" + character)
        else:
            escaped.append(character)
    return "".join(escaped)


def common_name_certificate(common_name: str) -> Certificate:
    """A certificate of which a proxy has told the common name alone."""
    return Certificate(f"CN={_escaped(common_name)}", common_name)


def user_name_of(certificate: Certificate, wanted: CertificateName) -> str:
    """What of the certificate is the user name. CertificateError where it has no such thing."""
    if wanted is CertificateName.SUBJECT:
        name: str | None = certificate.subject
    elif wanted is CertificateName.COMMON_NAME:
        name = certificate.common_name
    else:
        kind = _KIND_OF[wanted]
        name = next((one[len(kind) :] for one in certificate.alternative_names if one.startswith(kind)), None)
    if not name:
        raise CertificateError(f"the client's certificate has no {wanted.value.replace('_', ' ')} to be its user name")
    return name


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate that we show."""

    path: Path

    #: When it is no longer believed, in seconds since 1970.
    not_after: float

    #: The names that clients may ask for it by, in lower case; ``*.`` in front stands for one label.
    names: tuple[str, ...]

    def days_left(self, now: float) -> float:
        """Days until it ends, at a time in seconds since 1970; below 0 once it has."""
        return (self.not_after - now) / 86_400


def read_own(path: Path) -> OwnCertificate:
    """The first certificate of a PEM file. ValueError where it has none that can be read; OSError as ``open`` has it.

    Python's ssl decodes certificates of peers alone, so the two fields are looked up here; OpenSSL has judged the
    whole file before.
    """
    text = path.read_text(encoding="ascii", errors="replace")
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    if begin < 0 or end < begin:
        raise ValueError("there is no certificate in it (-----BEGIN CERTIFICATE-----)")
    try:
        return _read_der(path, ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
    except (PacketError, ValueError) as error:
        raise ValueError(f"its certificate cannot be read: {error}") from None


_SEQUENCE: Final = 0x30
_OCTETS: Final = 0x04
_OBJECT_ID: Final = 0x06
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82
_SUBJECT_ALTERNATIVE_NAME: Final = bytes.fromhex("551d11")


def _read_der(path: Path, der: bytes) -> OwnCertificate:
    """Validity and alternative names of a certificate (RFC 5280, 4.1)."""
    signed = PacketReader(_value(PacketReader(der), _SEQUENCE))
    fields = PacketReader(_value(signed, _SEQUENCE))
    tag, _ = _element(fields)
    if tag == _VERSION:
        _element(fields)  # the serial number
    _element(fields)  # signature
    _element(fields)  # issuer
    validity = PacketReader(_value(fields, _SEQUENCE))
    _element(validity)
    not_after = _time(*_element(validity))
    names: tuple[str, ...] = ()
    while fields.remaining:
        tag, content = _element(fields)
        if tag == _EXTENSIONS:
            names = _names(PacketReader(_value(PacketReader(content), _SEQUENCE)))
    return OwnCertificate(path, not_after, names)


def _names(extensions: PacketReader) -> tuple[str, ...]:
    while extensions.remaining:
        extension = PacketReader(_value(extensions, _SEQUENCE))
        if _value(extension, _OBJECT_ID) != _SUBJECT_ALTERNATIVE_NAME:
            continue
        tag, content = _element(extension)
        if tag != _OCTETS:  # whether it is critical
            tag, content = _element(extension)
        found = []
        names = PacketReader(_value(PacketReader(content), _SEQUENCE))
        while names.remaining:
            tag, content = _element(names)
            if tag == _DNS_NAME:
                found.append(content.decode("ascii", "replace").lower())
        return tuple(found)
    return ()


def _element(reader: PacketReader) -> tuple[int, bytes]:
    """The next element of DER: its tag and its content."""
    tag, size = reader.u8(), reader.u8()
    if size == 0x80 or size > 0x84:
        raise ValueError("a length that DER does not have")
    if size > 0x80:
        size = int.from_bytes(reader.take(size - 0x80), "big")
    return tag, reader.take(size)


def _value(reader: PacketReader, tag: int) -> bytes:
    found, content = _element(reader)
    if found != tag:
        raise ValueError(f"an element of the kind {found:#x} in place of {tag:#x}")
    return content


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a time that is none")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
