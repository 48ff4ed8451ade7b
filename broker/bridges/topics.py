"""Which topics cross a bridge, and what they are called on the other side."""

from collections.abc import Callable, Iterable
from typing import Final

from noctule.client.matching import filter_matches
from noctule.config.bridges import BridgeTopic
from noctule.config.limits import BRIDGE_TOPICS_REMEMBERED
from noctule.core.access import Action, PublishRight
from noctule.protocol import FIELD_SIZE_MAXIMUM, check_topic_name


class TopicMap:
    """The topics of one bridge. Names are given and come back as they stand in a PUBLISH, in UTF-8."""

    def __init__(self, topics: Iterable[BridgeTopic]) -> None:
        self._topics: Final = tuple(topics)
        self._names_there: dict[bytes, bytes | None] = {}
        self._names_here: dict[bytes, bytes | None] = {}

    @property
    def filters_here(self) -> dict[str, int]:
        """What goes out: topic filters on this side with the highest QoS of each."""
        return _highest((one.local_filter, one.qos) for one in self._topics if one.is_out)

    @property
    def filters_there(self) -> dict[str, int]:
        """What comes in: topic filters on the other side with the highest QoS of each."""
        return _highest((one.remote_filter, one.qos) for one in self._topics if one.is_in)

    @property
    def filters_only_out(self) -> tuple[str, ...]:
        """Topic filters on the other side from which nothing is to come."""
        wanted = self.filters_there
        return tuple(dict.fromkeys(one.remote_filter for one in self._topics if one.remote_filter not in wanted))

    @property
    def growth_bytes(self) -> int:
        """By how much a name can become longer on its way out."""
        return max(
            (len(one.remote_prefix.encode()) - len(one.local_prefix.encode()) for one in self._topics), default=0
        )

    def outgoing(self, name: bytes) -> bytes | None:
        """What a topic of ours is called there; None where it does not go there."""
        return _remembered(self._names_there, name, self._find_outgoing)

    def incoming(self, name: bytes) -> bytes | None:
        """What a topic of theirs is called here; None where it does not come here.

        PacketError where it is no topic name at all.
        """
        return _remembered(self._names_here, name, self._find_incoming)

    def _find_outgoing(self, name: str) -> str | None:
        for one in self._topics:
            if one.is_out and name.startswith(one.local_prefix) and filter_matches(one.local_filter, name):
                return one.remote_prefix + name.removeprefix(one.local_prefix)
        return None

    def _find_incoming(self, name: str) -> str | None:
        check_topic_name(name)
        for one in self._topics:
            if one.is_in and name.startswith(one.remote_prefix) and filter_matches(one.remote_filter, name):
                return one.local_prefix + name.removeprefix(one.remote_prefix)
        return None

    # What the bridge may do here: ``core.access.Access``.

    def publish_right(self, topic: str) -> PublishRight | None:
        """To publish what can come in."""
        for one in self._topics:
            if one.is_in and filter_matches(one.local_filter, topic):
                return PublishRight()
        return None

    def may_receive(self, topic: str) -> bool:
        """To receive what goes out."""
        return any(one.is_out and filter_matches(one.local_filter, topic) for one in self._topics)

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """To subscribe to what goes out."""
        return 2 if share_name is None and topic_filter in self.filters_here else None

    def rule_of(self, action: Action, topic: str) -> str:
        """For the log."""
        del action, topic
        return "the topics of the bridge"


def _highest(entries: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for topic_filter, qos in entries:
        found[topic_filter] = max(qos, found.get(topic_filter, 0))
    return found


def _remembered(names: dict[bytes, bytes | None], name: bytes, find: Callable[[str], str | None]) -> bytes | None:
    try:
        return names[name]
    except KeyError:
        pass
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = "\0"  # no topic name can have it
    found = find(text)
    other = None if found is None else found.encode()
    if other is not None and not 0 < len(other) <= FIELD_SIZE_MAXIMUM:
        other = None  # renamed it cannot be sent
    if len(names) >= BRIDGE_TOPICS_REMEMBERED:
        names.clear()
    names[name] = other
    return other
