"""Messages at QoS -1: published by whoever knows the gateway's address, to the topics that are configured for it.

They go through a connection of the gateway's own, so that its identity and the broker's access rules judge them.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from noctule._speedups.codec import encode_publish
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.net.mqtt_sn.connection import VERSION, MemoryConnection
from noctule.net.mqtt_sn.counts import Counts
from noctule.net.mqtt_sn.messages import Publish, TopicIdType
from noctule.net.mqtt_sn.transparent import Identity
from noctule.protocol.connack import decode_connack
from noctule.protocol.connect import Connect, encode_connect
from noctule.protocol.constants import PacketType
from noctule.protocol.reason_codes import ReasonCode

#: Messages that wait for the gateway to be let in.
_WAITING_MAX: Final = 32

#: How long the gateway does not try again where it was not let in.
_RETRY_S: Final = 60.0


class UnconnectedPublisher:
    """The connection for QoS -1, made when the first message comes."""

    def __init__(
        self,
        settings: MqttSnSettings,
        client_id: str,
        identity: Identity,
        connect: Callable[[Callable[[], None]], MemoryConnection],
        woken: Callable[["UnconnectedPublisher"], None],
        counts: Counts,
    ) -> None:
        self._topics = frozenset(settings.qos_minus_one_topics)
        self._predefined = settings.topics_by_predefined_id
        self._client_id = client_id
        self._identity = identity
        self._connect = connect
        self._woken = woken
        self._counts = counts
        self._connection: MemoryConnection | None = None
        self._is_open = False
        self._waiting: deque[bytes] = deque()
        self._closed_until = float("-inf")
        self.keep_alive_s = 0

    @property
    def is_over(self) -> bool:
        """Whether there is no connection, and so nothing to pump."""
        return self._connection is None

    def keep_alive(self) -> None:
        """Tell the broker that the gateway is there."""
        if self._connection is not None:
            self._connection.ping()

    def publish(self, message: Publish, now: float) -> None:
        """Publish it, if its topic is one that is configured; nobody is told."""
        topic = self._topic_of(message)
        connection = self._connection
        is_full = connection is not None and (connection.is_busy or len(self._waiting) >= _WAITING_MAX)
        if topic is None or is_full or now < self._closed_until:
            self._counts.unconnected_dropped += 1
            return
        packet = encode_publish(topic.encode(), message.payload, VERSION, 0, message.retain)
        if connection is None:
            connection = self._connection = self._connect(lambda: self._woken(self))
            identity = self._identity
            connection.feed(
                encode_connect(
                    Connect(VERSION, self._client_id, user_name=identity.user_name, password=identity.password)
                )
            )
        if self._is_open:
            connection.feed(packet)
        else:
            self._waiting.append(packet)

    def _topic_of(self, message: Publish) -> str | None:
        match message.topic_id.kind:
            case TopicIdType.PREDEFINED:
                topic = self._predefined.get(message.topic_id.number)
            case TopicIdType.SHORT:
                topic = message.topic_id.short_name
            case _:
                topic = None  # an id that was given in a connection means nothing outside it (6.8)
        return topic if topic in self._topics else None

    def pump(self, now: float) -> None:
        """Read what the broker has sent: whether the gateway is let in."""
        connection = self._connection
        if connection is None:
            return
        for first, body in connection.take():
            if first >> 4 != PacketType.CONNACK:
                continue
            connack = decode_connack(body, VERSION, first)
            self.keep_alive_s = connack.server_keep_alive_s or 0
            self._is_open = connack.reason_code == ReasonCode.SUCCESS
            while self._is_open and self._waiting:
                connection.feed(self._waiting.popleft())
        if connection.is_over:
            self._connection = None
            self._is_open = False
            self._counts.unconnected_dropped += len(self._waiting)
            self._waiting.clear()
            self._closed_until = now + _RETRY_S
