"""Messages that arrive at QoS 1 and 2: which of them are ours already, and what is still to be acknowledged.

As with what we send, this belongs to the session. A message is acknowledged when it has been taken, not before: what
nobody takes stays the server's.
"""

from dataclasses import dataclass

from noctule._speedups.codec import Publish
from noctule.client.message import Message
from noctule.protocol import PacketType


@dataclass(slots=True, eq=False)
class Arrival:
    """A message that waits to be taken."""

    message: Message

    #: How many mailboxes it lies in; it is acknowledged when the last of them has been emptied of it.
    copies: int = 1


class IncomingFlows:
    """What has arrived at QoS 1 and 2 and is not finished."""

    def __init__(self) -> None:
        #: By packet identifier, what lies in a mailbox and is not acknowledged.
        self._untaken: dict[int, Arrival] = {}
        #: The identifiers of QoS 2 whose PUBREC was sent and whose PUBREL has not come.
        self._unreleased: set[int] = set()

    def take(self, publish: Publish, message: Message) -> tuple[Arrival | None, bool]:
        """A PUBLISH has come: the message if it is a new one, and whether it is to be acknowledged again at once."""
        packet_id = publish.packet_id
        if publish.qos == 2 and packet_id in self._unreleased:  # [MQTT-4.3.3-10]: the message is ours already
            return None, True
        # Sent again on a new connection while it still lies here: the answer follows when it is taken.
        if packet_id in self._untaken and (publish.dup or publish.qos == 2):
            return None, False
        arrival = Arrival(message)
        if publish.qos:
            self._untaken[packet_id] = arrival
        return arrival, False

    def acknowledgement_of(self, arrival: Arrival) -> PacketType | None:
        """The message has been taken: the answer that it is to have; None where there is none to be sent (any more)."""
        message = arrival.message
        if message.qos == 0 or self._untaken.get(message.packet_id) is not arrival:
            return None
        del self._untaken[message.packet_id]
        if message.qos == 1:
            return PacketType.PUBACK
        self._unreleased.add(message.packet_id)
        return PacketType.PUBREC

    def release(self, packet_id: int) -> bool:
        """PUBREL has come: whether it was for a message that we know of."""
        known = packet_id in self._unreleased or packet_id in self._untaken
        self._unreleased.discard(packet_id)
        self._untaken.pop(packet_id, None)
        return known

    def begin_anew(self) -> None:
        """The session is lost: the server knows of none of these, and its identifiers mean other messages now."""
        self._untaken.clear()
        self._unreleased.clear()
