"""SUBSCRIBE: what a client wants to receive, and the retained messages that it receives at once."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.config.limits import FILTER_LEVELS_MAX
from noctule.core.state import State
from noctule.handlers.connection import Connection, reason_string
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_filter, split_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.suback import Suback, encode_suback
from noctule.protocol.subscribe import SubscriptionRequest, decode_subscribe
from noctule.protocol.versions import CAPABILITIES

_NO_LOCAL = 1
_RETAIN_AS_PUBLISHED = 2


def handle_subscribe(state: State, link: Link, session: Session, first: int, body: bytes) -> None:
    """Add or replace each subscription and answer with one SUBACK [MQTT-3.8.4-1]. PacketError: the packet is broken."""
    connection: Connection = link.connection
    packet = decode_subscribe(body, connection.version, first)
    if CAPABILITIES[connection.version].bad_filter_ends_connection:  # [MQTT-4.7.1-2] of 3.1.1, before any takes effect
        for entry in packet.entries:
            check_topic_filter(entry.filter)  # $share is a level like another there
    codes: list[int] = []
    refusals: list[str] = []
    wanted: list[tuple[bytes, int]] = []
    identifier = packet.subscription_identifier or 0
    for entry in packet.entries:
        try:
            code, send_retained = _subscribe(state, connection, session, entry, identifier)
        except PacketError as error:
            code, send_retained = error.reason_code, False
            refusals.append(str(error))
        codes.append(code)
        if send_retained:
            wanted.append((entry.filter.encode(), code))
    suback = Suback(packet.packet_id, tuple(codes), reason_string(connection, refusals))
    encoded = encode_suback(suback, connection.version)  # [MQTT-3.8.4-2] [MQTT-3.9.3-1]
    if len(encoded) > link.peer_packet_max and refusals:  # [MQTT-3.9.2-1]
        encoded = encode_suback(Suback(packet.packet_id, tuple(codes)), connection.version)
    link.write(encoded)
    for topic_filter, qos in wanted:
        state.router.send_retained(session, topic_filter, qos, identifier)


def _subscribe(
    state: State, connection: Connection, session: Session, entry: SubscriptionRequest, identifier: int
) -> tuple[int, bool]:
    """The reason code for one filter, and whether retained messages follow. PacketError where it is refused."""
    share_name, topic_filter = split_filter(entry.filter, state.settings.limits.topic_levels_max)
    share = None if share_name is None else share_name.encode()
    # A bridge of 3.x cannot ask for what it needs: its own messages not to come back, and to see what is retained.
    no_local = entry.no_local or (connection.is_bridge and share is None)
    retain_as_published = entry.retain_as_published or connection.is_bridge
    options = (_NO_LOCAL if no_local else 0) | (_RETAIN_AS_PUBLISHED if retain_as_published else 0)
    is_full = (
        session.subscription_count >= state.settings.limits.subscriptions_max
        or session.level_count >= FILTER_LEVELS_MAX
    )
    if is_full and not state.router.is_subscribed(session, topic_filter.encode(), share):
        raise PacketError(ReasonCode.QUOTA_EXCEEDED, "more subscriptions than a session may have")
    existed = state.router.subscribe(session, topic_filter.encode(), entry.qos, options, identifier, share)
    if share is not None:
        return entry.qos, False  # 4.8.2: no retained messages for a shared subscription
    # Retain Handling: 0 always, 1 for a new subscription, 2 never [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
    return entry.qos, entry.retain_handling == 0 or (entry.retain_handling == 1 and not existed)
