"""How a listener proves who it is, and whom it believes."""

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from noctule.config.options import Option

#: What the ssl module of the Python in use can do. Said here by version, as configuration is read without it.
HAS_PSK: Final[bool] = sys.version_info >= (3, 13)
HAS_CIPHERS_TLS13: Final[bool] = sys.version_info >= (3, 15)


class TlsVersion(Enum):
    """The oldest version of TLS that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class CertificateName(Enum):
    """What of a client's certificate becomes its user name, or of a pre-shared key."""

    COMMON_NAME = "common_name"

    #: The whole subject as RFC 4514 writes it: ``CN=pump-7,OU=plant,O=Example``.
    SUBJECT = "subject"

    #: The first subject alternative name of this kind.
    DNS_NAME = "dns_name"
    EMAIL = "email"
    URI = "uri"

    #: The identity of the pre-shared key.
    PSK_IDENTITY = "psk_identity"


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """One more certificate of a listener, for clients that ask for one of its names."""

    certificate_file: Annotated[
        Path,
        Option("A certificate with the chain that signed it, in PEM.", example='"other.crt"'),
    ]
    key_file: Annotated[
        Path,
        Option("The private key of the certificate, in PEM.", is_secret_file=True, example='"other.key"'),
    ]


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS of one listener."""

    certificate_file: Annotated[
        Path | None,
        Option("The server's certificate with the chain that signed it, in PEM.", example='"server.crt"'),
    ] = None
    key_file: Annotated[
        Path | None,
        Option("The private key of the certificate, in PEM.", is_secret_file=True, example='"server.key"'),
    ] = None
    certificates: Annotated[
        tuple[CertificateSettings, ...],
        Option("More certificates, each for the clients that ask for a name in it (SNI)."),
    ] = ()
    ca_file: Annotated[
        Path | None, Option("The authorities whose client certificates are believed, in PEM.", example='"ca.crt"')
    ] = None
    ca_directory: Annotated[
        Path | None, Option("A directory of such authorities, named by hash as OpenSSL does.", example='"ca"')
    ] = None
    crl_file: Annotated[
        Path | None,
        Option(
            "The certificates that each of these authorities has revoked, in PEM. When it is out of date no client "
            "certificate is believed.",
            example='"revoked.pem"',
        ),
    ] = None
    require_certificate: Annotated[bool, Option("Whether a client must show a certificate.")] = False
    minimum_version: Annotated[TlsVersion, Option("The oldest version of TLS that is spoken.")] = TlsVersion.TLS_1_2
    ciphers: Annotated[str, Option("Cipher suites up to TLS 1.2 in OpenSSL's notation; empty: Python's choice.")] = ""
    ciphers_tls13: Annotated[
        str,
        Option("Cipher suites of TLS 1.3 in OpenSSL's notation; empty: OpenSSL's choice. Needs Python 3.15."),
    ] = ""
    user_name_from: Annotated[
        CertificateName | None,
        Option(
            "What of a client's certificate is its user name; not set: nothing is. One without it is refused.",
            example='"common_name"',
        ),
    ] = None
    psk_hint: Annotated[
        str | None,
        Option(
            "Turns on pre-shared keys, and is the hint sent to clients. Needs Python 3.13, and excludes "
            "certificate_file.",
            example='"noctule"',
        ),
    ] = None
    psk_file: Annotated[
        Path | None,
        Option(
            "The pre-shared keys: a line IDENTITY:KEY for each, the key in hexadecimal digits.",
            is_secret_file=True,
            example='"keys.psk"',
        ),
    ] = None

    @property
    def uses_psk(self) -> bool:
        """Whether both sides prove themselves by a key that they share, and no certificate is shown."""
        return self.psk_hint is not None

    def __post_init__(self) -> None:
        if self.uses_psk:
            self._check_psk()
        else:
            self._check_certificates()
        if self.ciphers_tls13 and not HAS_CIPHERS_TLS13:
            raise ValueError(
                '"ciphers_tls13" needs Python 3.15; leave it out, or choose the suites in OpenSSL\'s own configuration'
            )

    def _check_certificates(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError('"certificate_file" and "key_file" go together')
        if self.certificate_file is None:
            raise ValueError('expected "certificate_file" and "key_file"')
        if self.psk_file is not None:
            raise ValueError('"psk_file" needs "psk_hint", which turns pre-shared keys on')
        if self.user_name_from is CertificateName.PSK_IDENTITY:
            raise ValueError('"user_name_from" can be "psk_identity" with pre-shared keys only ("psk_hint")')
        believes_nobody = self.ca_file is None and self.ca_directory is None
        for given, key in (
            (self.require_certificate, "require_certificate"),
            (self.crl_file is not None, "crl_file"),
            (self.user_name_from is not None, "user_name_from"),
        ):
            if given and believes_nobody:
                raise ValueError(f'"{key}" needs "ca_file" or "ca_directory": whom to believe')

    def _check_psk(self) -> None:
        if not HAS_PSK:
            raise ValueError("pre-shared keys need Python 3.13 or later; use certificates with this one")
        if self.psk_file is None:
            raise ValueError('"psk_hint" needs "psk_file": the keys')
        if self.certificate_file is not None or self.certificates or self.ca_file is not None:
            raise ValueError("a listener has either certificates or pre-shared keys")
        if self.require_certificate:
            raise ValueError("with pre-shared keys no client shows a certificate")
        if self.user_name_from not in (None, CertificateName.PSK_IDENTITY):
            raise ValueError('with pre-shared keys "user_name_from" is "psk_identity" or left out')
