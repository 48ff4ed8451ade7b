"""AUTH: enhanced authentication before CONNACK, and again on a connection that is open (4.12)."""

from noctule._speedups.link import Link
from noctule.core.authentication import (
    AuthContinue,
    Authentication,
    AuthenticationMethod,
    AuthRefused,
    Claimant,
)
from noctule.handlers.admission import Identity, refuse
from noctule.handlers.connection import Candidate, Connection, end_connection, escaped, last_packet, named_client
from noctule.handlers.fault_log import FaultKind
from noctule.handlers.login import THROTTLED, identified, is_throttled, note_login
from noctule.handlers.means import Means
from noctule.protocol.auth import Auth, decode_auth, encode_auth
from noctule.protocol.connect import Connect
from noctule.protocol.constants import PacketType
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of

#: All that a client hears of why it was not authenticated.
_TOLD = "the authentication has failed"


def begin_authentication(means: Means, link: Link, packet: Connect, method: AuthenticationMethod) -> None:
    """A CONNECT with an Authentication Method: nothing of it takes effect before the method has said yes."""
    if is_throttled(means, link, packet):
        refuse(means.state, means.fault_log, link, packet, ReasonCode.NOT_AUTHORIZED, THROTTLED, _TOLD, FaultKind.LOGIN)
        return
    authentication = Authentication(method, Claimant(packet.client_id, packet.user_name, link.peer))
    link.connection = Candidate(packet, authentication)
    largest = packet.maximum_packet_size
    link.await_decision(packet.version, *() if largest is None else (largest,))
    _Step(means, link, authentication).begin(packet.authentication_data)


def handle_auth(means: Means, link: Link, first: int, body: bytes) -> None:
    """The next step of the exchange, or the first of another one.

    PacketError, always the client's fault: 0x81 for a packet that is malformed, 0x82 for one that is not its turn,
    0x96 for too many.
    """
    connection: Candidate | Connection = link.connection
    authentication = connection.authentication
    version = connection.packet.version if isinstance(connection, Candidate) else connection.version
    packet = decode_auth(body, version, first)
    if authentication is None:
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "AUTH that CONNECT did not ask for", "MQTT-4.12.0-7")
    again = packet.reason_code == ReasonCode.RE_AUTHENTICATE
    # 3.15.2.1: Success is the server's to say, Re-authenticate the client's of a connection.
    if packet.reason_code == ReasonCode.SUCCESS:
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "AUTH with Success from a client", "MQTT-3.15.2-1")
    if packet.authentication_method != authentication.method_name:
        rule = "MQTT-4.12.1-1" if again else "MQTT-4.12.0-5"
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "AUTH with another method than CONNECT", rule)
    if again and isinstance(connection, Candidate):
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "re-authentication before CONNACK", "MQTT-4.12.1-1")
    if again and authentication.is_going_on:
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "re-authentication within an exchange", "MQTT-4.12.0-3")
    if not again and not authentication.is_going_on:
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "AUTH that continues nothing", "MQTT-4.12.1-1")
    state = means.state
    if authentication.count_packet(state.plane.now) > state.settings.limits.auth_per_minute_max:
        raise PacketError(ReasonCode.MESSAGE_RATE_TOO_HIGH, "more AUTH packets than a minute may have")
    step = _Step(means, link, authentication)
    if again:
        step.begin(packet.authentication_data)
    else:
        step.go_on(packet.authentication_data)


class _Step:
    """One step of one link's exchange: the method is asked, and what it says is done.

    It lives as long as the answer takes; the link does not refer to it.
    """

    __slots__ = ("_authentication", "_link", "_means")

    def __init__(self, means: Means, link: Link, authentication: Authentication) -> None:
        self._means = means
        self._link = link
        self._authentication = authentication

    def begin(self, data: bytes | None) -> None:
        """The first step of a new exchange."""
        authentication = self._authentication

        def question() -> object:
            authentication.begin()
            return authentication.step(data)

        self._means.decisions.ask(self._link, self._whom, question, self._answered)

    def go_on(self, data: bytes | None) -> None:
        """A later step."""
        if self._authentication.steps >= self._means.state.settings.limits.auth_steps_max:
            self._authentication.give_up()
            self._refuse(AuthRefused(why="an exchange of more steps than it may have"))
            return
        self._means.decisions.ask(self._link, self._whom, lambda: self._authentication.step(data), self._answered)

    @property
    def _whom(self) -> str:
        return f"the method {escaped(self._authentication.method_name)}"

    def _answered(self, answer: object) -> None:
        """Do what the method says."""
        step = self._authentication.judge(answer)
        link = self._link
        connection: Candidate | Connection = link.connection
        if isinstance(step, AuthRefused):
            if isinstance(connection, Candidate):
                note_login(self._means, link, connection.packet, succeeded=False)
            self._refuse(step)
        elif isinstance(step, AuthContinue):
            self._send(ReasonCode.CONTINUE_AUTHENTICATION, step.data)  # [MQTT-4.12.0-2]
        elif isinstance(connection, Candidate):
            if is_throttled(self._means, link, connection.packet):
                self._refuse(AuthRefused(why=THROTTLED))
                return
            note_login(self._means, link, connection.packet, succeeded=True)
            identity = Identity(step.identity, authentication=self._authentication, authentication_data=step.data)
            identified(self._means, link, connection.packet, identity)
        else:
            self._means.state.logger.debug("Client%s has authenticated again.", named_client(link))
            self._send(ReasonCode.SUCCESS, step.data)  # 3.15.2.1

    def _send(self, reason_code: ReasonCode, data: bytes | None) -> None:
        """Send AUTH; where the client would not take it, or nobody could, the exchange has failed."""
        link = self._link
        connection: Candidate | Connection = link.connection
        version = connection.packet.version if isinstance(connection, Candidate) else connection.version
        try:
            packet = encode_auth(Auth(reason_code, self._authentication.method_name, data), version)  # [MQTT-4.12.0-5]
        except ValueError as error:
            self._refuse(AuthRefused(why=f"{self._whom} has answered what cannot be sent: {error}"))
            return
        if len(packet) > link.peer_packet_max:  # [MQTT-3.1.2-24]
            self._refuse(AuthRefused(why="the client takes no packet as large as its method needs"))
            return
        link.write(packet)

    def _refuse(self, step: AuthRefused) -> None:
        """End the connection: with CONNACK [MQTT-4.12.0-4], or after it with DISCONNECT [MQTT-4.12.1-2]."""
        self._authentication.give_up()
        link, state = self._link, self._means.state
        connection: Candidate | Connection = link.connection
        why = escaped(step.why)
        if isinstance(connection, Candidate):
            code = step.reason_code if step.reason_code >= 0x80 else ReasonCode.NOT_AUTHORIZED
            refuse(state, self._means.fault_log, link, connection.packet, code, why, _TOLD, FaultKind.LOGIN)
            return
        if why:
            self._means.fault_log.write(link.peer, named_client(link), why, "", state.plane.now, kind=FaultKind.LOGIN)
        legal = step.reason_code >= 0x80 and step.reason_code in reason_codes_of(PacketType.DISCONNECT)
        end_connection(state, link, last_packet(link, step.reason_code if legal else ReasonCode.NOT_AUTHORIZED, _TOLD))
