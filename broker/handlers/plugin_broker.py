"""The broker as plugins see it: publish, who is connected, end a connection, rules that have changed."""

from collections import deque
from typing import Final

import trio
from noctule._speedups.link import Link
from noctule._speedups.message import Message
from noctule.core.clients import Client
from noctule.handlers.connection import end_connection, escaped, last_packet
from noctule.handlers.decisions import Turns
from noctule.handlers.means import Means
from noctule.handlers.rejudging import Rejudging
from noctule.handlers.watching import Watching
from noctule.protocol.constants import PacketType
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of

#: Messages of plugins that were published from within a hook and wait for the end of the turn.
_LATER_MAX: Final = 10_000


class PluginBroker:
    """``noctule.hooks.broker.Broker`` in fact. One for each broker."""

    def __init__(self, means: Means, watching: Watching, rejudging: Rejudging, turns: Turns) -> None:
        self._means = means
        self._rejudging = rejudging
        self._watching = watching
        self._turns = turns
        self._nursery: trio.Nursery | None = None
        self._later: deque[Message] = deque()

    def work_in(self, nursery: trio.Nursery) -> None:
        """From now on rules may be loaded again, by tasks of ``nursery``."""
        self._nursery = nursery

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
    ) -> int:
        """As ``noctule.hooks.broker.Broker`` has it. From within a hook that watches or decides it is put off to the
        end of the turn, and 0 comes back."""
        if qos not in (0, 1, 2):
            raise ValueError(f"a QoS of {qos!r}")
        data = payload.encode() if isinstance(payload, str) else bytes(memoryview(payload))
        try:
            check_topic_name(topic, self._means.state.settings.limits.topic_levels_max)
            message = Message(topic.encode(), data, qos, retain, properties, trio.current_time())
        except PacketError as error:
            raise ValueError(str(error)) from None
        if self._means.state.plane.is_deciding:
            if len(self._later) >= _LATER_MAX:
                raise RuntimeError(f"{_LATER_MAX} messages wait to be published")
            if not self._later:
                trio.lowlevel.current_trio_token().run_sync_soon(self._publish_later)
            self._later.append(message)
            return 0
        return self._publish(message)

    def _publish(self, message: Message) -> int:
        self._turns.begin_turn()
        changed = self._watching.changed(None, message)
        count = self._means.state.router.publish_message(changed) if isinstance(changed, Message) else 0
        self._turns.end_turn()
        return count

    def _publish_later(self) -> None:
        try:
            for _ in range(len(self._later)):
                self._publish(self._later.popleft())
        except Exception:  # trio would end with it
            self._means.state.logger.exception("An error of the broker's; a message of a plugin's is lost")
        if self._later:
            trio.lowlevel.current_trio_token().run_sync_soon(self._publish_later)

    def clients(self) -> list[Client]:
        """As ``noctule.hooks.broker.Broker`` has it."""
        return [link.session.client for link in self._means.state.links if link.session is not None]

    def disconnect(self, client_id: str, reason_code: int = ReasonCode.ADMINISTRATIVE_ACTION, why: str = "") -> bool:
        """As ``noctule.hooks.broker.Broker`` has it."""
        if reason_code < 0x80 or reason_code not in reason_codes_of(PacketType.DISCONNECT):
            raise ValueError(f"a reason code of {reason_code}, which cannot end a connection")
        session = self._means.state.sessions.find(client_id)
        link = session.outlet if session is not None else None
        if not isinstance(link, Link):
            return False
        text = why or "an administrative action"
        if self._means.state.plane.is_deciding:
            trio.lowlevel.current_trio_token().run_sync_soon(self._disconnect_later, link, reason_code, text)
        else:
            self._disconnect(link, reason_code, text)
        return True

    def _disconnect(self, link: Link, reason_code: int, why: str) -> None:
        state = self._means.state
        session = link.session
        if session is None:
            return
        self._turns.begin_turn()
        state.logger.info("Client %s: disconnected, %s.", escaped(session.client_id), escaped(why))
        end_connection(state, link, last_packet(link, reason_code), reason=why)
        self._turns.end_turn()

    def _disconnect_later(self, link: Link, reason_code: int, why: str) -> None:
        """This connection, not the one that the client may have by now."""
        try:
            self._disconnect(link, reason_code, why)
        except Exception:  # trio would end with it
            self._means.state.logger.exception("An error of the broker's while a connection ends")

    def access_changed(self, client_id: str | None = None) -> None:
        """As ``noctule.hooks.broker.Broker`` has it; the rules are asked for again by a task of the broker's."""
        state = self._means.state
        if state.plane.is_deciding:
            trio.lowlevel.current_trio_token().run_sync_soon(self.access_changed, client_id)
            return
        self._means.rule_changes += 1
        if client_id is None:
            sessions = list(state.sessions)
        else:
            session = state.sessions.find(client_id)
            sessions = [] if session is None else [session]
        state.router.access_changed()
        if self._nursery is not None and sessions:
            self._nursery.start_soon(self._rejudging.judge_again, sessions)
