"""What one gateway counts."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since the gateway was made."""

    datagrams_received: int = 0
    datagrams_sent: int = 0

    #: Datagrams that could not be read.
    malformed: int = 0

    #: Datagrams that were thrown away because their address sends too many, or strangers do.
    over_rate: int = 0

    #: Connections refused because there are too many devices.
    refused_full: int = 0

    #: Messages for devices that were dropped: too many waited, too large, no topic id left, refused by the device.
    messages_dropped: int = 0

    #: Messages of QoS -1 that were dropped: to topics that are not configured for it, or too many.
    unconnected_dropped: int = 0

    retransmissions: int = 0
    devices_lost: int = 0

    #: Datagrams that the system did not take for sending.
    unsent: int = 0
