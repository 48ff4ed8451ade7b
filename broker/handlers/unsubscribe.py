"""UNSUBSCRIBE: what a client does not want any more."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.clients import Client
from noctule.handlers.access import AskedAccess
from noctule.handlers.connection import Connection, check_can_keep, reason_string
from noctule.handlers.means import Means
from noctule.handlers.rewriting import filter_text, mounted, rewritten
from noctule.hooks.answers import Subscription
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_filter, split_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.unsuback import Unsuback, encode_unsuback
from noctule.protocol.unsubscribe import decode_unsubscribe
from noctule.protocol.versions import CAPABILITIES


def handle_unsubscribe(means: Means, link: Link, session: Session, first: int, body: bytes) -> None:
    """Remove each subscription and answer with one UNSUBACK, also where there was none [MQTT-3.10.4-4] [MQTT-3.10.4-5].

    PacketError: the packet is broken. What is in flight already is finished [MQTT-3.10.4-3].
    """
    connection: Connection = link.connection
    packet = decode_unsubscribe(body, connection.version, first)
    if CAPABILITIES[connection.version].bad_filter_ends_connection:  # before any takes effect
        for text in packet.filters:
            check_topic_filter(text)
    if not CAPABILITIES[connection.version].has_properties:
        check_can_keep(means.state, session)  # UNSUBACK could not say that it was refused
    filters = packet.filters
    if connection.mount_point:
        filters = tuple(_mounted(text, connection.mount_point) for text in filters)
    if not means.hooks.rewrite_subscription:
        _answer(means, link, packet.packet_id, filters)
        return
    means.decisions.ask(
        link,
        "rewrite_subscription",
        lambda: _rewritten(means, session.client, filters),
        lambda found: _answer(means, link, packet.packet_id, filters if found is None else found),
    )


def _mounted(text: str, mount_point: str) -> str:
    """The filter below the mount point; as it is where it cannot be one, and the answer says so."""
    try:
        share_name, topic_filter = mounted(text, mount_point)
    except PacketError:
        return text
    return filter_text(Subscription(topic_filter, share_name))


async def _rewritten(means: Means, client: Client, filters: tuple[str, ...]) -> tuple[str, ...]:
    """The filters that the plugins have made of these when they were subscribed to."""
    found = []
    for text in filters:
        try:
            share_name, topic_filter = split_filter(text)
        except PacketError:
            found.append(text)  # the answer says so
            continue
        found.append(filter_text(await rewritten(means, client, Subscription(topic_filter, share_name))))
    return tuple(found)


def _answer(means: Means, link: Link, packet_id: int, filters: tuple[str, ...]) -> None:
    """Unsubscribe, and write the UNSUBACK."""
    session = link.session
    if session is None:
        return
    connection: Connection = link.connection
    journal = means.state.plane.journal
    before = 0 if journal is None else journal.count
    codes: list[int] = []
    refusals: list[str] = []
    for text in filters:
        try:
            codes.append(_unsubscribe(means, session, text))
        except PacketError as error:
            codes.append(error.reason_code)
            refusals.append(str(error))
    unsuback = Unsuback(packet_id, tuple(codes), reason_string(connection, refusals))
    encoded = encode_unsuback(unsuback, connection.version)
    if len(encoded) > link.peer_packet_max and refusals:  # [MQTT-3.11.2-1]
        encoded = encode_unsuback(Unsuback(packet_id, tuple(codes)), connection.version)
    if journal is not None and journal.count != before:
        link.wait_for_journal()
    link.write(encoded)


def _unsubscribe(means: Means, session: Session, text: str) -> int:
    """The reason code for one filter. PacketError where it cannot be one."""
    share_name, topic_filter = split_filter(text)
    check_can_keep(means.state, session)
    share = None if share_name is None else share_name.encode()
    if not means.state.router.unsubscribe(session, topic_filter.encode(), share):
        return ReasonCode.NO_SUBSCRIPTION_EXISTED
    if isinstance(session.access, AskedAccess):
        session.access.forget_subscription(text)
    if means.state.watchers.unsubscribed is not None:
        means.state.watchers.unsubscribed(session, text)
    return ReasonCode.SUCCESS
