"""What a bridge needs of the broker that it belongs to, and its session there."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import trio
from noctule._speedups.session import Session
from noctule.bridges.local_end import LocalEnd
from noctule.bridges.remote import Preparation, subscribe_packets, unsubscribe_packets
from noctule.bridges.topics import TopicMap
from noctule.config.bridges import OWNER_PREFIX, BridgeSettings, RetainHandling
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.protocol import (
    FIRST_FAILURE,
    SESSION_NEVER_EXPIRES,
    Connack,
    Connect,
    Disconnect,
    PacketType,
    ProtocolVersion,
    decode_connack,
    decode_suback,
    describe,
    encode_connect,
    encode_disconnect,
)

#: The last of the packet identifiers that a side may choose; the session begins at the first.
_LAST_PACKET_ID: Final = 0xFFFF

_logger = logging.getLogger("noctule.bridges")


class Turns(Protocol):
    """How a task makes a turn of the data plane: ``noctule.net.clock.Clock``."""

    def begin_turn(self) -> None: ...

    def end_turn(self) -> None: ...


class Publish(Protocol):
    """``noctule.hooks.broker.Broker.publish``."""

    def __call__(self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False) -> int: ...


#: Speaks MQTT with a client over a stream: stream, peer, origin.
Serve = Callable[[trio.abc.Stream, str, Origin], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Here:
    """The broker that the bridges belong to."""

    state: State
    turns: Turns
    serve: Serve
    publish: Publish

    def end_session(self, client_id: str, why: str) -> None:
        """Forget a session that no bridge has any more, with all that waits in it."""
        session = self.state.sessions.find(client_id)
        if session is None:
            return
        self.turns.begin_turn()
        self.state.sessions.end(session, why)
        self.turns.end_turn()

    def end_orphans(self, bridges: Iterable[BridgeSettings]) -> None:
        """Forget the sessions of bridges that are not configured any more."""
        wanted = {one.client_id_here for one in bridges}
        for session in list(self.state.sessions):
            is_of_bridge = isinstance(session.owner, str) and session.owner.startswith(OWNER_PREFIX)
            if is_of_bridge and session.client_id not in wanted and session.outlet is None:
                _logger.info("The session %s is dropped: its bridge is not configured any more", session.client_id)
                self.end_session(session.client_id, "its bridge is not configured any more")


class SessionRefusedError(Exception):
    """This broker does not let the bridge in, or has ended its connection; the text says why."""


class LocalSession:
    """A bridge's session here, and who the bridge is."""

    def __init__(self, here: Here, preparation: Preparation, topics: TopicMap) -> None:
        settings = preparation.settings
        self.here = here
        self.topics = topics
        self.client_id = settings.client_id_here
        self.is_kept = settings.is_kept_here
        self._settings = settings
        self._origin = Origin(
            # The name alone counts: nobody listens there.
            ListenerSettings(path=Path(f"bridge {settings.name}")),
            user_name=settings.user_name_here,
            access=topics if settings.local_user_name is None else None,
        )
        #: Topic filters that have been subscribed to here since the bridge was connected last.
        self.new_filters: set[str] = set()
        #: Topic filters that the bridge has subscribed to at the other broker and does not want any more.
        self.stale_filters_there: set[str] = set()

    @property
    def session(self) -> Session | None:
        """The session, where there is one now."""
        return self.here.state.sessions.find(self.client_id)

    async def serve(self, end: LocalEnd, receive_maximum: int = 65_535) -> None:
        """Have the broker speak with the bridge over ``end`` until either side ends it."""
        origin = replace(self._origin, receive_maximum=receive_maximum)
        await self.here.serve(end, f"bridge {self._settings.name}", origin)

    def take_over(self) -> None:
        """The session belongs to the bridge, whoever had it (one of Mosquitto's was imported without an owner), and has
        the bridge's limits."""
        session = self.session
        if session is not None:
            session.owner = self._settings.user_name_here
            session.queue_max_messages = self._settings.queue_max_messages or 0
            session.queue_max_bytes = self._settings.queue_max_bytes or 0

    def connect_packet(self, version: ProtocolVersion, there: Connack | None, packet_max: int | None) -> bytes:
        """The CONNECT for this broker, with what the other one has said that it takes."""
        there = there if there is not None else Connack()
        alias_max = min(there.topic_alias_maximum, self._settings.topic_alias_max)
        return encode_connect(
            Connect(
                version,
                self.client_id,
                clean_start=not self.is_kept,
                keep_alive_s=self.here.state.settings.keep_alive_max_s,
                session_expiry_interval_s=SESSION_NEVER_EXPIRES if self.is_kept else 0,
                receive_maximum=there.receive_maximum,
                maximum_packet_size=packet_max,
                # A message that is dropped for its rate may be the one that gives an alias.
                topic_alias_maximum=0 if self._settings.rate_max_per_s else alias_max,
                is_bridge=True,
            )
        )

    def subscribe(self, version: ProtocolVersion, *, is_present: bool) -> list[bytes]:
        """The packets that make the subscriptions what the topics say, retained messages as they are wanted."""
        wanted = self.topics.filters_here
        standing = self._standing() if is_present else {}
        ids = self.free_packet_ids()
        handling = self._settings.retain_handling
        packets = unsubscribe_packets([name for name in standing if name not in wanted], version, ids)
        if handling is RetainHandling.ALWAYS:
            due = wanted
        else:
            due = {name: qos for name, qos in wanted.items() if standing.get(name) != qos or name in self.new_filters}
            # What is new is wanted even though the subscription may stand already.
            handling = RetainHandling.ALWAYS if handling is RetainHandling.NEW else handling
        return packets + [packet for packet, _ in subscribe_packets(due, version, handling, ids)]

    def _standing(self) -> dict[str, int]:
        session = self.session
        if session is None:
            return {}
        subscriptions = self.here.state.router.subscriptions_of(session)
        return {name.decode(): qos for name, share, qos, _, _ in subscriptions if share is None}

    def free_packet_ids(self) -> Iterator[int]:
        """Packet identifiers that no message in flight has, from the last on."""
        session = self.session
        for packet_id in range(_LAST_PACKET_ID, 0, -1):
            if session is None or not session.is_in_flight(packet_id):
                yield packet_id

    async def prepare(self) -> None:
        """Have the session there, with its subscriptions: from now on messages wait in it for the bridge.

        SessionRefusedError where this broker does not let the bridge in.
        """
        self.take_over()
        if not self.is_kept:
            return
        wanted = self.topics.filters_here
        standing = self._standing()
        self.new_filters |= {name for name in wanted if name not in standing}
        version = ProtocolVersion.V5
        due = {name: qos for name, qos in wanted.items() if standing.get(name) != qos}
        stale = [name for name in standing if name not in wanted]
        ids = self.free_packet_ids()
        answers = _Answers()
        end = LocalEnd(answers.take, trio.lowlevel.checkpoint)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.serve, end)
            nursery.start_soon(answers.give_up_with, end)
            end.give(self.connect_packet(version, None, None))
            await answers.connected(end)
            self.take_over()
            for packet, _ in subscribe_packets(due, version, RetainHandling.NEVER, ids):
                end.give(packet)
                await answers.answered(end)
            for packet in unsubscribe_packets(stale, version, ids):
                end.give(packet)
                await answers.answered(end)
            end.give(encode_disconnect(Disconnect(), version))
            await end.closed.wait()
            nursery.cancel_scope.cancel()


class _Answers:
    """Waits for one answer of this broker's after the other."""

    def __init__(self) -> None:
        self._connack: Connack | None = None
        self._count = 0
        self._change = trio.Event()

    def take(self, first: int, body: bytes) -> None:
        packet_type = first >> 4
        if packet_type == PacketType.CONNACK:
            self._connack = decode_connack(body, ProtocolVersion.V5, first)
        elif packet_type in (PacketType.SUBACK, PacketType.UNSUBACK):
            self._count += 1
            if packet_type == PacketType.SUBACK:
                log_refused(decode_suback(body, ProtocolVersion.V5, first).reason_codes, "this broker")
        self._change.set()

    async def give_up_with(self, end: LocalEnd) -> None:
        await end.closed.wait()
        self._change.set()

    async def _changed(self, end: LocalEnd) -> None:
        if end.closed.is_set():
            raise SessionRefusedError("this broker has ended the connection of the bridge")
        self._change = trio.Event()
        await self._change.wait()

    async def connected(self, end: LocalEnd) -> None:
        while self._connack is None:
            await self._changed(end)
        if self._connack.reason_code >= FIRST_FAILURE:
            raise SessionRefusedError(f"this broker refuses the bridge: {describe(self._connack.reason_code)}")

    async def answered(self, end: LocalEnd) -> None:
        while not self._count:
            await self._changed(end)
        self._count -= 1


def log_refused(reason_codes: Iterable[int], who: str) -> None:
    """Log that subscriptions are refused, where they are."""
    refused = [code for code in reason_codes if code >= FIRST_FAILURE]
    if refused:
        _logger.warning("%s refuses %d subscription(s) of a bridge: %s", who, len(refused), describe(refused[0]))
