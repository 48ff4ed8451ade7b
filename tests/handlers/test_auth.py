"""AUTH: enhanced authentication before CONNACK and again after it, with methods that say what the test wants."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from handlers.direct_links import PINGREQ, PINGRESP, START_S, V3_1_1, V5, DirectBroker, DirectClient
from noctule._speedups.codec import encode_ack, encode_publish
from noctule._speedups.link import CLOSED, DECIDING, ENDING, OPEN
from noctule.config.settings import Settings
from noctule.core.authentication import AuthContinue, AuthRefused, AuthSuccess, Claimant
from noctule.core.state import make_state
from noctule.protocol import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    decode_auth,
    decode_connack,
    decode_disconnect,
    encode_auth,
    encode_connect,
    encode_disconnect,
    encode_subscribe,
    encode_unsubscribe,
)

METHOD = "TEST"
CONTINUE, AGAIN = 0x18, 0x19
CONNECT = Connect(V5, "c", authentication_method=METHOD, authentication_data=b"first")


class ScriptedMethod:
    """Answers with what it was given, in its order; what is callable is called with the data."""

    def __init__(self, *answers: Any, name: str = METHOD) -> None:
        self.name = name
        self.answers = list(answers)
        self.heard: list[bytes | None] = []
        self.claimants: list[Claimant] = []
        self.exchanges: list[weakref.ref[ScriptedExchange]] = []

    def start(self, claimant: Claimant) -> "ScriptedExchange":
        self.claimants.append(claimant)
        exchange = ScriptedExchange(self)
        self.exchanges.append(weakref.ref(exchange))
        return exchange


class ScriptedExchange:
    def __init__(self, method: ScriptedMethod) -> None:
        self._method = method

    def step(self, data: bytes | None) -> Any:
        self._method.heard.append(data)
        answer = self._method.answers.pop(0)
        return answer(data) if callable(answer) else answer


def raises(error: Exception) -> Callable[[object], object]:
    def fail(data: object) -> object:
        raise error

    fail.__qualname__ = repr(error)
    return fail


def shown(value: object) -> str:
    """The value in the test's name, the same in every run."""
    return value.__qualname__ if inspect.isfunction(value) else str(value)


def broker_with(*answers: Any, **limits: Any) -> tuple[DirectBroker, ScriptedMethod]:
    broker = DirectBroker(**limits)
    method = ScriptedMethod(*answers)
    broker.state.authentication_methods = {method.name: method}
    return broker, method


def auth(code: int = CONTINUE, data: bytes | None = None, method: str | None = METHOD) -> bytes:
    return encode_auth(Auth(code, method, data), V5)


def answer_of(client: DirectClient) -> Auth:
    ((first, body),) = client.received()
    return decode_auth(body, V5, first)


def connack_of(client: DirectClient) -> Connack:
    ((first, body),) = client.received()
    return decode_connack(body, V5, first)


def connected(broker: DirectBroker, packet: Connect = CONNECT) -> DirectClient:
    """A client whose method says yes at once."""
    client = broker.open()
    connack = client.connect(packet)
    assert connack is not None
    assert connack.reason_code == 0
    return client


# --- before CONNACK ---


def test_a_method_that_says_yes_at_once() -> None:
    """[MQTT-4.12.0-5]"""
    broker, method = broker_with(AuthSuccess("ann", b"last"))
    client = broker.open()
    connack = client.connect(Connect(V5, "c", user_name="bob", authentication_method=METHOD, authentication_data=b"d"))
    assert connack is not None
    assert (connack.reason_code, connack.authentication_method, connack.authentication_data) == (0, METHOD, b"last")
    assert client.link.state == OPEN
    assert client.link.session.client.user_name == "ann"
    assert method.heard == [b"d"]
    assert method.claimants == [Claimant("c", "bob", "10.0.0.1:1")]


def test_a_connack_without_method_names_none() -> None:
    """[MQTT-4.12.0-6]"""
    broker, _ = broker_with()
    connack = broker.connect("c").connack
    assert connack is not None
    assert (connack.authentication_method, connack.authentication_data) == (None, None)


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
def test_an_exchange_of_several_steps(cut: bool) -> None:
    """[MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5]"""
    broker, method = broker_with(AuthContinue(b"1"), AuthContinue(), AuthSuccess("ann"))
    client = broker.open()

    def send(packet: bytes) -> None:
        for piece in [packet[i : i + 1] for i in range(len(packet))] if cut else [packet]:
            client.send(piece)

    send(encode_connect(CONNECT))
    assert answer_of(client) == Auth(CONTINUE, METHOD, b"1")
    assert client.link.state == DECIDING
    send(auth(data=b"second"))
    assert answer_of(client) == Auth(CONTINUE, METHOD)
    send(auth())
    connack = connack_of(client)
    assert (connack.reason_code, connack.authentication_method, connack.authentication_data) == (0, METHOD, None)
    assert method.heard == [b"first", b"second", None]
    assert client.send(PINGREQ).received() == [PINGRESP]


def test_nothing_takes_effect_before_the_method_has_said_yes() -> None:
    """A10: no takeover, no session, no Will."""
    broker, _ = broker_with(AuthContinue(b"1"), AuthSuccess("ann"), AuthContinue(b"1"), AuthRefused())
    old = broker.connect("c", session_expiry_interval_s=100, user_name="ann")
    old.subscribe("t")
    packet = Connect(V5, "c", will=Will("t", b"boo"), authentication_method=METHOD)
    for last, state in (("yes", OPEN), ("no", ENDING)):
        client = broker.open()
        client.send(encode_connect(packet))
        assert (old.link.state, len(broker.state.sessions)) == (OPEN, 1)
        client.received()
        client.send(auth())
        assert client.link.state == state, last
        if last == "yes":
            assert old.told_why() == 0x8E
            old = client
            client.received()
            client.subscribe("t")
    client.lose()
    broker.advance(60)
    assert old.link.state == OPEN
    assert old.received() == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0x87, 0x87),
        (0x86, 0x86),
        (0x8C, 0x8C),
        (0x8A, 0x8A),
        (0x8D, 0x87),
        (0xA2, 0x87),
        (0, 0x87),
        (0x18, 0x87),
        (999, 0x87),
    ],
)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_refusal_has_the_methods_code_where_connack_can_carry_it(code: int, told: int, steps: int) -> None:
    """[MQTT-4.12.0-4] [MQTT-3.2.2-8]; what was wrong in detail is not for the client."""
    broker, _ = broker_with(*[AuthContinue()] * steps, AuthRefused(code, "secret detail"))
    client = broker.open()
    client.send(encode_connect(CONNECT))
    for _ in range(steps):
        client.received()
        client.send(auth())
    connack = connack_of(client)
    assert connack.reason_code == told
    assert "secret" not in (connack.reason_string or "")
    assert client.link.state == ENDING
    assert len(broker.state.sessions) == 0
    broker.advance(60)
    assert client.is_closed


@pytest.mark.parametrize(
    "answer",
    [
        None,
        raises(ValueError("bad")),
        raises(KeyError("\n")),
        True,
        b"yes",
        AuthSuccess(None),  # type: ignore[arg-type]
        AuthSuccess("ann", "text"),  # type: ignore[arg-type]
        AuthContinue("text"),  # type: ignore[arg-type]
        AuthSuccess("ann", bytes(70_000)),
        AuthContinue(bytes(70_000)),
    ],
    ids=shown,
)
def test_whatever_is_no_yes_is_a_no(answer: Any) -> None:
    """amqtt 0.10.1: an exception in a plugin let everybody in."""
    broker, _ = broker_with(answer)
    client = broker.open()
    connack = client.connect(CONNECT)
    assert connack is not None
    assert connack.reason_code >= 0x80
    assert len(broker.state.sessions) == 0


def test_a_method_that_cannot_begin_is_a_no() -> None:
    broker, method = broker_with()
    method.start = raises(OSError("no key"))  # type: ignore[assignment, method-assign]
    connack = broker.open().connect(CONNECT)
    assert connack is not None
    assert connack.reason_code == 0x87
    assert broker.dispatcher.decisions.counts.failed == 1


OTHER_PACKETS = [
    encode_connect(CONNECT),
    encode_connect(Connect(V5, "d")),
    b"\x20\x03\x00\x00\x00",
    encode_publish(b"t", b"x", 5),
    encode_publish(b"t", b"x", 5, 2, packet_id=1),
    *(encode_ack(packet_type, 1, 5) for packet_type in (4, 5, 6, 7)),
    encode_subscribe(Subscribe(1, (SubscriptionRequest("#"),)), V5),
    b"\x90\x04\x00\x01\x00\x00",
    encode_unsubscribe(Unsubscribe(1, ("#",)), V5),
    b"\xb0\x04\x00\x01\x00\x00",
    PINGREQ,
    b"\xd0\x00",
    b"\x00\x00",
    b"\x30\xff\xff\x7f",  # of a packet that is announced as large, the header alone
    b"\xf0\xff\xff\x7f",
]


@pytest.mark.parametrize("wire", OTHER_PACKETS, ids=lambda wire: wire[:3].hex())
def test_only_auth_and_disconnect_come_before_connack(wire: bytes) -> None:
    """[MQTT-3.1.2-30]: and the answer is CONNACK, since no DISCONNECT may come before it [MQTT-3.14.0-1]."""
    broker, method = broker_with(AuthContinue())
    watching = broker.connect("watching")
    watching.subscribe("#")
    client = broker.open()
    client.send(encode_connect(CONNECT))
    client.received()
    client.send(wire, auth(), PINGREQ)
    assert connack_of(client).reason_code == (0x95 if wire[0] == 0xF0 else 0x82)
    assert client.link.state == ENDING
    assert len(method.heard) == 1
    assert watching.received() == []
    assert len(broker.state.sessions) == 1


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (auth(method="OTHER"), 0x82),
        (auth(method="test"), 0x82),
        (auth(0), 0x82),
        (b"\xf0\x00", 0x82),
        (auth(AGAIN), 0x82),
        (b"\xf0\x02\x18\x00", 0x82),  # no method
        (b"\xf0\x01\x18", 0x81),
        (b"\xf0\x02\x87\x00", 0x82),
        (b"\xf1" + auth()[1:], 0x81),
        (b"\xf0\x05\x18\x03\x15\x00\x09", 0x81),
        (auth()[:1] + bytes((auth()[1] + 1,)) + auth()[2:] + b"x", 0x81),
        (b"\xe0\x01\x87", 0x82),
        (b"\xe1\x00", 0x81),
    ],
    ids=lambda found: found.hex() if isinstance(found, bytes) else hex(found),
)
def test_an_auth_that_is_wrong_before_connack(packet: bytes, code: int) -> None:
    """[MQTT-3.15.1-1] [MQTT-3.15.2-1] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.14.1-1]"""
    broker, method = broker_with(AuthContinue(), AuthSuccess("ann"))
    client = broker.open()
    client.send(encode_connect(CONNECT))
    client.received()
    client.send(packet)
    assert connack_of(client).reason_code == code
    assert client.link.state == ENDING
    assert len(method.heard) == 1
    assert len(broker.state.sessions) == 0


@pytest.mark.parametrize("code", [0, 4])
def test_a_client_may_give_up_before_connack(code: int) -> None:
    """[MQTT-3.1.2-30]: it gets no answer, and there is no Will to publish."""
    broker, _ = broker_with(AuthContinue())
    watching = broker.connect("watching")
    watching.subscribe("#")
    client = broker.open()
    client.send(encode_connect(Connect(V5, "c", will=Will("w", b"p"), authentication_method=METHOD)))
    client.received()
    client.send(encode_disconnect(Disconnect(code), V5))
    assert client.is_closed
    assert client.received() == watching.received() == []
    assert len(broker.state.sessions) == len(broker.state.links) == 1


def test_the_exchange_has_the_time_that_connect_has() -> None:
    """R1: one deadline from the first byte on, whatever is sent meanwhile."""
    broker, _ = broker_with(*[AuthContinue()] * 9, connect_timeout_s=10)
    client = broker.open()
    broker.advance(5)
    client.send(encode_connect(CONNECT))
    for _ in range(4):
        broker.advance(1)
        client.send(auth())
    client.received()
    broker.advance(0.999)
    assert client.link.state == DECIDING
    broker.advance(0.001)
    assert connack_of(client).reason_code == 0x87
    broker.advance(60)
    assert client.is_closed
    assert not broker.state.links


def test_an_exchange_has_no_more_steps_than_the_limit() -> None:
    """A13"""
    broker, method = broker_with(*[AuthContinue()] * 100, auth_steps_max=4)
    client = broker.open()
    client.send(encode_connect(CONNECT))
    for _ in range(3):
        assert answer_of(client).reason_code == CONTINUE
        client.send(auth())
    client.received()
    client.send(auth(), auth())
    assert connack_of(client).reason_code == 0x87
    assert len(method.heard) == 4


def test_an_auth_larger_than_the_client_takes_is_not_sent() -> None:
    """[MQTT-3.1.2-24]"""
    broker, _ = broker_with(AuthContinue(bytes(50)))
    client = broker.open()
    client.send(encode_connect(Connect(V5, "c", maximum_packet_size=60, authentication_method=METHOD)))
    assert connack_of(client).reason_code == 0x87


def test_a_connack_larger_than_the_client_takes_is_not_sent() -> None:
    """[MQTT-3.1.2-24]: and nothing takes effect then."""
    broker, _ = broker_with(AuthSuccess("ann", bytes(50)))
    old = broker.connect("c", user_name="ann")
    client = broker.open()
    client.send(encode_connect(Connect(V5, "c", maximum_packet_size=60, authentication_method=METHOD)))
    connack = connack_of(client)
    assert (connack.reason_code, connack.authentication_data) == (0x83, None)
    assert old.link.state == OPEN


def test_what_is_behind_connect_comes_after_a_yes_at_once() -> None:
    broker, _ = broker_with(AuthSuccess("ann"))
    client = broker.open()
    client.send(encode_connect(CONNECT), PINGREQ)
    assert [first for first, _ in client.received()] == [0x20, 0xD0]


def test_a_client_without_name_is_given_one() -> None:
    """[MQTT-3.2.2-16]"""
    broker, method = broker_with(AuthContinue(), AuthSuccess("ann"))
    client = broker.open()
    client.send(encode_connect(Connect(V5, "", authentication_method=METHOD)))
    client.received()
    client.send(auth())
    assert connack_of(client).assigned_client_identifier == client.link.session.client_id  # type: ignore[union-attr]
    assert method.claimants[0].client_id == ""


def test_two_methods_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="TEST"):
        make_state(Settings(), [ScriptedMethod(), ScriptedMethod()])
    state = make_state(Settings(), [ScriptedMethod(), ScriptedMethod(name="other")])
    assert sorted(state.authentication_methods) == ["TEST", "other"]


def test_an_exchange_is_forgotten_with_its_end_and_with_its_connection() -> None:
    """The collector does not look at links: nothing here may refer in circles."""
    ends: list[Callable[[DirectClient], object]] = [
        DirectClient.lose,
        lambda client: client.send(PINGREQ),
        lambda client: client.send(auth()),
    ]
    for end in ends:
        broker, method = broker_with(AuthContinue(), AuthSuccess("ann"))
        client = broker.open()
        client.send(encode_connect(CONNECT))
        assert method.exchanges[0]() is not None
        end(client)
        del client
        broker.advance(60)
        assert method.exchanges[0]() is None


# --- without a method ---


def test_auth_without_a_method_in_connect() -> None:
    """[MQTT-4.12.0-7]"""
    for code in (CONTINUE, AGAIN):
        broker, method = broker_with(AuthSuccess("ann"))
        client = broker.connect("c").send(auth(code))
        assert client.told_why() == 0x82
        assert method.heard == []


def test_there_is_no_auth_below_version_5() -> None:
    broker, _ = broker_with()
    client = broker.connect("c", V3_1_1).send(auth())
    assert client.link.state == CLOSED
    assert client.received() == []


# --- again ---


def test_authenticating_again() -> None:
    """[MQTT-4.12.1-1], 3.15.2.1: what comes meanwhile is handled as before."""
    broker, method = broker_with(AuthSuccess("ann"), AuthContinue(b"1"), AuthSuccess("ann", b"last"))
    client = connected(broker)
    client.send(auth(AGAIN, b"again"))
    assert answer_of(client) == Auth(CONTINUE, METHOD, b"1")
    assert client.subscribe("t") == (2,)
    client.publish("t", b"x")
    assert client.payloads() == [b"x"]
    client.send(auth(data=b"proof"))
    assert answer_of(client) == Auth(0, METHOD, b"last")
    assert client.link.state == OPEN
    assert method.heard == [b"first", b"again", b"proof"]
    assert [claimant.identity for claimant in method.claimants] == [None, "ann"]


def test_authenticating_again_and_again() -> None:
    broker, _ = broker_with(*[AuthSuccess("ann")] * 4)
    client = connected(broker)
    for _ in range(3):
        client.send(auth(AGAIN))
        assert answer_of(client).reason_code == 0
        broker.advance(1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (AuthRefused(), 0x87),
        (AuthRefused(0x8C), 0x8C),
        (AuthRefused(0x86), 0x87),  # CONNACK has it, DISCONNECT has not
        (AuthRefused(0), 0x87),
        (AuthSuccess("eve"), 0x87),
        (AuthContinue(bytes(70_000)), 0x87),
        (None, 0x87),
        (raises(ValueError()), 0x87),
    ],
    ids=shown,
)
@pytest.mark.parametrize("steps", [0, 1])
def test_failing_to_authenticate_again_ends_the_connection(answer: Any, code: int, steps: int) -> None:
    """[MQTT-4.12.1-2], A13: nor does a connection become somebody else's. The Will is published."""
    broker, _ = broker_with(AuthSuccess("ann"), *[AuthContinue()] * steps, answer)
    watching = broker.connect("watching")
    watching.subscribe("w")
    client = connected(broker, Connect(V5, "c", will=Will("w", b"gone"), authentication_method=METHOD))
    client.send(auth(AGAIN))
    for _ in range(steps):
        client.received()
        client.send(auth())
    assert client.told_why() == code
    assert watching.payloads() == [b"gone"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([auth()], 0x82),
        ([auth(0)], 0x82),
        ([b"\xf0\x00"], 0x82),
        ([auth(AGAIN, method="OTHER")], 0x82),
        ([auth(AGAIN), auth(AGAIN)], 0x82),
        ([auth(AGAIN), auth(0)], 0x82),
        ([auth(AGAIN), auth(method="OTHER")], 0x82),
        ([auth(AGAIN), b"\xf0\x01\x18"], 0x81),
    ],
    ids=["0x18", "0", "empty", "other", "twice", "then 0", "then other", "then cut"],
)
def test_an_auth_that_is_wrong_on_a_connection(sent: list[bytes], code: int) -> None:
    """[MQTT-4.12.1-1] [MQTT-4.12.0-5] [MQTT-3.15.2-1]"""
    broker, _ = broker_with(AuthSuccess("ann"), AuthContinue(), AuthSuccess("ann"))
    client = connected(broker)
    *before, last = sent
    for packet in before:
        client.send(packet)
        client.received()
    client.send(last)
    assert client.told_why() == code


def test_after_the_last_step_an_exchange_is_over() -> None:
    broker, _ = broker_with(AuthContinue(), AuthSuccess("ann"), AuthSuccess("ann"))
    client = broker.open()
    client.send(encode_connect(CONNECT), auth(), auth())
    packets = client.received()
    assert [first for first, _ in packets] == [0xF0, 0x20, 0xE0]
    assert decode_disconnect(packets[-1][1], V5, from_server=True).reason_code == 0x82


def test_a_flood_of_auth_ends_the_connection() -> None:
    """R18"""
    broker, method = broker_with(*[AuthSuccess("ann")] * 1_000, auth_per_minute_max=20)
    client = connected(broker)
    for _ in range(3):
        for _ in range(20):
            client.send(auth(AGAIN))
        assert client.link.state == OPEN
        client.received()
        broker.advance(60)
    client.send(*[auth(AGAIN)] * 500)
    packets = client.received()
    assert decode_disconnect(packets[-1][1], V5, from_server=True).reason_code == 0x96
    assert len(method.heard) == 81


def test_an_auth_larger_than_the_client_takes_ends_the_connection() -> None:
    """[MQTT-3.1.2-24]"""
    broker, _ = broker_with(AuthSuccess("ann"), AuthSuccess("ann", bytes(50)))
    client = connected(broker, Connect(V5, "c", maximum_packet_size=60, authentication_method=METHOD))
    client.send(auth(AGAIN))
    assert client.told_why() == 0x87


def test_refusals_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """R20, and no line without the client's name, none with its secret."""
    broker, _ = broker_with(*[AuthRefused(why="wrong\nproof")] * 500)
    for _ in range(500):
        broker.open().connect(CONNECT)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5
    assert all("(c)" in line and line.isprintable() and "first" not in line for line in lines)


def test_a_broker_that_runs_for_long_counts_from_now() -> None:
    """The count of AUTH packets begins with the first one, whenever that is."""
    broker, _ = broker_with(*[AuthSuccess("ann")] * 3, auth_per_minute_max=1)
    client = connected(broker)
    broker.advance(START_S)
    client.send(auth(AGAIN))
    assert answer_of(client).reason_code == 0
