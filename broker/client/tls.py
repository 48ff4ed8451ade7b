"""What a client wants of TLS, and the context that it makes of it."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: The versions by the names that Mosquitto's clients have for them.
TLS_VERSIONS: Final = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The options of TLS; as they stand here the server must show a certificate that this machine trusts."""

    #: PEM files of the authorities that are trusted, in place of the system's; ``ca_path`` is a folder of them.
    ca_file: Path | None = None
    ca_path: Path | None = None

    #: Whether the system's authorities are trusted beside them.
    use_system_authorities: bool = False

    #: The client's own certificate and key, in PEM.
    certificate_file: Path | None = None
    key_file: Path | None = None

    #: Asked for the password of an encrypted key; None: OpenSSL asks on the terminal.
    key_password: str | None = field(default=None, repr=False)

    #: OpenSSL's list for TLS 1.2; those of TLS 1.3 are fixed by the library.
    ciphers: str | None = None

    #: The one version to speak; None: 1.2 or newer.
    version: ssl.TLSVersion | None = None

    #: Protocols to offer (ALPN), first choice first.
    alpn: tuple[str, ...] = ()

    #: Whether the certificate must be of the host that was asked for.
    check_host_name: bool = True

    #: Whether the certificate must come from a trusted authority. Without it anybody can pose as the server.
    verify: bool = True

    #: A file that the session's keys are appended to, for Wireshark.
    keylog_file: Path | None = None

    #: A key that both sides know, in place of certificates, and who we are to the server. Python 3.13 or newer.
    psk: bytes | None = field(default=None, repr=False)
    psk_identity: str = ""

    def context(self) -> ssl.SSLContext:
        """The context. ValueError where the options cannot be had, OSError for a file: the caller's fault."""
        if self.psk is not None:
            return self._psk_context()
        context = ssl.create_default_context(cafile=self.ca_file, capath=self.ca_path)
        if (self.ca_file or self.ca_path) and self.use_system_authorities:
            context.load_default_certs()
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file, self.key_password)
        context.check_hostname = self.check_host_name and self.verify
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        self._restrict(context)
        return context

    def _psk_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        set_callback = getattr(context, "set_psk_client_callback", None)
        if set_callback is None:
            raise ValueError("TLS with a pre-shared key needs Python 3.13 or newer")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the key is what proves who the server is
        # OpenSSL speaks pre-shared keys of this kind up to 1.2; brokers offer them there.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        identity, key = self.psk_identity, self.psk
        set_callback(lambda _hint: (identity, key))
        self._restrict(context)
        if self.ciphers is None:
            context.set_ciphers("PSK")
        return context

    def _restrict(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.version is not None:
            context.minimum_version = context.maximum_version = self.version
        if self.ciphers is not None:
            try:
                context.set_ciphers(self.ciphers)
            except ssl.SSLError:
                raise ValueError(f"OpenSSL knows no cipher of {self.ciphers!r}") from None
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        if self.keylog_file is not None:
            context.keylog_filename = str(self.keylog_file)
