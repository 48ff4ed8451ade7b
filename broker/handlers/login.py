"""Who a client is, what it may do, and whether it may come in: from a CONNECT that is well formed to its admission.

Each question is asked for itself, in this order, and where its answer is at hand the next follows in the same turn:
who it is (the transport, an exchange of enhanced authentication, a plugin); what it may do; whether its Will may be
published. Nothing of the CONNECT takes effect before all of them are answered.
"""

import dataclasses
import secrets
from dataclasses import dataclass

from noctule._speedups.link import Link
from noctule._speedups.topics import is_of_broker
from noctule.config.settings import ListenerSettings
from noctule.core.access import Action
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.handlers.access import NO_ACCESS, AskedAccess, SessionAccess, is_allowed, rights_of_verdict
from noctule.handlers.access_questions import (
    Unlimited,
    access_without_rules,
    authorized,
    checked_verdict,
    load_rules,
)
from noctule.handlers.admission import Identity, admit, origin_of, refuse
from noctule.handlers.connection import Candidate, escaped
from noctule.handlers.denial_log import BROKER_TOPIC_RULE
from noctule.handlers.fault_log import FaultKind
from noctule.handlers.means import Means
from noctule.handlers.revoking import filter_text
from noctule.hooks.answers import Allow, Credentials, Deny, Verdict
from noctule.hooks.table import Hooks, first_answer
from noctule.protocol.connect import Connect
from noctule.protocol.constants import PacketType
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of

#: All that a client hears, whatever was wrong with it.
TOLD = "not authorized"

#: What the log says of a login that was refused unseen.
THROTTLED = "too many logins have failed"


def client_of(packet: Connect, origin: Origin, peer: str, user_name: str | None) -> Client:
    """The client of a CONNECT, as plugins see it."""
    return Client(
        client_id=packet.client_id,
        user_name=user_name,
        address=origin.address,
        peer=peer,
        listener=origin.listener.name,
        protocol_version=int(packet.version),
        certificate=origin.certificate,
        transport_user_name=origin.user_name,
        clean_start=packet.clean_start,
    )


def begin_login(means: Means, link: Link, packet: Connect) -> None:
    """Find out who the client is, where it has not asked for enhanced authentication."""
    origin = origin_of(link, means.state)
    if origin.user_name is not None:
        identified(means, link, packet, Identity(origin.user_name, origin.access))
        return
    lets_anybody_in = means.hooks.admit_anonymous(means.state.settings, origin.listener)
    if packet.user_name is None and packet.password is None and lets_anybody_in:
        identified(means, link, packet, Identity(None, is_unproven=True))
        return
    hooks = _deciding(means.hooks.authenticate, origin.listener)
    if not hooks:
        if lets_anybody_in:
            # Nobody knows passwords: a user name is a name, as Mosquitto has it. Where another listener's clients have
            # to prove theirs, nobody takes one of them here.
            user_name = None if means.hooks.authenticate else packet.user_name
            identified(means, link, packet, Identity(user_name, is_unproven=True))
        else:
            _refuse_login(means, link, packet, "clients without a user name are not let in")
        return
    if is_throttled(means, link, packet):
        _refuse_login(means, link, packet, THROTTLED)
        return
    _begin_waiting(link, packet)
    client = client_of(packet, origin, link.peer, packet.user_name)
    credentials = Credentials(packet.user_name, packet.password)
    login = _Login(means, link, packet, client)

    async def question() -> object:
        answer = await first_answer(hooks, client, credentials)
        return Deny("nobody knows this client") if answer is None else checked_verdict(answer)

    means.decisions.ask(link, "authentication", question, login.authenticated)


def _deciding(hooks: Hooks, listener: ListenerSettings) -> Hooks:
    """The plugins that decide on who connects there."""
    if listener.authentication is None:
        return hooks
    return tuple(hook for hook in hooks if hook.plugin in listener.authentication)


def is_throttled(means: Means, link: Link, packet: Connect) -> bool:
    """Whether too many logins from there, or as this user, have failed lately."""
    limits = means.state.settings.limits
    return means.throttle.refuses(
        origin_of(link, means.state).address,
        packet.user_name,
        limits.login_failures_per_address,
        limits.login_failures_per_user,
        means.state.plane.now,
    )


def note_login(means: Means, link: Link, packet: Connect, *, succeeded: bool) -> None:
    """Have a login count for those to come."""
    address = origin_of(link, means.state).address
    if succeeded:
        means.throttle.succeeded(address, packet.user_name)
        return
    limits = means.state.settings.limits
    means.throttle.failed(
        address,
        packet.user_name,
        limits.login_failures_per_address,
        limits.login_failures_per_user,
        means.state.plane.now,
    )


def _begin_waiting(link: Link, packet: Connect) -> None:
    """The answer may take a while: until then the link takes nothing but AUTH and DISCONNECT."""
    if link.connection is None:
        link.connection = Candidate(packet)
        largest = packet.maximum_packet_size
        link.await_decision(packet.version, *() if largest is None else (largest,))


def _refuse_login(
    means: Means, link: Link, packet: Connect, why: str, reason_code: int = ReasonCode.NOT_AUTHORIZED
) -> None:
    """The same answer to everybody."""
    if reason_code < 0x80 or reason_code not in reason_codes_of(PacketType.CONNACK):
        reason_code = ReasonCode.NOT_AUTHORIZED
    refuse(means.state, means.fault_log, link, packet, reason_code, why, TOLD, FaultKind.LOGIN)


@dataclass(frozen=True, slots=True)
class _Login:
    """The login of one link that an answer is waited for; the link does not refer to it."""

    means: Means
    link: Link
    packet: Connect
    client: Client

    def authenticated(self, answer: object) -> None:
        """Go on with what the plugins say of who it is."""
        means, packet = self.means, self.packet
        if isinstance(answer, Allow) and is_throttled(means, self.link, packet):
            # Many guesses were under way at once: who has guessed right amid them is none the wiser.
            _refuse_login(means, self.link, packet, THROTTLED)
            return
        note_login(means, self.link, packet, succeeded=isinstance(answer, Allow))
        if isinstance(answer, Allow):
            user_name = packet.user_name if answer.user_name is None else answer.user_name
            identified(means, self.link, packet, Identity(user_name, answer.access, answer.expires_at))
            return
        user = "no user name" if packet.user_name is None else f"user {escaped(packet.user_name)}"
        why = escaped(answer.why) if isinstance(answer, Deny) and answer.why else "not authenticated"
        code = answer.reason_code if isinstance(answer, Deny) else ReasonCode.NOT_AUTHORIZED
        _refuse_login(means, self.link, packet, f"{why} ({user})", code)


def identified(means: Means, link: Link, packet: Connect, identity: Identity) -> None:
    """It is known who the client is: find out what it may do, and let it in."""
    origin = origin_of(link, means.state)
    if not packet.client_id:
        prefix = means.state.settings.client_ids.assigned_prefix
        assigned = f"{prefix}{secrets.token_hex(12)}"  # [MQTT-3.1.3-6] [MQTT-3.2.2-16]
        packet = dataclasses.replace(packet, client_id=assigned)
        is_assigned = True
    else:
        is_assigned = False
    client = client_of(packet, origin, link.peer, identity.user_name)
    _Entry(means, link, packet, identity, client, is_assigned, means.rule_changes).begin()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A client that is identified and not let in yet."""

    means: Means
    link: Link
    packet: Connect
    identity: Identity
    client: Client
    is_assigned: bool

    #: ``means.rule_changes`` when the first question was asked.
    asked_at: int

    def begin(self) -> None:
        """Find out what it may do."""
        means, access = self.means, self.identity.access
        if access is not None:
            self.has_access(means.guards.guard(access, is_of_login=True))
        elif means.hooks.load_access:
            _begin_waiting(self.link, self.packet)
            means.decisions.ask(self.link, "access", lambda: load_rules(means, self.client), self.access_loaded)
        else:
            self.has_access(access_without_rules(means))

    def access_loaded(self, answer: SessionAccess | Unlimited | None) -> None:
        """Go on with the rules of a plugin; None: it has failed, and nothing is allowed."""
        self.has_access(NO_ACCESS if answer is None else None if answer is Unlimited.YES else answer)

    def has_access(self, access: SessionAccess | None) -> None:
        """What it may do is known, where there are rules; the subscriptions that wait for it come next."""
        session = self.means.state.sessions.find(self.client.client_id)
        subscriptions = [] if session is None else self.means.state.router.subscriptions_of(session)
        if self.packet.clean_start or not subscriptions or not isinstance(access, AskedAccess):
            self.has_subscriptions(access)
            return
        asked = access
        filters = [filter_text(name.decode(), share.decode() if share else None) for name, share, *_ in subscriptions]

        async def question() -> list[Verdict]:
            return [await authorized(self.means, self.client, Action.SUBSCRIBE, text) for text in filters]

        def learn(verdicts: list[Verdict] | None) -> None:
            if verdicts is None:  # it would rely on subscriptions that nobody can say anything of
                _refuse_login(self.means, self.link, self.packet, "")
                return
            for text, verdict in zip(filters, verdicts, strict=True):
                if isinstance(verdict, Allow):
                    asked.learn_subscription(text, verdict)
            self.has_subscriptions(asked)

        _begin_waiting(self.link, self.packet)
        self.means.decisions.ask(self.link, "access", question, learn)

    def has_subscriptions(self, access: SessionAccess | None) -> None:
        """Of an old session's subscriptions it is known which are allowed; whether its Will is comes next."""
        will = self.packet.will
        if will is None:
            self.admit(access)
            return
        topic = will.topic.encode()
        if is_of_broker(topic):
            self.refuse_will(BROKER_TOPIC_RULE)
            return
        if access is None:
            self.admit(access)
            return
        if isinstance(access, AskedAccess):
            asked = access

            def learn(verdict: object) -> None:
                asked.will_rights = rights_of_verdict(verdict)
                self.judge_will(asked, asked.will_rights)

            _begin_waiting(self.link, self.packet)
            self.means.decisions.ask(
                self.link, "access", lambda: authorized(self.means, self.client, Action.PUBLISH, will.topic), learn
            )
            return
        self.judge_will(access, access.publish_rights(topic))

    def judge_will(self, access: SessionAccess, rights: int) -> None:
        """A Will that may not be published refuses its CONNECT: whoever relies on it would not be told otherwise."""
        will = self.packet.will
        if will is not None and not is_allowed(rights, will.qos, will.retain):
            self.refuse_will(access.rule_of(Action.PUBLISH, will.topic))
            return
        self.admit(access)

    def refuse_will(self, rule: str) -> None:
        """The Will may not be published, by this rule."""
        will = self.packet.will
        means = self.means
        topic = "" if will is None else will.topic
        means.denial_log.write("publish its Will to", self.client, topic, rule, means.state.plane.now)
        _refuse_login(means, self.link, self.packet, "")

    def admit(self, access: SessionAccess | None) -> None:
        """Every question is answered, if the answers are not old already."""
        if self.asked_at != self.means.rule_changes:
            dataclasses.replace(self, asked_at=self.means.rule_changes).begin()
            return
        admit(self.means, self.link, self.packet, self.client, access, self.identity, is_assigned=self.is_assigned)
