"""The kinds of load by their names, and the numbers that each begins with."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    summary: str

    #: Where nothing is said on the command line.
    publishers: int = 1
    subscribers: int = 1
    connections: int = 0
    messages: int = 0
    qos: int = 0

    #: Whether the publishers have a topic each.
    own_topics: bool = False
    #: Whether each subscriber listens to one publisher alone.
    is_paired: bool = False
    #: Whether the subscribers share the messages.
    is_shared: bool = False
    #: How many undelivered messages a publisher has at most; None: as the command line says.
    window: int | None = None

    def deliveries_per_message(self, subscribers: int) -> int:
        """How many subscribers get each message."""
        return 1 if self.is_paired or self.is_shared else subscribers


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("fan-in", "many publishers, one subscriber", publishers=50, own_topics=True),
        Scenario("fan-out", "one publisher, many subscribers", subscribers=50),
        Scenario("pairs", "pairs of publisher and subscriber", 50, 50, own_topics=True, is_paired=True),
        Scenario("shared", "a group of subscribers shares the messages", 10, 10, own_topics=True, is_shared=True),
        Scenario("ping-pong", "one message at a time", window=1),
        Scenario("idle", "connections that are opened and left alone", 0, 0, connections=500),
        Scenario("connect-storm", "connect, subscribe, disconnect, again and again", 0, 0, connections=20),
        Scenario("retained", "retained messages stored, and sent to new subscriptions", messages=1_000, qos=1),
        Scenario("durable", "messages queued for a client that is away, and fetched", messages=1_000, qos=1),
    )
}
