"""The HTTP port: metrics, health and the interface for programs."""

from dataclasses import dataclass
from typing import Annotated

from noctule.config.addresses import is_loopback
from noctule.config.options import Option, Secret


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Metrics, health and the state of the broker over HTTP."""

    enabled: Annotated[
        bool | None,
        Option(
            "Whether there is HTTP; not set: noctule run has it where its port is free, a broker within another "
            "program does not.",
            needs_restart=True,
            example="true",
        ),
    ] = None
    host: Annotated[
        str,
        Option(
            'Address or host name to listen on; "*" is every address of this machine. Others than this machine need '
            "the password, which crosses the network in plain text: put a proxy with TLS in front.",
            key="address",
            needs_restart=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Option("TCP port; 0 lets the system choose one that is free.", minimum=0, maximum=65_535, needs_restart=True),
    ] = 9883
    user: Annotated[str, Option("The user name that goes with the password, by HTTP Basic.")] = "operator"
    password: Annotated[
        Secret | None,
        Option("What whoever asks must know; not set: anybody on this machine may.", example='"correct horse battery"'),
    ] = None
    host_names: Annotated[
        tuple[str, ...],
        Option(
            "Names under which this port is asked for, beside localhost and the machine's own: any other is refused, "
            "since a web page could reach us by it. Addresses need not be named.",
            example='["broker.example"]',
        ),
    ] = ()
    max_connections: Annotated[
        int, Option("Connections at one time; further ones are closed at once.", minimum=1, unsafe_above=1_000)
    ] = 32

    def __post_init__(self) -> None:
        if self.password is not None and not self.password.reveal():
            raise ValueError('"password" is empty')
        if ":" in self.user:
            raise ValueError('"user" cannot have a colon in HTTP Basic')
        if self.enabled is not False and not self.is_local and self.password is None:
            raise ValueError(
                'others than this machine can connect to "address": it needs "password" (in the environment: '
                "NOCTULE__HTTP__PASSWORD)"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)
