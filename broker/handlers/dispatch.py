"""The links' handler: takes each control packet to the file that handles it, and each fault to its end."""

from noctule._speedups.deadlines import Alarm, Timed
from noctule._speedups.link import DECIDING, NEW, Link
from noctule._speedups.router import RetainedExpiry
from noctule._speedups.session import Session
from noctule._speedups.topics import is_of_broker
from noctule.core.access import Action
from noctule.core.state import State
from noctule.handlers.access import AskedAccess, SessionAccess
from noctule.handlers.access_questions import authorized
from noctule.handlers.auth import handle_auth
from noctule.handlers.connect import handle_connect, refusal_of
from noctule.handlers.connection import Connection, end_connection, escaped, last_packet, named_client
from noctule.handlers.denial_log import BROKER_TOPIC_RULE
from noctule.handlers.disconnect import handle_disconnect, handle_early_disconnect
from noctule.handlers.fault_log import FaultKind
from noctule.handlers.means import Means, make_means
from noctule.handlers.plain import plain_clients
from noctule.handlers.retained_limit import RetainedLimitLog
from noctule.handlers.subscribe import handle_subscribe
from noctule.handlers.unsubscribe import handle_unsubscribe
from noctule.handlers.watching import watch
from noctule.hooks.table import HookTable
from noctule.protocol.constants import PacketType
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode


class Dispatcher:
    """What ``noctule._speedups.link.Link`` calls; one for each broker."""

    def __init__(self, state: State, hooks: HookTable | None = None) -> None:
        self._state = state
        self.means: Means = make_means(state, hooks if hooks is not None else HookTable())
        self.decisions = self.means.decisions
        self.watching = watch(self.means)
        state.router.when_retained_full = RetainedLimitLog(state)
        state.plane.shortcut = plain_clients(self.means)

    def connect(self, link: Link, body: bytes) -> None:
        """The first packet of a connection, a CONNECT."""
        try:
            handle_connect(self.means, link, body)
        except PacketError as error:
            self._log_fault(link, str(error), error.rule)
            end_connection(self._state, link, refusal_of(body, error))

    def packet(self, link: Link, first: int, body: bytes) -> None:
        """Any other packet that the data plane does not handle itself."""
        session = link.session
        try:
            match first >> 4:
                case PacketType.AUTH:
                    handle_auth(self.means, link, first, body)
                case PacketType.DISCONNECT if session is None:
                    handle_early_disconnect(self._state, link, first, body)
                case _ if session is None:
                    raise RuntimeError("before CONNACK a link hands out AUTH and DISCONNECT alone")
                case PacketType.SUBSCRIBE:
                    handle_subscribe(self.means, link, session, first, body)
                case PacketType.UNSUBSCRIBE:
                    handle_unsubscribe(self.means, link, session, first, body)
                case PacketType.DISCONNECT:
                    handle_disconnect(self._state, link, session, first, body)
                case _:
                    self.violation(link, ReasonCode.PROTOCOL_ERROR, "a second CONNECT", "MQTT-3.1.0-2")
        except PacketError as error:
            self.violation(link, error.reason_code, str(error), error.rule)

    def violation(self, link: Link, reason_code: int, text: str, rule: str) -> None:
        """The peer broke a rule: its connection ends, and version 5 is told why [MQTT-4.13.1-1]."""
        # What is wrong before the first packet, and no rule of MQTT's, is the matter of TLS, WebSocket or a proxy.
        is_handshake = link.state == NEW and link.filter is not None and not rule
        self._log_fault(link, text, rule, FaultKind.HANDSHAKE if is_handshake else FaultKind.PACKET)
        end_connection(self._state, link, last_packet(link, reason_code, text), reason=text)

    def denied(self, link: Link, topic: bytes) -> None:
        """A message that the client may not publish has come."""
        session = link.session
        if session is not None:
            name = topic.decode(errors="replace")
            access: SessionAccess | None = session.access
            rule = BROKER_TOPIC_RULE
            if not is_of_broker(topic):
                rule = "" if access is None else access.rule_of(Action.PUBLISH, name)
            self.means.denial_log.write("publish to", session.client, name, rule, self._state.plane.now)

    def undecided(self, link: Link, topic: bytes) -> None:
        """Whether the client may publish there has not been asked yet."""
        session = link.session
        access = session.access if session is not None else None
        if session is None or not isinstance(access, AskedAccess):
            return
        means, client = self.means, session.client
        means.decisions.ask(
            link,
            "access",
            lambda: authorized(means, client, Action.PUBLISH, topic.decode()),
            lambda verdict: access.learn_publish(topic, verdict),
        )

    def lost(self, link: Link, cause: str) -> None:
        """The connection is gone without DISCONNECT."""
        session = link.session
        if session is not None:
            self._state.logger.debug("Client %s is gone: %s.", escaped(session.client_id), cause)
        if isinstance(link.connection, Connection) and link.connection.end is not None:
            self._state.plane.deadlines.cancel(link.connection.end)
        link.close()  # there is nobody to send anything to
        if session is not None:
            self._state.sessions.connection_ended(session, cause, publish_will=True)

    def closed(self, link: Link) -> None:
        """The link is closed, whoever did it."""
        self._state.links.discard(link)
        self.decisions.forget(link)
        if not self._state.links and self._state.when_no_links is not None:
            self._state.when_no_links()

    def deadline(self, item: Timed) -> None:
        """A deadline has come: of a session without connection, or of a link."""
        if isinstance(item, Session):
            self._state.sessions.look_at(item)
        elif isinstance(item, RetainedExpiry):
            self._state.router.expire_retained(item)
        elif isinstance(item, Alarm):
            item.call()
        elif isinstance(item, Link) and item.overdue(self._state.plane.now):
            self._overdue(item)

    def _overdue(self, link: Link) -> None:
        """The peer has let its time pass: to say CONNECT, to speak at all, or to read what it was sent last."""
        session = link.session
        if session is not None:
            self._state.logger.debug("Client %s has exceeded timeout, disconnecting.", escaped(session.client_id))
            packet = last_packet(link, ReasonCode.KEEP_ALIVE_TIMEOUT)
            end_connection(self._state, link, packet, reason="it has been silent too long")
        elif link.state == NEW:
            self._log_fault(link, "no CONNECT in time", "", FaultKind.SILENCE)
            end_connection(self._state, link, b"")
        elif link.state == DECIDING:
            text = "no decision about CONNECT in time"
            self._log_fault(link, text, "", FaultKind.DECISION)
            end_connection(self._state, link, last_packet(link, ReasonCode.NOT_AUTHORIZED, text))
        else:
            link.close()

    def _log_fault(self, link: Link, text: str, rule: str, kind: FaultKind = FaultKind.PACKET) -> None:
        self.means.fault_log.write(link.peer, named_client(link), text, rule, self._state.plane.now, kind=kind)
