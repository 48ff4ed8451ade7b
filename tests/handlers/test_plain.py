"""Plain clients: what the data plane does by itself is what the handlers would have done."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker, DirectClient
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule._speedups.link import CLOSED, Link
from noctule._speedups.message import Message
from noctule.api import hookimpl
from noctule.config.settings import ListenerSettings, Settings
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.hooks.table import Plugin, make_table
from noctule.protocol import Connect, ProtocolVersion, SubscriptionRequest, Will, encode_connect, encode_subscribe
from noctule.protocol import Subscribe as SubscribePacket

DISCONNECT = b"\xe0\x00"


def connect(client_id: str = "c", version: ProtocolVersion = V3_1_1, **fields: Any) -> bytes:
    return encode_connect(Connect(version, client_id, **fields))


def subscribe(
    *filters: str | SubscriptionRequest, version: ProtocolVersion = V3_1_1, identifier: int | None = None
) -> bytes:
    entries = tuple(SubscriptionRequest(one) if isinstance(one, str) else one for one in filters)
    return encode_subscribe(SubscribePacket(7, entries, identifier), version)


def without_shortcut(broker: DirectBroker) -> DirectBroker:
    broker.state.plane.shortcut = None
    return broker


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Plain clients are handled by themselves where nobody reads what debugging would say."""
    logger = logging.getLogger("noctule")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)


def described(broker: DirectBroker, link: Link) -> object:
    """All that can be seen of the broker, and of one link of it."""
    state = broker.state
    counts = state.plane.counts
    sessions = {
        name: (
            session.client,
            session.owner,
            session.expiry_interval_s,
            session.connected,
            session.store_id,
            session.access,
            sorted(state.router.subscriptions_of(session)),
        )
        for name, session in state.sessions.by_client_id.items()
    }
    return (
        sessions,
        len(state.links),
        len(state.plane.deadlines),
        state.plane.deadlines.next_deadline(),
        counts["packets_sent"],
        counts["packets_received"],
        state.router.filters.node_count,
        link.state,
        link.connection,
        link.durability,
        link.keep_alive_s,
    )


def run(broker: DirectBroker, pieces: list[bytes]) -> str:
    """What becomes of a client that sends this, on a broker with another client and a retained message."""
    broker.connect("another").subscribe("r/#")
    broker.state.router.publish_message(Message(b"r/a", b"kept", 1, True, b"", broker.state.plane.now))
    link = Link(broker.state.router, broker.dispatcher, "10.0.0.1:9")
    broker.state.links.add(link)
    broker.state.plane.deadlines.schedule(link, broker.state.plane.now + 20)
    output = b""
    steps = []
    for piece in pieces:
        link.feed(piece)
        broker.state.plane.flush()
        output += link.take_output()
        steps.append(described(broker, link))
    # A client identifier that the broker has made up is another one each time.
    return re.sub("auto-[0-9a-f]{24}", "auto", repr((output, steps)))


PLAIN = [
    [connect()],
    [connect(version=V5)],
    [connect(keep_alive_s=10)],
    [connect("ä" * 100)],
    [connect(), subscribe("a/b"), DISCONNECT],
    [connect(version=V5), subscribe("a/b", version=V5), DISCONNECT],
    [connect(), subscribe("r/+", "r/#", "x"), DISCONNECT],
    [connect(), subscribe(SubscriptionRequest("r/a", 2)), DISCONNECT],
    [connect(), subscribe("a"), subscribe("a", "b"), subscribe(*"abcdefgh"), DISCONNECT],
    [connect() + subscribe("a"), DISCONNECT],
    [connect(), subscribe("/", "//", "+", "#", "$SYS/#")],
]

SPECIAL = [
    [connect() + subscribe("a") + DISCONNECT],
    [connect(clean_start=False)],
    [connect("")],
    [connect("", version=V5)],
    [connect("another")],
    [connect(user_name="ann")],
    [connect(user_name="ann", password=b"x")],
    [connect(will=Will("r/a", b"gone")), DISCONNECT],
    [connect(version=V5, session_expiry_interval_s=10), subscribe("a", version=V5), DISCONNECT],
    [connect(version=V5, receive_maximum=1)],
    [connect(version=V5, maximum_packet_size=5)],
    [connect(version=ProtocolVersion.V3_1), subscribe("a")],
    [connect(is_bridge=True), subscribe("a")],
    [connect() + connect()],
    [connect(), subscribe("a/#/b")],
    [connect(), subscribe("a+")],
    [connect(), subscribe("")],
    [connect(version=V5), subscribe("", "a/b#", "ok", version=V5)],
    [connect(version=V5), subscribe("$share/g/t", "$share/", "$shared", version=V5)],
    [connect(version=V5), subscribe("a", version=V5, identifier=3)],
    [connect(version=V5), subscribe(SubscriptionRequest("a", 1, no_local=True, retain_handling=2), version=V5)],
    [connect(), subscribe(*[f"{n}" for n in range(9)])],
    [connect(), subscribe("/".join("a" * 201))],
    [connect(), b"\x82\x02\x00\x01"],
    [connect(), b"\x82\x06\x00\x00\x00\x01a\x00"],
    [connect(), b"\x82\x06\x00\x01\x00\x01a\x03"],
    [connect(), b"\x82\x06\x00\x01\x00\x02a\x00"],
    [connect(), b"\x82\x06\x00\x01\x00\x01\x00\x00"],
    [connect(), b"\xe0\x01\x00"],
    [connect(version=V5), b"\xe0\x01\x04"],
    [connect(version=V5), b"\xe0\x07\x00\x05\x11\x00\x00\x00\x09"],
    [DISCONNECT],
    [subscribe("a")],
]


@pytest.mark.parametrize("pieces", [*PLAIN, *SPECIAL])
def test_it_is_as_the_handlers_would_have_it(pieces: list[bytes]) -> None:
    assert run(DirectBroker(), pieces) == run(without_shortcut(DirectBroker()), pieces)


@pytest.mark.parametrize("pieces", PLAIN)
def test_the_handlers_are_not_asked(pieces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison above would say nothing."""

    def fail(*arguments: object) -> None:
        raise AssertionError(arguments)

    broker = DirectBroker()
    first = broker.connect("first")
    link = Link(broker.state.router, broker.dispatcher, "10.0.0.1:9")
    broker.state.links.add(link)
    for name in ("handle_connect", "handle_subscribe", "handle_disconnect"):
        monkeypatch.setattr(f"noctule.handlers.dispatch.{name}", fail)
    for piece in pieces:
        link.feed(piece)
        broker.state.plane.flush()
        assert link.state == CLOSED or link.take_output()
    assert not first.is_closed


@settings(max_examples=300)
@given(st.sampled_from([*PLAIN, *SPECIAL]), st.data())
def test_nor_does_a_byte_that_is_wrong_make_a_difference(pieces: list[bytes], data: st.DataObject) -> None:
    changed = [bytearray(piece) for piece in pieces]
    piece = data.draw(st.sampled_from(changed))
    place = data.draw(st.integers(0, len(piece) - 1))
    piece[place] = data.draw(st.integers(0, 255))
    sent = [bytes(one) for one in changed]
    assert run(DirectBroker(), sent) == run(without_shortcut(DirectBroker()), sent)


def test_the_client_is_described_when_somebody_asks() -> None:
    broker = DirectBroker()
    client = broker.connect("c", V3_1_1)
    assert client.link.session is not None
    expected = Client("c", None, "", client.link.peer, broker.state.settings.listeners[0].name, 4)
    session = client.link.session
    assert session.client == expected
    assert session.client is session.client
    session.client = other = replace(expected, user_name="ann")
    assert session.client is other


def test_the_client_is_remembered_when_its_connection_is_lost() -> None:
    broker = DirectBroker()
    client = broker.connect("c")
    session = client.link.session
    assert session is not None
    client.lose()
    assert session.client.client_id == "c"
    assert session.client.peer == client.link.peer


def test_who_was_silent_too_long_or_is_taken_over_ends_as_everybody() -> None:
    broker = DirectBroker()
    broker.connect("other")
    silent = broker.connect("silent", V3_1_1, keep_alive_s=10)
    broker.advance(16)
    assert silent.is_closed
    old = broker.connect("c", V5)
    broker.connect("c", V5)
    assert old.told_why() == 0x8E
    assert sorted(broker.state.sessions.by_client_id) == ["c", "other"]


def test_the_last_link_of_all_is_heard_of() -> None:
    broker = DirectBroker()
    told: list[bool] = []
    broker.state.when_no_links = lambda: told.append(True)
    client = broker.connect("c", V3_1_1)
    client.send(DISCONNECT)
    assert client.is_closed
    assert told == [True]


def came_in(broker: DirectBroker, packet: bytes) -> DirectClient:
    client = broker.open(V3_1_1)
    client.send(packet)
    return client


def test_a_broker_that_stops_lets_nobody_in() -> None:
    broker = DirectBroker()
    assert came_in(broker, connect("a")).received() == [(0x20, b"\x00\x00")]
    broker.state.is_stopping = True
    assert came_in(broker, connect("b")).received() == [(0x20, b"\x00\x03")]


def test_other_settings_hold_from_the_next_client_on() -> None:
    broker = DirectBroker(Settings(allow_anonymous=True))
    assert came_in(broker, connect("a")).received() == [(0x20, b"\x00\x00")]
    broker.state.settings = replace(broker.state.settings, keep_alive_max_s=5)
    assert came_in(broker, connect("b", keep_alive_s=6)).received() == [(0x20, b"\x00\x02")]
    assert came_in(broker, connect("c", keep_alive_s=5)).received() == [(0x20, b"\x00\x00")]
    broker.state.settings = replace(broker.state.settings, allow_anonymous=False)
    assert came_in(broker, connect("d", keep_alive_s=5)).received() == [(0x20, b"\x00\x05")]


def test_each_listener_has_its_own_welcome() -> None:
    settings = Settings(
        (ListenerSettings(port=1), ListenerSettings(port=2, allow_anonymous=False)), allow_anonymous=True
    )
    broker = DirectBroker(settings)
    open_one, closed_one = settings.listeners

    def answer(client_id: str, origin: Origin) -> list[tuple[int, bytes]]:
        client = broker.open(V3_1_1)
        client.link.origin = origin
        return client.send(connect(client_id)).received()

    for number in range(100):
        host = f"10.0.0.{number}"
        assert answer(f"a{number}", Origin(open_one, host)) == [(0x20, b"\x00\x00")]
        assert answer(f"b{number}", Origin(closed_one, host)) == [(0x20, b"\x00\x05")]
        # Listeners that the settings do not name (any more) are judged by what they say themselves.
        gone = ListenerSettings(port=3 + number, allow_anonymous=number % 2 == 0)
        assert answer(f"c{number}", Origin(gone, host)) == [(0x20, b"\x00\x00" if number % 2 == 0 else b"\x00\x05")]
    # Who has proven to be somebody is not anonymous.
    assert answer("d", Origin(open_one, "10.0.1.1", "ann")) == [(0x20, b"\x00\x00")]
    session = broker.state.sessions.find("d")
    assert session is not None
    assert session.owner == "ann"


def test_no_more_subscriptions_than_a_session_may_have() -> None:
    broker = DirectBroker(subscriptions_max=2)
    client = broker.connect("c", V5)
    assert client.subscribe("a", "b", "c") == (2, 2, 0x97)
    assert client.subscribe("a") == (2,)


def test_debugging_hears_of_every_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "noctule")
    broker = DirectBroker()
    broker.connect("other")
    broker.connect("c", V3_1_1).send(DISCONNECT)
    assert "Client c disconnected." in caplog.messages
    assert any(message.startswith("New client connected from 10.0.0.1:2 as c ") for message in caplog.messages)


@pytest.mark.parametrize(
    "hook", ["client_connected", "client_disconnected", "session_created", "session_ended", "subscribed"]
)
def test_plugins_that_watch_hear_of_every_client(hook: str) -> None:
    heard: list[str] = []

    class Watcher:
        pass

    functions = {
        "client_connected": lambda self, client: heard.append(client.client_id),
        "client_disconnected": lambda self, client, reason: heard.append(client.client_id),
        "session_created": lambda self, client: heard.append(client.client_id),
        "session_ended": lambda self, client_id, reason: heard.append(client_id),
        "subscribed": lambda self, client, subscription, qos: heard.append(client.client_id),
    }
    setattr(Watcher, hook, hookimpl(functions[hook]))
    broker = DirectBroker(hooks=make_table([Plugin("watcher", Watcher())]))
    client = broker.connect("c", V3_1_1)
    client.subscribe("a")
    client.send(DISCONNECT)
    assert heard == ["c"]
