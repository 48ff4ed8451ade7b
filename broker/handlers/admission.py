"""What it brings about that a CONNECT is accepted or refused, once that is decided."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Final

from noctule._speedups.deadlines import Alarm
from noctule._speedups.link import Link
from noctule.config.settings import Durability, Limits, ListenerSettings
from noctule.core.access import Access
from noctule.core.authentication import Authentication
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.access import AskedAccess, SessionAccess
from noctule.handlers.connection import (
    Connection,
    end_connection,
    escaped,
    last_packet,
    named_client,
    refusal_packet,
)
from noctule.handlers.fault_log import FaultKind, FaultLog
from noctule.handlers.means import Means
from noctule.handlers.revoking import drop_what_is_not_allowed
from noctule.protocol.connack import Connack, encode_connack
from noctule.protocol.connect import Connect
from noctule.protocol.constants import FIELD_SIZE_MAXIMUM
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES

_NO_PACKET_MAX = 0xFFFFFFFF

#: What acknowledgements wait for, as links know it.
_WAITS: Final = {Durability.MEMORY: 0, Durability.OS: 1, Durability.DISK: 2}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client has turned out to be."""

    #: None: anonymous.
    user_name: str | None

    #: What it may do, where that was said with it.
    access: Access | None = None

    #: When its connection ends at the latest, in seconds since 1970.
    expires_at: float | None = None

    authentication: Authentication | None = None

    #: The last Authentication Data for the client.
    authentication_data: bytes | None = None

    #: It is let in because its listener lets anybody in, and for no other reason.
    is_unproven: bool = False


def admit(
    means: Means,
    link: Link,
    packet: Connect,
    client: Client,
    access: SessionAccess | None,
    identity: Identity,
    *,
    is_assigned: bool,
) -> None:
    """Let the client in: take its old connection over, open its session, answer and deliver.

    ``is_assigned``: whether the client identifier of ``client`` is ours. It is refused where the session of this name
    belongs to somebody else, and where it would not take the CONNACK.
    """
    state = means.state
    client_id = client.client_id
    authentication = identity.authentication
    journal = state.plane.journal
    origin = origin_of(link, state)
    durability = durability_of(origin, state)
    is_kept = durability is not Durability.MEMORY
    session = state.sessions.find(client_id)
    was_kept = session is not None and session.store_id
    if journal is not None and not journal.is_usable and is_kept and (packet.session_expiry_interval_s or was_kept):
        why = "its session cannot be kept: the store takes nothing for now"
        refuse(state, means.fault_log, link, packet, ReasonCode.SERVER_UNAVAILABLE, why)
        return
    before = 0 if journal is None else journal.count
    if session is not None and state.settings.client_id_ownership and session.owner != client.user_name:
        # Neither takes it over nor ends it: whose it is hears nothing of it.
        refuse(
            state,
            means.fault_log,
            link,
            packet,
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            f"the client identifier belongs to {_user(session.owner)}, and this is {_user(client.user_name)}",
            "not authorized",
        )
        return
    sessions_max = state.settings.limits.sessions_max
    if session is None and sessions_max and len(state.sessions) >= sessions_max:
        why = f"there are {sessions_max} sessions already (limits.max_sessions)"
        refuse(state, means.fault_log, link, packet, ReasonCode.QUOTA_EXCEEDED, why, "too many sessions")
        return
    keep_alive_s = _keep_alive_of(state, packet)
    expiry_s = state.sessions.expiry_allowed(client_id, packet.session_expiry_interval_s)
    qos_max = origin.listener.limits.max_qos
    mount_point = origin.listener.mount_point
    packet_max_bytes = origin.listener.limits.packet_max_bytes or state.settings.limits.packet_max_bytes
    connack = Connack(
        session_expiry_interval_s=None if expiry_s == packet.session_expiry_interval_s else expiry_s,  # 3.2.2.3.2
        maximum_qos=qos_max,  # [MQTT-3.2.2-9]
        assigned_client_identifier=client_id if is_assigned else None,
        server_keep_alive_s=None if keep_alive_s == packet.keep_alive_s else keep_alive_s,  # [MQTT-3.2.2-21]
        authentication_method=None if authentication is None else authentication.method_name,  # [MQTT-4.12.0-5]
        authentication_data=identity.authentication_data,
    )
    largest = _NO_PACKET_MAX if packet.maximum_packet_size is None else packet.maximum_packet_size
    try:
        connack = _fitted(connack, state, packet, client_id, largest, packet_max_bytes)
    except ValueError as error:
        refuse(state, means.fault_log, link, packet, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, str(error))
        return

    _take_over(means, link, client_id)
    client_before: Client | None = None if session is None else session.client
    session, present = state.sessions.open(
        client_id,
        clean_start=packet.clean_start,
        expiry_interval_s=packet.session_expiry_interval_s,
        owner=client.user_name,
        is_kept=is_kept,
    )
    session.client = client
    if session.access is not access:
        if present and isinstance(access, AskedAccess):
            is_same = client_before is not None and client_before.user_name == client.user_name
            access.follow(session.access if is_same and isinstance(session.access, AskedAccess) else None)
        session.access = access
        if present:
            state.router.access_changed()  # routes know the session with the rights of its last connection
            drop_what_is_not_allowed(means, session)
    state.sessions.arm_will(session, packet.will)
    link.durability = acknowledgement_mode(origin_of(link, state), state)
    link.connection = Connection(
        packet.version,
        packet.session_expiry_interval_s,
        packet.request_problem_information,
        packet.is_bridge,
        authentication,
        _end_at(means, client_id, identity.expires_at),
        identity.is_unproven,
        qos_max,
        mount_point,
    )
    if present:  # [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        connack = dataclasses.replace(connack, session_present=True)
    if journal is not None and journal.count != before:
        link.wait_for_journal()
    link.mount_at(mount_point.encode())
    link.write(encode_connack(connack, packet.version))  # [MQTT-3.2.0-1] before anything that is delivered
    receive_maximum = min(packet.receive_maximum, origin_of(link, state).receive_maximum)
    link.open(session, packet.version, keep_alive_s, receive_maximum, largest, packet.topic_alias_maximum)
    link.restrict(packet_max_bytes, qos_max)
    state.logger.debug(
        "New client connected from %s as %s (p%d, c%d, k%d%s).",
        link.peer,
        escaped(client_id),
        packet.version,
        packet.clean_start,
        keep_alive_s,
        "" if client.user_name is None else f", u'{escaped(client.user_name)}'",
    )
    if not present and state.watchers.session_created is not None:
        state.watchers.session_created(session)
    if state.watchers.client_connected is not None:
        state.watchers.client_connected(session)


def origin_of(link: Link, state: State) -> Origin:
    """Where the link comes from; one without an origin counts as a connection to the first listener."""
    listeners = state.settings.listeners
    if link.origin is not None:
        origin: Origin = link.origin
        if origin.listener in listeners:
            return origin
        # The settings were loaded again since it was opened: what they say of it now counts.
        now = next((listener for listener in listeners if listener.name == origin.listener.name), origin.listener)
        return dataclasses.replace(origin, listener=now)
    return Origin(listeners[0] if listeners else ListenerSettings())


def durability_of(origin: Origin, state: State) -> Durability:
    """Where the state of a connection must be before it is acknowledged."""
    return origin.listener.durability or state.settings.durability


def acknowledgement_mode(origin: Origin, state: State) -> int:
    """What the acknowledgements of a connection wait for, as links know it."""
    return _WAITS[durability_of(origin, state)] if state.plane.journal is not None else 0


def _user(user_name: str | None) -> str:
    return "an anonymous client" if user_name is None else f"user {escaped(user_name)}"


def _end_at(means: Means, client_id: str, expires_at: float | None) -> Alarm | None:
    """Have the connection end when what let it in does; None where that is not limited."""
    if expires_at is None:
        return None
    state = means.state

    def end() -> None:
        session = state.sessions.find(client_id)
        link = session.outlet if session is not None else None
        if isinstance(link, Link) and link.connection.end is alarm:
            state.logger.info("Client %s: what it was let in by has expired, disconnecting.", escaped(client_id))
            end_connection(
                state, link, last_packet(link, ReasonCode.NOT_AUTHORIZED), reason="what it was let in by has expired"
            )

    alarm = Alarm(end)
    state.plane.deadlines.schedule(alarm, state.plane.now + max(0.0, expires_at - time.time()))
    return alarm


def refuse(
    state: State,
    fault_log: FaultLog,
    link: Link,
    packet: Connect,
    reason_code: int,
    why: str,
    tell: str = "",
    kind: FaultKind = FaultKind.CONNECTION,
) -> None:
    """Refuse a CONNECT that is well formed; nothing of it takes effect.

    ``why`` is for the log, "" where that has been written; ``tell`` for the client, where that is something else.
    """
    if why:
        fault_log.write(link.peer, named_client(link), why, "", state.plane.now, kind=kind)
    end_connection(state, link, refusal_packet(packet, reason_code, tell or why or None))


def keep_alive_allowed(state: State, packet: Connect) -> bool:
    """Whether the Keep Alive is within the maximum, or can be told to be (3.2.2.3.14)."""
    return CAPABILITIES[packet.version].has_properties or _keep_alive_of(state, packet) == packet.keep_alive_s


def _keep_alive_of(state: State, packet: Connect) -> int:
    """The Keep Alive that holds for the connection."""
    maximum = state.settings.keep_alive_max_s
    if maximum and not 0 < packet.keep_alive_s <= maximum:
        return maximum
    return packet.keep_alive_s  # [MQTT-3.2.2-22]


def _fitted(
    connack: Connack, state: State, packet: Connect, client_id: str, largest: int, packet_max_bytes: int
) -> Connack:
    """The CONNACK with what else there is to announce, as far as the client takes it [MQTT-3.1.2-24].

    What is left out first is advice, then what the client may go without: it may use no aliases then, and learns of
    our other limits when it meets them. ValueError where what it has to know does not fit, or cannot be written.
    """
    told = connack_told(connack, state.settings.limits, packet_max_bytes)
    information = _response_information(state, packet, client_id)
    advised = told if information is None else dataclasses.replace(told, response_information=information)
    if largest == _NO_PACKET_MAX and connack.authentication_data is None:
        return advised
    for fitting in (advised, told, connack):
        if len(encode_connack(fitting, packet.version)) <= largest:
            return fitting
    raise ValueError("the client takes no packet as large as the CONNACK")


def connack_told(connack: Connack, limits: Limits, packet_max_bytes: int) -> Connack:
    """The CONNACK with our limits, and the largest packet of its listener."""
    return dataclasses.replace(
        connack,
        receive_maximum=limits.receive_maximum,
        maximum_packet_size=packet_max_bytes,
        topic_alias_maximum=limits.alias_max_in,
    )


def _response_information(state: State, packet: Connect, client_id: str) -> str | None:
    """The base of this client's Response Topics: only for who asks [MQTT-3.1.2-28], and if its name can be a topic."""
    if not packet.request_response_information or not state.settings.response_information:
        return None
    base = f"response/{client_id}/"
    if "+" in client_id or "#" in client_id or len(base.encode()) > FIELD_SIZE_MAXIMUM:
        return None
    return base


def _take_over(means: Means, link: Link, client_id: str) -> None:
    """Close the connection that this client identifier has already [MQTT-3.1.4-2] [MQTT-3.1.4-3]."""
    state = means.state
    session = state.sessions.find(client_id)
    old = session.outlet if session is not None else None
    if not isinstance(old, Link):
        return
    state.logger.debug("Client %s has connected again, closing its old connection.", escaped(client_id))
    means.takeover_log.note(client_id, old.peer, link.peer, state.plane.now)
    end_connection(state, old, last_packet(old, ReasonCode.SESSION_TAKEN_OVER), reason="the client has connected again")
