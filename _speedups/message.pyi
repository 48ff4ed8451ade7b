"""A message that outlives the packet it came in: queued, in flight, retained, or a will."""

from typing import final

@final
class Message:
    """One application message. It does not change; queues, flights and the retained tree share it.

    ``properties`` is a checked PUBLISH property block without its length, Topic Alias and
    Subscription Identifiers. ``now`` is the time on the broker's clock, in seconds, at which the
    message arrived: its Message Expiry Interval, if it has one, runs from there.
    PacketError where the property block breaks a rule.
    """

    expires_at: float
    qos: int
    retain: bool
    def __init__(
        self,
        topic: bytes,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        now: float = 0.0,
    ) -> None: ...
    def kept_as(self, store_id: int) -> None:
        """It has this row in the store already."""
    @property
    def topic(self) -> bytes:
        """The topic name as it was sent: UTF-8 in bytes."""
    @property
    def payload(self) -> bytes: ...
    @property
    def properties(self) -> bytes:
        """The property block as it was sent, without its length."""
