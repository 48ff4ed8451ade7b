"""Anonymous: lets in clients that bring no credentials, from everywhere or from given networks."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from noctule.api import Allow, Client, Credentials, Option, Settings, hookimpl

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AnonymousConfig:
    """``[plugins.anonymous]``."""

    user_name: Annotated[
        str | None,
        Option(
            "The user name that these clients have for rules of access; without it they have none.", example='"guest"'
        ),
    ] = None
    networks: Annotated[
        tuple[str, ...],
        Option(
            "Only clients of these networks are let in; empty: of all. A client without an address (a unix socket)"
            " is in no network.",
            example='["127.0.0.0/8", "::1", "192.168.1.0/24"]',
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.user_name == "":
            raise ValueError('"user_name" is empty: leave it out for clients without a name')
        read_networks(self.networks)


def read_networks(texts: tuple[str, ...]) -> tuple[_Network, ...]:
    """The networks that are named. ValueError, with what to write, for what is none."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            try:
                meant = ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f'{text!a} is no network: expected one such as "192.168.1.0/24" or "::1"') from None
            raise ValueError(f"{text!a} has bits behind its prefix: the network is {str(meant)!a}") from None
    return tuple(found)


class Anonymous:
    """The plugin. It knows only clients that show nothing: neither user name nor password, nor a proof by the
    transport; whoever shows something is left to the other plugins."""

    Config = AnonymousConfig

    def __init__(self, config: AnonymousConfig) -> None:
        self._answer = Allow(user_name=config.user_name)
        self._networks = read_networks(config.networks)

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Allow | None:
        """Yes to a client without credentials, from a network that may; None to all others."""
        if credentials.user_name is not None or credentials.password is not None:
            return None
        if client.transport_user_name is not None:
            return None
        return self._answer if self._is_near(client.address) else None

    @hookimpl
    async def prepare_reload(self, config: AnonymousConfig, settings: Settings) -> Callable[[], None]:  # noqa: ARG002
        """Other networks or another name count for connections from now on; those that are there stay."""
        prepared = Anonymous(config)

        def apply() -> None:
            self._answer, self._networks = prepared._answer, prepared._networks

        return apply

    def _is_near(self, address: str) -> bool:
        if not self._networks:
            return True
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address):
            # A socket of both versions shows IPv4 addresses as ::ffff:192.0.2.1.
            found = found.ipv4_mapped or found
        return any(found in network for network in self._networks)
