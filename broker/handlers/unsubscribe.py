"""UNSUBSCRIBE: what a client does not want any more."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.state import State
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import split_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.unsuback import Unsuback, encode_unsuback
from noctule.protocol.unsubscribe import decode_unsubscribe


def handle_unsubscribe(state: State, link: Link, session: Session, first: int, body: bytes) -> None:
    """Remove each subscription and answer with one UNSUBACK, also where there was none [MQTT-3.10.4-4] [MQTT-3.10.4-5].

    PacketError: the packet is broken. What is in flight already is finished [MQTT-3.10.4-3].
    """
    version = link.connection.version
    packet = decode_unsubscribe(body, version, first)
    codes = tuple(_unsubscribe(state, session, text) for text in packet.filters)
    link.write(encode_unsuback(Unsuback(packet.packet_id, codes), version))


def _unsubscribe(state: State, session: Session, text: str) -> int:
    """The reason code for one filter."""
    try:
        share_name, topic_filter = split_filter(text)
    except PacketError as error:
        return error.reason_code
    share = None if share_name is None else share_name.encode()
    if state.router.unsubscribe(session, topic_filter.encode(), share):
        return ReasonCode.SUCCESS
    return ReasonCode.NO_SUBSCRIPTION_EXISTED
