"""TLS of one connection: a filter around OpenSSL's machine, which is given bytes and gives bytes back."""

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from noctule._speedups.link import Link
from noctule.config.tls import CertificateName
from noctule.core.origin import Certificate
from noctule.net.certificates import CertificateError, certificate_of, user_name_of
from noctule.net.filters import Established

#: The largest record, and so what is written and read at a time: the buffers between keep the size of the largest
#: piece that they ever held.
_RECORD_BYTES: Final = 16_384
_PIECE_BYTES: Final = 2 * _RECORD_BYTES

#: The content type of a handshake record, with which every connection begins.
_HANDSHAKE: Final = 0x16

#: What OpenSSL calls the reasons that an administrator meets, and what there is to say of them.
_REASONS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not believed",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client shows no certificate, and this listener requires one",
    "NO_SHARED_CIPHER": "no cipher suite that both sides have",
    "UNSUPPORTED_PROTOCOL": "the client speaks no version of TLS that is allowed here",
    "VERSION_TOO_LOW": "the client speaks no version of TLS that is allowed here",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not believe our certificate: it does not know the authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not believe our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not believe our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client does not believe our certificate: it has expired for it",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client speaks no version of TLS that is allowed here",
    "PSK_IDENTITY_NOT_FOUND": "the client's pre-shared key is not known",
}


def described(error: ssl.SSLError) -> str:
    """What went wrong, for the log."""
    reason = error.reason or ""
    text = _REASONS.get(reason) or reason.replace("_", " ").lower() or "the handshake failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        text += f": {error.verify_message}"
    return f"TLS: {text}"


def what_came_instead(data: bytes) -> str:
    """What the first bytes on a port with TLS are where they are not TLS; empty where they are."""
    if data[0] == _HANDSHAKE:
        return ""
    if data[0] == 0x10:
        return "not TLS: this looks like MQTT in plain text; turn TLS on in the client, or use a port without it"
    if data[:1] in (b"G", b"H", b"P", b"O", b"D"):
        return (
            "not TLS: this looks like HTTP or WebSocket in plain text; its address begins with https:// or wss:// here"
        )
    return "not TLS"


class TlsFilter:
    """TLS of one connection, as ``noctule._speedups.link.Filter``.

    ``psk_identity`` gives the identity that the last step of a handshake has proven, where keys are shared.
    """

    __slots__ = (
        "_established",
        "_has_begun",
        "_has_ended",
        "_identity",
        "_incoming",
        "_object",
        "_outgoing",
        "_psk_identity",
        "_user_name_from",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        established: Established,
        user_name_from: CertificateName | None = None,
        psk_identity: Callable[[], str | None] | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        #: None once the handshake is done.
        self._established: Established | None = established
        self._user_name_from = user_name_from
        self._psk_identity = psk_identity
        self._identity: str | None = None
        self._has_begun = False
        self._has_ended = False

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        """As a filter has it."""
        if self._established is not None:
            return self._shake_hands(link, data)
        if len(data) <= _PIECE_BYTES:
            self._incoming.write(data)
            plain, fault = self._read()
        else:
            parts = []
            fault = None
            for at in range(0, len(data), _PIECE_BYTES):
                self._incoming.write(data[at : at + _PIECE_BYTES])
                part, fault = self._read()
                parts.append(part)
                if fault is not None:
                    break
            plain = b"".join(parts)
        return plain, self._outgoing.read() if self._outgoing.pending else b"", fault

    def _read(self) -> tuple[bytes, str | None]:
        """All that can be read now."""
        read, incoming = self._object.read, self._incoming
        parts: list[bytes] = []
        fault: str | None = None
        try:
            # A record that is not whole leaves these buffers and waits within OpenSSL.
            while incoming.pending:
                part = read(_RECORD_BYTES)
                if not part:
                    fault = ""
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            fault = ""
        except ssl.SSLError as error:
            self._has_ended = True
            fault = described(error)
        return parts[0] if len(parts) == 1 else b"".join(parts), fault

    def _shake_hands(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        if not self._has_begun:
            instead = what_came_instead(data)
            if instead:
                self._has_ended = True
                return b"", b"", instead
            self._has_begun = True
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._note_identity()
            return b"", self._outgoing.read(), None
        except ssl.SSLError as error:
            self._has_ended = True
            return b"", self._outgoing.read(), described(error)
        self._note_identity()
        try:
            self._identify(link)
        except CertificateError as error:
            return b"", self._outgoing.read() + self.end(), str(error)
        established, self._established = self._established, None
        if established is not None:
            established()
        plain, fault = self._read()
        return plain, self._outgoing.read(), fault

    def _note_identity(self) -> None:
        """Keep the identity of a pre-shared key that this step of the handshake has asked for."""
        if self._psk_identity is not None:
            self._identity = self._psk_identity() or self._identity

    def _identify(self, link: Link) -> None:
        """Say whom the handshake has proven the other side to be. CertificateError where that cannot be used."""
        user_name: str | None = None
        certificate: Certificate | None = None
        wanted = self._user_name_from
        if wanted is CertificateName.PSK_IDENTITY:
            user_name = self._identity
            if not user_name:
                raise CertificateError("the client's pre-shared key has no identity")
        try:
            # Without a chain that was verified nothing is decoded.
            decoded = self._object.getpeercert()
        except (ssl.SSLError, ValueError):
            raise CertificateError("the client's certificate cannot be read") from None
        if decoded:
            certificate = certificate_of(decoded)
            if wanted is not None and wanted is not CertificateName.PSK_IDENTITY:
                user_name = user_name_of(certificate, wanted)
        if user_name is not None or certificate is not None:
            link.origin = replace(link.origin, user_name=user_name or link.origin.user_name, certificate=certificate)

    def to_send(self, data: bytes) -> bytes:
        """As a filter has it."""
        if self._has_ended:
            return b""
        write, outgoing = self._object.write, self._outgoing
        try:
            if len(data) <= _RECORD_BYTES:
                write(data)
                return outgoing.read()
            parts = []
            view = memoryview(data)
            while view:
                view = view[write(view[:_RECORD_BYTES]) :]
                parts.append(outgoing.read())
        except ssl.SSLError:
            self._has_ended = True  # what it was is found where it is read
            return b""
        return b"".join(parts)

    def end(self) -> bytes:
        """As a filter has it."""
        if not self._has_ended and self._established is None:
            with contextlib.suppress(ssl.SSLError):  # it waits for the other side's answer, and we do not
                self._object.unwrap()
        self._has_ended = True
        return self._outgoing.read()
