"""One session's delivery state: packet identifiers, what is in flight, what is queued, what QoS 2 has received."""

from typing import Any

from noctule._speedups.outlet import Outlet, Plane
from noctule._speedups.topics import Subscriber

class Via:
    """What a delivery owes to the subscriptions it comes from."""

class Session(Subscriber):
    """The state that MQTT calls a session, but for its subscriptions, which hang in the filter tree.

    ``owner``: the identity that created it. ``will``: the Will that is armed, or None.
    ``expiry_interval_s``: how long it outlives its connection; 0: not at all; 0xFFFFFFFF: for good.
    ``outlet``: the connection it has now, or None. What it refers to in Python must not refer back.
    """

    client_id: str
    owner: Any
    will: Any
    expiry_interval_s: int
    ends_at: float
    will_due_at: float
    outlet: Outlet | None
    queued: int
    queued_bytes: int
    in_flight: int
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
    def attach(self, outlet: Outlet, receive_maximum: int) -> None:
        """Deliver over this connection from now on, first what an earlier one left unacknowledged."""
    def detach(self) -> None:
        """Deliver nowhere until the next ``attach``: QoS 1 and 2 are queued, QoS 0 is dropped."""
    def discard_state(self) -> None:
        """Forget queue and flights: the session ends, or starts clean."""
