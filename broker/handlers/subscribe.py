"""SUBSCRIBE: what a client wants to receive, and the retained messages that it receives at once."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.state import State
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import split_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.suback import Suback, encode_suback
from noctule.protocol.subscribe import SubscriptionRequest, decode_subscribe

_NO_LOCAL = 1
_RETAIN_AS_PUBLISHED = 2


def handle_subscribe(state: State, link: Link, session: Session, first: int, body: bytes) -> None:
    """Add or replace each subscription and answer with one SUBACK [MQTT-3.8.4-1]. PacketError: the packet is broken."""
    version = link.connection.version
    packet = decode_subscribe(body, version, first)
    codes: list[int] = []
    wanted: list[tuple[bytes, int]] = []
    identifier = packet.subscription_identifier or 0
    for entry in packet.entries:
        code, send_retained = _subscribe(state, session, entry, identifier)
        codes.append(code)
        if send_retained:
            wanted.append((entry.filter.encode(), code))
    link.write(encode_suback(Suback(packet.packet_id, tuple(codes)), version))  # [MQTT-3.8.4-2] [MQTT-3.9.3-1]
    for topic_filter, qos in wanted:
        state.router.send_retained(session, topic_filter, qos, identifier)


def _subscribe(state: State, session: Session, entry: SubscriptionRequest, identifier: int) -> tuple[int, bool]:
    """The reason code for one filter, and whether retained messages follow."""
    try:
        share_name, topic_filter = split_filter(entry.filter, state.settings.limits.topic_levels_max)
    except PacketError as error:
        return error.reason_code, False
    options = (_NO_LOCAL if entry.no_local else 0) | (_RETAIN_AS_PUBLISHED if entry.retain_as_published else 0)
    share = None if share_name is None else share_name.encode()
    if session.subscription_count >= state.settings.limits.subscriptions_max and not state.router.is_subscribed(
        session, topic_filter.encode(), share
    ):
        return ReasonCode.QUOTA_EXCEEDED, False
    existed = state.router.subscribe(session, topic_filter.encode(), entry.qos, options, identifier, share)
    if share is not None:
        return entry.qos, False  # 4.8.2: no retained messages for a shared subscription
    # Retain Handling: 0 always, 1 for a new subscription, 2 never [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
    return entry.qos, entry.retain_handling == 0 or (entry.retain_handling == 1 and not existed)
