"""How a bridge reaches the other broker: its address, TLS, and what the system's TCP is told."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from noctule.config.options import Duration, Option, Quantity, Secret
from noctule.config.tls import HAS_CIPHERS_TLS13, HAS_PSK, TlsVersion

#: How the address of another broker begins.
_SCHEMES: Final = ("mqtt", "mqtts", "ws", "wss", "unix")

_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class BridgeTlsSettings:
    """TLS of one bridge."""

    ca_file: Annotated[
        Path | None,
        Option(
            "The authorities that the other broker's certificate must come from, in PEM; neither this nor "
            "ca_directory: those that the system trusts.",
            example='"ca.crt"',
        ),
    ] = None
    ca_directory: Annotated[
        Path | None, Option("A directory of such authorities, named by hash as OpenSSL does.", example='"ca"')
    ] = None
    use_system_authorities: Annotated[
        bool, Option("Whether those that the system trusts count beside the ones that are named.")
    ] = False
    certificate_file: Annotated[
        Path | None,
        Option("The bridge's own certificate with its chain, in PEM.", example='"bridge.crt"'),
    ] = None
    key_file: Annotated[
        Path | None,
        Option("The private key of the certificate, in PEM.", is_secret_file=True, example='"bridge.key"'),
    ] = None
    check_host_name: Annotated[
        bool,
        Option("Whether the certificate must name the host of the address; without it any trusted server will do."),
    ] = True
    version: Annotated[
        TlsVersion | None, Option("The one version of TLS to speak; not set: 1.2 or newer.", example='"1.3"')
    ] = None
    ciphers: Annotated[str, Option("Cipher suites up to TLS 1.2 in OpenSSL's notation; empty: Python's choice.")] = ""
    ciphers_tls13: Annotated[
        str,
        Option("Cipher suites of TLS 1.3 in OpenSSL's notation; empty: OpenSSL's choice. Needs Python 3.15."),
    ] = ""
    alpn: Annotated[
        tuple[str, ...],
        Option("Protocols to offer (ALPN), the first choice first.", example='["mqtt"]'),
    ] = ()
    psk_identity: Annotated[
        str | None,
        Option(
            "Who the bridge is, with a pre-shared key in place of certificates. Needs Python 3.13.",
            example='"edge-7"',
        ),
    ] = None
    psk: Annotated[
        Secret | None,
        Option("The pre-shared key, in hexadecimal digits.", example='"..."'),
    ] = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError('"certificate_file" and "key_file" go together')
        if (self.psk is None) != (self.psk_identity is None):
            raise ValueError('"psk_identity" and "psk" go together')
        if self.ciphers_tls13 and not HAS_CIPHERS_TLS13:
            raise ValueError(
                '"ciphers_tls13" needs Python 3.15; leave it out, or choose the suites in OpenSSL\'s own configuration'
            )
        if self.psk is None:
            return
        if not HAS_PSK:
            raise ValueError("pre-shared keys need Python 3.13 or later; use certificates with this one")
        if self.certificate_file is not None or self.ca_file is not None or self.ca_directory is not None:
            raise ValueError("a bridge has either certificates or a pre-shared key")
        if not re.fullmatch("([0-9A-Fa-f]{2})+", self.psk.reveal()):
            raise ValueError('"psk": expected hexadecimal digits, two for each byte')


@dataclass(frozen=True, slots=True)
class BridgeTcpSettings:
    """What the system's TCP is told for one bridge."""

    keep_alive_s: Annotated[
        int,
        Quantity.DURATION,
        Option(
            "After this long a silence the system asks whether the other side is there still; 0: never.",
            key="keep_alive",
            minimum=0,
            maximum=32_767,
        ),
    ] = 0
    keep_alive_interval_s: Annotated[
        int,
        Quantity.DURATION,
        Option("The time between two such questions.", key="keep_alive_interval", minimum=1, maximum=32_767),
    ] = 10
    keep_alive_count: Annotated[
        int, Option("How many may stay without an answer before the connection is given up.", minimum=1, maximum=127)
    ] = 3
    user_timeout_s: Annotated[
        Duration,
        Option(
            "How long what was sent may stay without the other system's acknowledgement; 0: as the system has it.",
            key="user_timeout",
            minimum=0,
            maximum=86_400,
        ),
    ] = 0.0


def check_address(address: str) -> None:
    """ValueError, with what was expected, where the address of a bridge cannot be one."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "mqtt", address
    if scheme not in _SCHEMES or not rest:
        listed = ", ".join(f"{one}://" for one in _SCHEMES)
        raise ValueError(f'"addresses": expected one of {listed} and a host; got "{address}"')
    if "@" in rest.partition("/")[0]:
        raise ValueError('"addresses": a user and a password belong to "remote_user_name" and "remote_password"')
    host, colon, port = rest.partition("/")[0].rpartition(":")
    is_port = bool(colon) and not rest.endswith("]") and scheme != "unix"
    if is_port and not (host and port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= _PORT_MAX):
        raise ValueError(f'"addresses": expected a port from 1 to 65535; got "{address}"')
