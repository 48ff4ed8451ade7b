"""What stands between a device and the broker: what a device asks for, and what it is told."""

from dataclasses import dataclass
from typing import Protocol

from noctule.protocol.connect import Will


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """The connection that a device asks for, once its Will is known."""

    client_id: str
    clean_session: bool
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to a device."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False

    #: The MQTT packet identifier, which becomes the message id; 0 at QoS 0.
    packet_id: int = 0

    #: Whether the broker keeps the message until it is acknowledged; what it does not may be dropped.
    is_kept: bool = False

    @property
    def size(self) -> int:
        """Bytes that it counts for while it waits."""
        return len(self.topic.encode()) + len(self.payload)


class Upstream(Protocol):
    """What a device has behind it. Answers come by the methods of ``Downstream``, at once or later.

    Reason codes are those of MQTT 5.
    """

    @property
    def is_busy(self) -> bool:
        """Whether it takes no more for now: what it was given waits for a decision."""
        ...

    def connect(self, request: ConnectRequest) -> None:
        """Answered by ``connected``, or by ``ended``."""
        ...

    def publish(self, topic: str, payload: bytes, qos: int, message_id: int, *, retain: bool, dup: bool) -> None:
        """Answered at QoS 1 by ``published``, at QoS 2 by ``received``."""
        ...

    def release(self, message_id: int) -> None:
        """The device's PUBREL; answered by ``completed``."""
        ...

    def subscribe(self, topic_filter: str, qos: int, message_id: int) -> None:
        """Answered by ``subscribed``. The filter is well formed."""
        ...

    def unsubscribe(self, topic_filter: str, message_id: int) -> None:
        """Answered by ``unsubscribed``."""
        ...

    def puback(self, packet_id: int, reason_code: int = 0) -> None:
        """The device has taken a message of QoS 1, or will not."""
        ...

    def pubrec(self, packet_id: int, reason_code: int = 0) -> None:
        """The same at QoS 2; answered by ``release``."""
        ...

    def pubcomp(self, packet_id: int) -> None:
        """The device has answered the release."""
        ...

    def change_will(self, will: Will | None) -> None:
        """Another Will in place of the one of ``connect``; None: none any more."""
        ...

    def disconnect(self) -> None:
        """The device leaves: no Will. It is told nothing any more."""
        ...

    def lose(self, cause: str) -> None:
        """The device is lost: its Will is published. It is told nothing any more."""
        ...


class Downstream(Protocol):
    """What a device is told; ``now`` is the time in seconds on the broker's clock."""

    def connected(self, reason_code: int, now: float) -> None:
        """Let in, or refused (0x80 and above)."""
        ...

    def published(self, message_id: int, reason_code: int) -> None:
        """A message of QoS 1 has been taken or refused."""
        ...

    def received(self, message_id: int, reason_code: int) -> None:
        """A message of QoS 2 has been received or refused."""
        ...

    def completed(self, message_id: int) -> None:
        """A message of QoS 2 is done with."""
        ...

    def subscribed(self, message_id: int, reason_code: int) -> None:
        """A subscription is made, at the QoS that the code says, or refused."""
        ...

    def unsubscribed(self, message_id: int) -> None:
        """A subscription is given up."""
        ...

    def deliver(self, delivery: Delivery, now: float) -> None:
        """A message for the device."""
        ...

    def release(self, packet_id: int, now: float) -> None:
        """The broker's PUBREL for a message of QoS 2 that the device has received."""
        ...

    def ended(self) -> None:
        """The broker has ended the connection."""
        ...
