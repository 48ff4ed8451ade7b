"""What one device asks for while it is connected, and what it is answered: messages, topic ids, subscriptions."""

from collections.abc import Callable
from typing import Final

from noctule.net.mqtt_sn.messages import (
    QOS_MINUS_ONE,
    Message,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Regack,
    Register,
    ReturnCode,
    Suback,
    Subscribe,
    TopicId,
    TopicIdType,
    Unsuback,
    Unsubscribe,
)
from noctule.net.mqtt_sn.packets import encode
from noctule.net.mqtt_sn.topics import TopicIds
from noctule.net.mqtt_sn.upstream import Upstream
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name, split_filter
from noctule.protocol.reason_codes import FIRST_FAILURE, ReasonCode

#: What a client can do something about by waiting.
_CONGESTION: Final = frozenset(
    (
        ReasonCode.SERVER_UNAVAILABLE,
        ReasonCode.SERVER_BUSY,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.CONNECTION_RATE_EXCEEDED,
    )
)


def return_code_of(reason_code: int) -> ReturnCode:
    """What MQTT-SN has for a reason code of MQTT 5."""
    if reason_code < FIRST_FAILURE:
        return ReturnCode.ACCEPTED
    if reason_code in _CONGESTION:
        return ReturnCode.CONGESTION
    if reason_code == ReasonCode.TOPIC_NAME_INVALID:
        return ReturnCode.INVALID_TOPIC_ID
    return ReturnCode.NOT_SUPPORTED


class Requests:
    """The requests of one device: ``send`` gets the answers, as datagrams.

    ``receive_max``: messages of QoS 1 and 2, and SUBSCRIBEs, that may wait for the broker's answer.
    """

    def __init__(
        self, topics: TopicIds, send: Callable[[bytes], None], topic_levels_max: int, receive_max: int
    ) -> None:
        self._topics = topics
        self._send = send
        self._topic_levels_max = topic_levels_max
        self._receive_max = receive_max
        self.clear()

    def clear(self) -> None:
        """Forget what has not been answered: a new connection begins."""
        # By message id: the number that the topic has in the PUBACK.
        self._publishing: dict[int, int] = {}
        self._last_puback: Puback | None = None
        # By message id: the topic for the SUBACK.
        self._subscribing: dict[int, TopicId] = {}

    def _answer(self, message: Message) -> None:
        self._send(encode(message))

    def publish(self, message: Publish, upstream: Upstream) -> None:
        """PUBLISH; at QoS -1 it is the gateway's affair, connected or not."""
        topic = self._topics.name_of(message.topic_id)
        number, message_id = message.topic_id.number, message.message_id
        if message.qos == QOS_MINUS_ONE:
            return
        refusal = self._refusal_of(message, topic, upstream)
        if refusal is not None:
            if message.qos or refusal is ReturnCode.INVALID_TOPIC_ID:
                self._answer(Puback(number, message_id, refusal))
            return
        if message.qos == 1 and message.dup and self._last_puback == Puback(number, message_id, ReturnCode.ACCEPTED):
            self._answer(self._last_puback)  # which it has not had
            return
        if message.qos == 1 and message_id in self._publishing:
            return  # sent again; the answer is on its way
        if message.topic_id.kind is TopicIdType.NORMAL:
            self._topics.set_known(number)
        if message.qos:
            self._publishing[message_id] = number
        upstream.publish(topic or "", message.payload, message.qos, message_id, retain=message.retain, dup=message.dup)

    def _refusal_of(self, message: Publish, topic: str | None, upstream: Upstream) -> ReturnCode | None:
        if topic is None:
            return ReturnCode.INVALID_TOPIC_ID
        try:
            check_topic_name(topic, self._topic_levels_max)
        except PacketError:
            return ReturnCode.INVALID_TOPIC_ID
        if message.qos and message.message_id == 0:
            return ReturnCode.NOT_SUPPORTED
        is_new = message.message_id not in self._publishing
        if upstream.is_busy or (message.qos and is_new and len(self._publishing) >= self._receive_max):
            return ReturnCode.CONGESTION
        return None

    def register(self, message: Register) -> None:
        """REGISTER."""
        number, code = 0, ReturnCode.ACCEPTED
        try:
            check_topic_name(message.topic, self._topic_levels_max)
        except PacketError:
            code = ReturnCode.NOT_SUPPORTED
        else:
            given = self._topics.give(message.topic)
            if given is None:
                code = ReturnCode.CONGESTION
            else:
                number = given
                self._topics.set_known(number)
        self._answer(Regack(number, message.message_id, code))

    def subscribe(self, message: Subscribe, upstream: Upstream) -> None:
        """SUBSCRIBE."""
        message_id = message.message_id
        topic_filter, topic_id, code = self._subscription(message.topic)
        is_new = message_id not in self._subscribing
        if message_id == 0:
            code = ReturnCode.NOT_SUPPORTED
        elif upstream.is_busy or (is_new and len(self._subscribing) >= self._receive_max):
            code = ReturnCode.CONGESTION
        if code is not ReturnCode.ACCEPTED:
            self._answer(Suback(0, 0, message_id, code))
            return
        self._subscribing[message_id] = topic_id
        upstream.subscribe(topic_filter, message.qos, message_id)

    def _subscription(self, topic: str | TopicId) -> tuple[str, TopicId, ReturnCode]:
        """The filter that is meant, the topic id for the SUBACK, and whether it can be."""
        none = TopicId(TopicIdType.NORMAL, 0)
        name = self._topics.name_of(topic) if isinstance(topic, TopicId) else topic
        if name is None:
            return "", none, ReturnCode.INVALID_TOPIC_ID
        try:
            parts = split_filter(name, self._topic_levels_max)
        except PacketError:
            return "", none, ReturnCode.NOT_SUPPORTED
        if isinstance(topic, TopicId):
            return name, topic if topic.kind is TopicIdType.PREDEFINED else none, ReturnCode.ACCEPTED
        if "+" in parts.filter or "#" in parts.filter:
            return name, none, ReturnCode.ACCEPTED
        given = self._topics.give(parts.filter)
        if given is None:
            return "", none, ReturnCode.CONGESTION
        return name, TopicId(TopicIdType.NORMAL, given), ReturnCode.ACCEPTED

    def unsubscribe(self, message: Unsubscribe, upstream: Upstream) -> None:
        """UNSUBSCRIBE."""
        name = self._topics.name_of(message.topic) if isinstance(message.topic, TopicId) else message.topic
        try:
            if name is not None and message.message_id and not upstream.is_busy:
                split_filter(name, self._topic_levels_max)
                upstream.unsubscribe(name, message.message_id)
                return
        except PacketError:
            pass
        if not upstream.is_busy:
            self._answer(Unsuback(message.message_id))  # there is no such subscription; UNSUBACK cannot say more

    def published(self, message_id: int, reason_code: int) -> None:
        """The answer at QoS 1."""
        number = self._publishing.pop(message_id, None)
        if number is not None:
            self._last_puback = Puback(number, message_id, return_code_of(reason_code))
            self._answer(self._last_puback)

    def received(self, message_id: int, reason_code: int) -> None:
        """The first answer at QoS 2; a refusal is a PUBACK, which has a code."""
        number = self._publishing.get(message_id)
        if number is None:
            return
        if reason_code >= FIRST_FAILURE:
            del self._publishing[message_id]
            self._answer(Puback(number, message_id, return_code_of(reason_code)))
        else:
            self._answer(Pubrec(message_id))

    def completed(self, message_id: int) -> None:
        """The last answer at QoS 2."""
        self._publishing.pop(message_id, None)
        self._answer(Pubcomp(message_id))

    def subscribed(self, message_id: int, reason_code: int) -> None:
        """The answer to SUBSCRIBE."""
        topic_id = self._subscribing.pop(message_id, None)
        if topic_id is None:
            return
        code = return_code_of(reason_code)
        if code is ReturnCode.ACCEPTED:
            if topic_id.kind is TopicIdType.NORMAL:
                self._topics.set_known(topic_id.number)
            self._answer(Suback(reason_code, topic_id.number, message_id, code))
        else:
            self._answer(Suback(0, 0, message_id, code))

    def unsubscribed(self, message_id: int) -> None:
        """The answer to UNSUBSCRIBE."""
        self._answer(Unsuback(message_id))
