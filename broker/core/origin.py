"""Where a connection comes from: its listener, its address, and what its transport has proven of who it is."""

from dataclasses import dataclass

from noctule.config.settings import ListenerSettings
from noctule.core.access import Access


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client certificate says whose chain has been verified. Nothing is taken from any other."""

    #: The whole subject, in the order and form of RFC 4514: ``CN=pump-7,OU=plant,O=Example``.
    subject: str

    #: Its common name; None where it has none.
    common_name: str | None = None

    #: Subject alternative names with their kind: ``DNS:pump-7.example``, ``URI:urn:pump:7``.
    alternative_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a connection before its first packet."""

    #: The listener that accepted it, as it was configured then.
    listener: ListenerSettings

    #: The other side's address without port, as text; empty where it has none (a unix socket, a stream in memory).
    #: Behind a proxy that is trusted it is what the proxy says.
    address: str = ""

    #: Who the other side has proven to be by the transport itself (a certificate, a pre-shared key, the user of a
    #: unix socket), where the listener takes that for the user name; None where it does not.
    user_name: str | None = None

    #: None where the other side has shown none.
    certificate: Certificate | None = None

    #: What the other side may do, where its transport knows (a bridge's topics); None: as plugins say.
    access: Access | None = None

    #: How many messages of QoS 1 and 2 it takes at once, where its transport knows: below version 5 CONNECT cannot say.
    receive_maximum: int = 65_535
