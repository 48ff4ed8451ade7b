"""FilterTree: who subscribed to what. TopicTree: the retained messages, walked by a filter."""

from noctule._speedups.deadlines import Timed
from noctule._speedups.message import Message

def is_of_broker(topic: bytes) -> bool:
    """Whether no client may publish to this topic, whatever access rules say.

    That is ``$SYS`` and what is below it, but for ``$SYS/broker/connection/NAME/state``: bridges write there.
    """

class Subscriber(Timed):
    """Whoever can hold subscriptions: the list of them hangs here."""

    subscription_count: int
    level_count: int

class LevelTree:
    """What the two trees share: nodes, and the table that finds a child."""

    node_count: int

class FilterTree(LevelTree):
    """The subscriptions, by topic filter (bytes: UTF-8, checked, without ``$share``)."""

    subscription_count: int
    shared_subscription_count: int
    generation: int
    def subscribe(
        self,
        topic_filter: bytes,
        subscriber: Subscriber,
        qos: int = 0,
        options: int = 0,
        identifier: int = 0,
        share_name: bytes | None = None,
    ) -> bool:
        """Add a subscription, or replace the subscriber's own to exactly this filter. True where it existed.

        ``options``: bit 0 No Local, bit 1 Retain As Published.
        """
    def unsubscribe(self, topic_filter: bytes, subscriber: Subscriber, share_name: bytes | None = None) -> bool:
        """Remove the subscriber's subscription to exactly this filter. True where there was one."""
    def unsubscribe_all(self, subscriber: Subscriber) -> None:
        """Remove whatever the subscriber holds."""
    def subscriptions_of(self, subscriber: Subscriber) -> list[tuple[bytes, int, int, int]]:
        """The subscriber's subscriptions as (filter, qos, options, identifier), oldest first."""
    def match(self, topic: bytes) -> list[tuple[Subscriber, int, int, int]]:
        """Every subscription that matches the topic, as (subscriber, qos, options, identifier), but for shared ones."""
    def match_groups(self, topic: bytes) -> list[tuple[bytes, list[Subscriber]]]:
        """Every share group that matches the topic, as (filter with ``$share``, list of members)."""

class TopicTree(LevelTree):
    """The retained messages, by topic name."""

    count: int
    own_count: int
    size_bytes: int
    def __len__(self) -> int: ...
    def store(self, message: Message) -> None:
        """Keep the message as its topic's retained one, in place of the one before."""
    def discard(self, topic: bytes) -> bool:
        """Forget the topic's retained message. True where there was one."""
    def get(self, topic: bytes) -> Message | None:
        """The topic's retained message; None where it has none."""
    def walk(self, topic_filter: bytes, limit: int = -1) -> list[Message]:
        """A list of the retained messages whose topics match the filter, ``limit`` of them at most (-1: all)."""
