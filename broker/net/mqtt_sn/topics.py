"""The topic ids of one device: those that REGISTER and SUBACK have given, and what it is to be told of them."""

from collections.abc import Mapping
from typing import Final

from noctule.config.mqtt_sn import TOPIC_ID_MAXIMUM
from noctule.net.mqtt_sn.messages import TopicId, TopicIdType, short_topic_id

_FIRST: Final = 1


class TopicIds:
    """Topic names by id, and ids by name. They last as long as the connection does (6.5); none is given twice.

    An id is never taken back: the device may have a PUBLISH with it on its way.
    """

    def __init__(self, predefined: Mapping[int, str], topics_max: int, bytes_max: int) -> None:
        self._predefined = predefined
        self._topics_max = topics_max
        self._bytes_max = bytes_max
        self.clear()

    def clear(self) -> None:
        """Forget every id that is not predefined."""
        self._name_of: dict[int, str] = {}
        self._id_of: dict[str, int] = {}
        self._bytes = 0
        # What the device has shown or been told that it knows.
        self._known: set[int] = set()
        self._used_predefined: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._name_of)

    @property
    def held_bytes(self) -> int:
        """Bytes of the names."""
        return self._bytes

    def give(self, topic: str) -> int | None:
        """The id of a topic name, a new one where it has none; None where there are as many as there may be."""
        number = self._id_of.get(topic)
        if number is not None:
            return number
        size = len(topic.encode())
        number = len(self._name_of) + _FIRST
        if number > min(self._topics_max, TOPIC_ID_MAXIMUM) or self._bytes + size > self._bytes_max:
            return None
        self._name_of[number] = topic
        self._id_of[topic] = number
        self._bytes += size
        return number

    def set_known(self, number: int) -> None:
        """The device knows this id: it has asked for it, or has taken it."""
        if number in self._name_of:
            self._known.add(number)

    def set_unknown(self, topic: str) -> None:
        """The device does not know the id that this topic was sent with."""
        self._used_predefined.pop(topic, None)
        self._known.discard(self._id_of.get(topic, 0))

    def set_number_unknown(self, number: int) -> None:
        """The device does not know this id, of whatever kind."""
        self._known.discard(number)
        self._used_predefined.pop(self._predefined.get(number, ""), None)

    def name_of(self, topic_id: TopicId) -> str | None:
        """The topic name that a device means; None where there is none of that id."""
        match topic_id.kind:
            case TopicIdType.NORMAL:
                return self._name_of.get(topic_id.number)
            case TopicIdType.SHORT:
                return topic_id.short_name
            case _:
                topic = self._predefined.get(topic_id.number)
                if topic is not None:
                    self._used_predefined[topic] = topic_id.number
                return topic

    def to_send(self, topic: str) -> TopicId | None:
        """How to name a topic towards the device; None: by an id that it must be told first (``give``, REGISTER).

        A predefined id is for who has used it: others may have another table, or none.
        """
        number = self._used_predefined.get(topic)
        if number is not None:
            return TopicId(TopicIdType.PREDEFINED, number)
        number = self._id_of.get(topic)
        if number is not None and number in self._known:
            return TopicId(TopicIdType.NORMAL, number)
        return short_topic_id(topic)
