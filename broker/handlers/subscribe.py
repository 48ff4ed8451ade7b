"""SUBSCRIBE: what a client wants to receive, and the retained messages that it receives at once."""

from dataclasses import dataclass, replace

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.config.limits import FILTER_LEVELS_MAX
from noctule.core.access import Action
from noctule.handlers.access import AskedAccess, SessionAccess
from noctule.handlers.access_questions import authorized
from noctule.handlers.connection import Connection, check_can_keep, reason_string
from noctule.handlers.means import Means
from noctule.handlers.rewriting import check_subscription, filter_text, mounted, rewritten
from noctule.hooks.answers import Allow, Deny, Subscription, Verdict
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_filter
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.suback import Suback, encode_suback
from noctule.protocol.subscribe import SubscriptionRequest, decode_subscribe
from noctule.protocol.versions import CAPABILITIES

_NO_LOCAL = 1
_RETAIN_AS_PUBLISHED = 2


def handle_subscribe(means: Means, link: Link, session: Session, first: int, body: bytes) -> None:
    """Add or replace each subscription and answer with one SUBACK [MQTT-3.8.4-1]. PacketError: the packet is broken."""
    connection: Connection = link.connection
    packet = decode_subscribe(body, connection.version, first)
    if CAPABILITIES[connection.version].bad_filter_ends_connection:  # [MQTT-4.7.1-2] of 3.1.1, before any takes effect
        for entry in packet.entries:
            check_topic_filter(entry.filter)  # $share is a level like another there
    identifier, mount_point = packet.subscription_identifier, connection.mount_point
    entries = tuple(_entry(means, entry, identifier, mount_point) for entry in packet.entries)
    if not means.hooks.rewrite_subscription and not isinstance(session.access, AskedAccess):
        _answer(means, link, packet.packet_id, entries)
        return
    means.decisions.ask(
        link,
        "access",
        lambda: _asked(means, session, entries),
        lambda judged: _answer(means, link, packet.packet_id, _refused(entries) if judged is None else judged),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One subscription of a SUBSCRIBE on its way to its reason code."""

    subscription: Subscription

    #: Why it is refused, if it is; the client is told.
    refusal: PacketError | None = None

    #: What a plugin has said of it; None: none was asked.
    verdict: Verdict | None = None


def _entry(means: Means, request: SubscriptionRequest, identifier: int | None, mount_point: str) -> _Entry:
    """The entry as it was sent, refused where its filter cannot be one."""
    share_name: str | None = None
    topic_filter = request.filter
    refusal = None
    try:
        share_name, topic_filter = mounted(request.filter, mount_point, means.state.settings.limits.topic_levels_max)
    except PacketError as error:
        refusal = error
    return _Entry(
        Subscription(
            topic_filter,
            share_name,
            request.qos,
            request.no_local,
            request.retain_as_published,
            request.retain_handling,
            identifier,
        ),
        refusal,
    )


def _refused(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    """What is left of them where the plugins have failed."""
    return tuple(replace(entry, verdict=Deny("no answer")) for entry in entries)


async def _asked(means: Means, session: Session, entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    """What plugins make of the entries, one after the other. What a plugin raises is passed on."""
    return tuple([await _ask_about(means, session, entry) for entry in entries])


async def _ask_about(means: Means, session: Session, entry: _Entry) -> _Entry:
    if entry.refusal is not None:
        return entry
    subscription = await rewritten(means, session.client, entry.subscription)
    try:
        check_subscription(means, subscription)
    except PacketError as error:
        return _Entry(subscription, error)
    if not isinstance(session.access, AskedAccess):
        return _Entry(subscription)
    name = filter_text(subscription)
    return _Entry(subscription, None, await authorized(means, session.client, Action.SUBSCRIBE, name))


def _answer(means: Means, link: Link, packet_id: int, entries: tuple[_Entry, ...]) -> None:
    """Subscribe to what is allowed, write the SUBACK, and send what is retained."""
    session = link.session
    if session is None:
        return
    connection: Connection = link.connection
    journal = means.state.plane.journal
    before = 0 if journal is None else journal.count
    codes: list[int] = []
    refusals: list[str] = []
    wanted: list[tuple[Subscription, int]] = []
    for entry in entries:
        try:
            code, send_retained = _subscribe(means, connection, session, entry)
        except PacketError as error:
            code, send_retained = error.reason_code, False
            refusals.append(str(error))
        codes.append(code)
        if send_retained:
            wanted.append((entry.subscription, code))
    suback = Suback(packet_id, tuple(codes), reason_string(connection, refusals))
    encoded = encode_suback(suback, connection.version)  # [MQTT-3.8.4-2] [MQTT-3.9.3-1]
    if len(encoded) > link.peer_packet_max and refusals:  # [MQTT-3.9.2-1]
        encoded = encode_suback(Suback(packet_id, tuple(codes)), connection.version)
    if journal is not None and journal.count != before:
        link.wait_for_journal()
    link.write(encoded)
    for subscription, qos in wanted:
        means.state.router.send_retained(session, subscription.topic_filter.encode(), qos, subscription.identifier or 0)


def _granted_qos(means: Means, session: Session, entry: _Entry) -> int:
    """The highest QoS that the client may have. PacketError where it may not subscribe."""
    subscription = entry.subscription
    access: SessionAccess | None = session.access
    most: int | None = 2
    if isinstance(entry.verdict, Allow) and isinstance(access, AskedAccess):
        access.learn_subscription(filter_text(subscription), entry.verdict)
        most = entry.verdict.qos_max
    elif entry.verdict is not None:
        most = None
    elif access is not None:
        most = access.subscribe_qos_max(subscription.topic_filter, subscription.share_name)
    if most is None:
        name = filter_text(subscription)
        rule = entry.verdict.why if isinstance(entry.verdict, Deny) else ""
        if access is not None and not rule:
            rule = access.rule_of(Action.SUBSCRIBE, subscription.topic_filter)
        means.denial_log.write("subscribe to", session.client, name, rule, means.state.plane.now)
        raise PacketError(ReasonCode.NOT_AUTHORIZED, "not authorized")
    return min(subscription.qos, most)  # [MQTT-3.8.4-8]


def _subscribe(means: Means, connection: Connection, session: Session, entry: _Entry) -> tuple[int, bool]:
    """The reason code for one entry, and whether retained messages follow. PacketError where it is refused."""
    if entry.refusal is not None:
        raise entry.refusal
    state = means.state
    check_can_keep(state, session)
    subscription = entry.subscription
    qos = min(_granted_qos(means, session, entry), connection.qos_max)  # [MQTT-3.2.2-10]
    topic_filter = subscription.topic_filter.encode()
    share = None if subscription.share_name is None else subscription.share_name.encode()
    # A bridge of 3.x cannot ask for what it needs: its own messages not to come back, and to see what is retained.
    no_local = subscription.no_local or (connection.is_bridge and share is None)
    retain_as_published = subscription.retain_as_published or connection.is_bridge
    options = (_NO_LOCAL if no_local else 0) | (_RETAIN_AS_PUBLISHED if retain_as_published else 0)
    is_full = (
        session.subscription_count >= state.settings.limits.subscriptions_max
        or session.level_count >= FILTER_LEVELS_MAX
    )
    if is_full and not state.router.is_subscribed(session, topic_filter, share):
        raise PacketError(ReasonCode.QUOTA_EXCEEDED, "more subscriptions than a session may have")
    existed = state.router.subscribe(session, topic_filter, qos, options, subscription.identifier or 0, share)
    if state.watchers.subscribed is not None:
        state.watchers.subscribed(session, subscription, qos)
    if share is not None:
        return qos, False  # 4.8.2: no retained messages for a shared subscription
    # Retain Handling: 0 always, 1 for a new subscription, 2 never [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
    handling = subscription.retain_handling
    return qos, handling == 0 or (handling == 1 and not existed)
