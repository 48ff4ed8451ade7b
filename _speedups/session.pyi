"""One session's delivery state: packet identifiers, what is in flight, what is queued, what QoS 2 has received."""

from typing import Any, Protocol, type_check_only

from noctule._speedups.message import Message
from noctule._speedups.outlet import Outlet, Plane
from noctule._speedups.topics import Subscriber

class Via:
    """What a delivery owes to the subscriptions it comes from."""

@type_check_only
class Access(Protocol):
    """What a session may publish and receive. Decides from rules that are at hand: it never waits and never raises."""

    def publish_rights(self, topic: bytes) -> int:
        """0: nothing; otherwise RIGHT_PUBLISH, with RIGHT_RETAIN, and the highest QoS times RIGHT_QOS.

        RIGHTS_UNKNOWN: the link pauses, and its handler finds out (``undecided``).
        """
    def may_receive(self, topic: bytes) -> bool:
        """Whether messages of this topic may be delivered."""

RIGHT_PUBLISH: int
RIGHT_RETAIN: int
RIGHT_QOS: int
RIGHTS_UNKNOWN: int

class Session(Subscriber):
    """The state that MQTT calls a session, but for its subscriptions, which hang in the filter tree.

    ``owner``: the identity that created it. ``will``: the Will that is armed, or None. ``access``: what it
    may publish and receive; None: anything. Router.access_changed tells of a new one, or of new rules.
    ``expiry_interval_s``: how long it outlives its connection; 0: not at all; 0xFFFFFFFF: for good.
    ``outlet``: the connection it has now, or None. What it refers to in Python must not refer back.
    """

    client_id: str
    owner: Any
    client: Any

    #: Its number in the store; 0: it is not kept.
    store_id: int
    will: Any
    access: Any  # an Access, with what else the handlers want of it
    expiry_interval_s: int
    ends_at: float
    will_due_at: float
    outlet: Outlet | None
    queued: int
    queued_bytes: int

    #: Limits of its queue, in place of those for every session; 0: those.
    queue_max_messages: int
    queue_max_bytes: int
    in_flight: int
    sent_bytes: int
    received_bytes: int
    dropped: int
    def __init__(self, plane: Plane, client_id: str) -> None: ...
    @property
    def connected(self) -> bool:
        """Whether it has a connection now."""
    @property
    def unacknowledged(self) -> int:
        """How many messages the peer has not acknowledged, on this connection or an earlier one."""
    @property
    def unreleased(self) -> int:
        """How many QoS 2 messages of the peer's wait for their PUBREL."""
    def unreleased_ids(self) -> list[int]:
        """Their packet identifiers."""
    def is_in_flight(self, packet_id: int) -> bool:
        """Whether a message was sent under this packet identifier that the peer has not acknowledged."""
    def attach(self, outlet: Outlet, receive_maximum: int) -> None:
        """Deliver over this connection from now on, first what an earlier one left unacknowledged."""
    def detach(self) -> None:
        """Deliver nowhere until the next ``attach``: QoS 1 and 2 are queued, QoS 0 is dropped."""
    def discard_state(self) -> None:
        """Forget queue and flights: the session ends, or starts clean."""
    def keep(self, store_id: int) -> None:
        """Keep the session from now on, and what it has already; its subscriptions are the caller's business."""
    def restore_queued(
        self,
        message: Message | None,
        position: int,
        qos: int,
        flags: int,
        packet_id: int,
        is_released: bool,
        identifiers: bytes,
        share_group: bytes,
    ) -> None:
        """Put back a message of the queue, or one in flight, that was kept; positions must grow.

        ``message``: None where the peer has it already (``is_released``). ValueError where this cannot be.
        """
    def restore_received(self, packet_id: int, message: Message) -> None:
        """Put back a QoS 2 message of the peer's that was kept. ValueError where the identifier is in use or 0."""
    def kept_state(
        self,
    ) -> tuple[list[tuple[int, Message | None, int, int, bool]], list[tuple[int, Message]]]:
        """For tests: what of it is kept, as (queued, received), in order."""
