"""One connected client, as decisions about it and whoever watches it see it."""

from dataclasses import dataclass

from noctule.core.origin import Certificate


@dataclass(frozen=True, slots=True)
class Client:
    """Who is connected, or wants to be."""

    #: As in CONNECT, or as it was assigned; empty while an assigned one is still to be made.
    client_id: str

    #: Who it is. Before it is authenticated: who it says that it is, which nobody has checked. None: anonymous.
    user_name: str | None

    #: The other side's address without port; empty where it has none. Of a session that was kept across a restart,
    #: until its client is back, address, peer and listener are empty and the version is 0: nobody knows them any more.
    address: str

    #: Address and port, for the log.
    peer: str

    #: The listener, as people name it: ``127.0.0.1:1883``.
    listener: str

    #: 3, 4 or 5: MQTT 3.1, 3.1.1, 5.0.
    protocol_version: int

    #: What its certificate says, if it has shown one that is valid.
    certificate: Certificate | None = None

    #: Who it has proven to be by the transport itself, where the listener takes that for the user name.
    transport_user_name: str | None = None

    clean_start: bool = True
