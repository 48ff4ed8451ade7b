"""Puts the hooks of plugins that watch, and those that change messages, where they are called from.

What a plugin raises is logged, at a limited rate, and nothing else happens to it; but a message that could not be
shown to a plugin that may change it is dropped, since it may be one that it would have.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from noctule._speedups.link import Link
from noctule._speedups.message import Message
from noctule._speedups.session import Session
from noctule._speedups.topics import is_of_broker
from noctule.core.access import Action
from noctule.core.clients import Client
from noctule.core.state import State
from noctule.handlers.access import AskedAccess, SessionAccess, is_allowed
from noctule.handlers.denial_log import BROKER_TOPIC_RULE
from noctule.handlers.means import Means
from noctule.hooks.answers import Drop
from noctule.hooks.table import Hook, Hooks
from noctule.protocol.constants import PacketType
from noctule.protocol.filters import check_topic_name
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of

#: How long the failures of one hook of one plugin are not logged again.
_QUIET_S: Final = 60.0


class Watching:
    """Calls hooks; one for each broker."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._state: State = means.state
        self._logger: logging.Logger = means.state.logger
        self._quiet_until: dict[tuple[str, str], float] = {}

    def call(self, name: str, hooks: Hooks, *arguments: object) -> None:
        """Call every one of them."""
        plane = self._state.plane
        was_deciding = plane.is_deciding
        plane.is_deciding = True  # nothing may change meanwhile: what a plugin publishes is put off
        try:
            for hook in hooks:
                try:
                    hook.call(*arguments)
                except Exception as error:
                    self.log_failure(name, hook, error)
        finally:
            plane.is_deciding = was_deciding

    def log_failure(self, name: str, hook: Hook, error: Exception) -> None:
        """Log what a plugin has raised, unless it has lately."""
        now = self._state.plane.now
        key = (hook.plugin, name)
        if now < self._quiet_until.get(key, now):
            return
        self._quiet_until[key] = now + _QUIET_S
        self._logger.error(
            "Plugin %s has failed in %s (not logged again for a minute)", hook.plugin, name, exc_info=error
        )

    def changed(self, client: Client | None, message: Message) -> Message | int:
        """What the plugins make of a message, or the reason code under which it goes nowhere."""
        plane = self._state.plane
        was_deciding = plane.is_deciding
        plane.is_deciding = True
        try:
            for hook in self._means.hooks.message_received:
                try:
                    answer = _checked(hook.call(client, message), self._state.settings.limits.topic_levels_max)
                except Exception as error:
                    self.log_failure("message_received", hook, error)
                    self._dropped(message, f"plugin {hook.plugin} has failed")
                    return ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
                if isinstance(answer, Drop):
                    self._dropped(message, answer.why or f"plugin {hook.plugin} has dropped it")
                    return answer.reason_code
                if answer is not None:
                    message = answer
        finally:
            plane.is_deciding = was_deciding
        return message

    def _dropped(self, message: Message, why: str) -> None:
        self.call("message_dropped", self._means.hooks.message_dropped, None, message, why)

    def will_due(self, session: Session, due: Message) -> Message | None:
        """A Will as the plugins want it; None where they, or the rules that hold now, do not let it be published."""
        message = due
        if self._means.hooks.message_received:
            changed = self.changed(session.client, message)
            if not isinstance(changed, Message):
                return None
            message = changed
        access: SessionAccess | None = session.access
        topic = message.topic.decode(errors="replace")
        if is_of_broker(message.topic):
            now = self._state.plane.now
            self._means.denial_log.write("publish its Will to", session.client, topic, BROKER_TOPIC_RULE, now)
            return None
        if access is None:
            return message
        # The answer at CONNECT was about the topic of the Will, not about one that a plugin has put in its place.
        if isinstance(access, AskedAccess) and message.topic == due.topic:
            rights = access.will_rights
        else:
            rights = access.publish_rights(message.topic)
        if is_allowed(rights, message.qos, message.retain):
            return message
        self._means.denial_log.write(
            "publish its Will to", session.client, topic, access.rule_of(Action.PUBLISH, topic), self._state.plane.now
        )
        return None


def _checked(answer: object, levels_max: int) -> Message | Drop | None:
    """An answer to ``message_received``. TypeError, PacketError and ValueError where it cannot be one."""
    if isinstance(answer, Message):
        check_topic_name(answer.topic.decode(), levels_max)
        return answer
    if isinstance(answer, Drop):
        if answer.reason_code not in reason_codes_of(PacketType.PUBACK):
            raise ValueError(f"a reason code of {answer.reason_code}, which PUBACK cannot have")
        return answer
    if answer is not None:
        raise TypeError(f"an answer of the type {type(answer).__name__}")
    return None


def watch(means: Means) -> Watching:
    """Have the hooks of the plugins called from now on; where there are none, nothing is."""
    hooks, plane, watchers = means.hooks, means.state.plane, means.state.watchers
    watching = Watching(means)

    def caller(name: str, arguments: Callable[..., tuple[object, ...]]) -> Any:
        found: Hooks = getattr(hooks, name)
        if not found:
            return None
        return lambda *given: watching.call(name, found, *arguments(*given))

    plane.watch(
        message_received=(lambda link, message: watching.changed(_client_of_link(link), message))
        if hooks.message_received
        else None,
        message_published=caller("message_published", lambda source, message: (_client_of(source), message)),
        message_delivered=caller("message_delivered", lambda session, message: (session.client_id, message)),
        message_dropped=caller(
            "message_dropped",
            lambda session, message, reason: (None if session is None else session.client_id, message, reason),
        ),
        retained_changed=caller("retained_changed", lambda topic, message: (topic.decode(), message)),
        packet_received=caller("packet_received", lambda link, packet: (_client_of_link(link), packet)),
        packet_sent=caller("packet_sent", lambda link, packet: (_client_of_link(link), packet)),
    )
    watchers.client_connected = caller("client_connected", lambda session: (session.client,))
    watchers.client_disconnected = caller("client_disconnected", lambda session, reason: (session.client, reason))
    watchers.session_created = caller("session_created", lambda session: (session.client,))
    watchers.session_ended = caller("session_ended", lambda session, reason: (session.client_id, reason))
    watchers.subscribed = caller("subscribed", lambda session, subscription, qos: (session.client, subscription, qos))
    watchers.unsubscribed = caller("unsubscribed", lambda session, text: (session.client, text))
    watchers.will_published = caller("will_published", lambda session, message: (session.client_id, message))
    watchers.will_due = watching.will_due
    return watching


def _client_of(session: Session | None) -> Client | None:
    client: Client | None = None if session is None else session.client
    return client


def _client_of_link(link: Link) -> Client | None:
    return _client_of(link.session)
