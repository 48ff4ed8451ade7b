"""How a listener proves who it is, and whom it believes."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

from noctule.config.options import Option


class TlsVersion(Enum):
    """The oldest version of TLS that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class CertificateName(Enum):
    """What of a client's certificate becomes its user name."""

    COMMON_NAME = "common_name"
    SUBJECT = "subject"


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
    ca_file: Annotated[
        Path | None, Option("The authorities whose client certificates are believed, in PEM.", example='"ca.crt"')
    ] = None
    ca_directory: Annotated[
        Path | None, Option("A directory of such authorities, named by hash as OpenSSL does.", example='"ca"')
    ] = None
    crl_file: Annotated[Path | None, Option("Certificates that were revoked, in PEM.", example='"revoked.pem"')] = None
    require_certificate: Annotated[bool, Option("Whether a client must show a certificate.")] = False
    minimum_version: Annotated[TlsVersion, Option("The oldest version of TLS that is spoken.")] = TlsVersion.TLS_1_2
    ciphers: Annotated[str, Option("Cipher suites up to TLS 1.2 in OpenSSL's notation; empty: Python's choice.")] = ""
    ciphers_tls13: Annotated[
        str, Option("Cipher suites of TLS 1.3 in OpenSSL's notation; empty: OpenSSL's choice.")
    ] = ""
    user_name_from: Annotated[
        CertificateName | None,
        Option("What of a client's certificate is its user name; not set: nothing is.", example='"common_name"'),
    ] = None
    psk_hint: Annotated[
        str | None, Option("Turns on pre-shared keys, and is the hint sent to clients.", example='"noctule"')
    ] = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError('"certificate_file" and "key_file" go together')
        if self.certificate_file is None and self.psk_hint is None:
            raise ValueError('expected "certificate_file" and "key_file"')
        if self.require_certificate and self.ca_file is None and self.ca_directory is None:
            raise ValueError('"require_certificate" needs "ca_file" or "ca_directory": whom to believe')
