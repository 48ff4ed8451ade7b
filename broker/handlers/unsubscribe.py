"""UNSUBSCRIBE: what a client does not want any more."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.state import State
from noctule.handlers.connection import Connection, reason_string
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_filter, split_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.unsuback import Unsuback, encode_unsuback
from noctule.protocol.unsubscribe import decode_unsubscribe
from noctule.protocol.versions import CAPABILITIES


def handle_unsubscribe(state: State, link: Link, session: Session, first: int, body: bytes) -> None:
    """Remove each subscription and answer with one UNSUBACK, also where there was none [MQTT-3.10.4-4] [MQTT-3.10.4-5].

    PacketError: the packet is broken. What is in flight already is finished [MQTT-3.10.4-3].
    """
    connection: Connection = link.connection
    packet = decode_unsubscribe(body, connection.version, first)
    if CAPABILITIES[connection.version].bad_filter_ends_connection:  # before any takes effect
        for text in packet.filters:
            check_topic_filter(text)
    codes: list[int] = []
    refusals: list[str] = []
    for text in packet.filters:
        try:
            codes.append(_unsubscribe(state, session, text))
        except PacketError as error:
            codes.append(error.reason_code)
            refusals.append(str(error))
    unsuback = Unsuback(packet.packet_id, tuple(codes), reason_string(connection, refusals))
    encoded = encode_unsuback(unsuback, connection.version)
    if len(encoded) > link.peer_packet_max and refusals:  # [MQTT-3.11.2-1]
        encoded = encode_unsuback(Unsuback(packet.packet_id, tuple(codes)), connection.version)
    link.write(encoded)


def _unsubscribe(state: State, session: Session, text: str) -> int:
    """The reason code for one filter. PacketError where it cannot be one."""
    share_name, topic_filter = split_filter(text)
    share = None if share_name is None else share_name.encode()
    if state.router.unsubscribe(session, topic_filter.encode(), share):
        return ReasonCode.SUCCESS
    return ReasonCode.NO_SUBSCRIPTION_EXISTED
