"""Where a message goes: the route of its topic, and the fan-out to every session on it."""

from collections.abc import Callable

from noctule._speedups.deadlines import Timed
from noctule._speedups.message import Message
from noctule._speedups.outlet import Plane
from noctule._speedups.session import Session
from noctule._speedups.topics import FilterTree, TopicTree

class Route:
    """The sessions that one topic reaches."""

    count: int
    share_count: int

SHARE_STRATEGIES: dict[str, int]

class RetainedExpiry(Timed):
    """A retained message whose Message Expiry Interval will run out."""

    topic: bytes
    def __init__(self, topic: bytes) -> None: ...

class Router:
    """The trees of one broker, and the way through them.

    ``share_strategy``: how a share group chooses the member that gets a message, a key of SHARE_STRATEGIES.
    """

    plane: Plane
    filters: FilterTree
    retained: TopicTree
    cached_routes: int

    #: Called with a topic whose message is not retained, as there are as many as there may be.
    when_retained_full: Callable[[bytes], object] | None
    def __init__(self, plane: Plane, share_strategy: str = "round_robin") -> None: ...
    access_generation: int
    def access_changed(self) -> None:
        """What sessions may do has changed: every route, and every decision that a link remembers, is old."""
    def publish_message(self, message: Message, source: Session | None = None) -> int:
        """Publish a message that the broker has in hand (a will, a service's); how many sessions it matched."""
    def subscribe(
        self,
        session: Session,
        topic_filter: bytes,
        qos: int,
        options: int = 0,
        identifier: int = 0,
        share_name: bytes | None = None,
    ) -> bool:
        """Add or replace a subscription; True where the session had one to exactly this filter."""
    def restore_subscription(
        self,
        session: Session,
        topic_filter: bytes,
        qos: int,
        options: int,
        identifier: int,
        share_name: bytes | None,
    ) -> None:
        """Put back a subscription that was kept. ValueError where it cannot be one."""
    def is_subscribed(self, session: Session, topic_filter: bytes, share_name: bytes | None = None) -> bool:
        """Whether the session has a subscription to exactly this filter."""
    def unsubscribe(self, session: Session, topic_filter: bytes, share_name: bytes | None = None) -> bool:
        """Remove a subscription; True where there was one."""
    def restore_retained(self, message: Message) -> None:
        """Put back a retained message that was kept."""
    def subscriptions_of(self, session: Session) -> list[tuple[bytes, bytes | None, int, int, int]]:
        """Its subscriptions as (topic_filter, share_name or None, qos, options, identifier)."""
    def unsubscribe_all(self, session: Session) -> None:
        """Remove all subscriptions of a session."""
    def end_session(self, session: Session) -> None:
        """Remove the session's subscriptions and forget its queue and flights.

        What it had from share groups and did not finish goes to other members (4.8.2).
        """
    def expire_retained(self, expiry: RetainedExpiry) -> None:
        """Forget the retained message whose time has come."""
    def send_retained(self, session: Session, topic_filter: bytes, qos: int, identifier: int = 0) -> int:
        """Deliver the retained messages that match a new subscription; how many."""
    def route_targets(self, topic: bytes) -> list[tuple[Session, int, int, bytes]]:
        """For tests and for explaining: (session, qos, flags, identifiers) of the topic's route."""
