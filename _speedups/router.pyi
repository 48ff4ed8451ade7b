"""Where a message goes: the route of its topic, and the fan-out to every session on it."""

from noctule._speedups.message import Message
from noctule._speedups.outlet import Plane
from noctule._speedups.session import Session
from noctule._speedups.topics import FilterTree, TopicTree

class Route:
    """The sessions that one topic reaches."""

    count: int

class Router:
    """The trees of one broker, and the way through them."""

    plane: Plane
    filters: FilterTree
    retained: TopicTree
    cached_routes: int
    def __init__(self, plane: Plane) -> None: ...
    def publish_message(self, message: Message, source: Session | None = None) -> int:
        """Publish a message that the broker has in hand (a will, a service's); how many sessions it matched."""
    def subscribe(self, session: Session, topic_filter: bytes, qos: int, options: int = 0, identifier: int = 0) -> bool:
        """Add or replace a subscription; True where the session had one to exactly this filter."""
    def unsubscribe(self, session: Session, topic_filter: bytes) -> bool:
        """Remove a subscription; True where there was one."""
    def unsubscribe_all(self, session: Session) -> None:
        """Remove all subscriptions of a session."""
    def send_retained(self, session: Session, topic_filter: bytes, qos: int, identifier: int = 0) -> int:
        """Deliver the retained messages that match a new subscription; how many."""
    def route_targets(self, topic: bytes) -> list[tuple[Session, int, int, bytes]]:
        """For tests and for explaining: (session, qos, flags, identifiers) of the topic's route."""
