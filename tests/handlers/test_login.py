"""Who comes in and whose a client identifier is: A5, A7, A9, A10, A11, A13, and logins that end at a time."""

import time
from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import YES, Authenticates, Authorizes, LoadsAccess, Rules, broker_with, named
from net.stream_clients import V3_1_1, V5, RunningBroker, StreamClient, run_mocked
from noctule._speedups.codec import decode_ack, decode_publish, encode_ack, encode_publish
from noctule.api import Action, Allow, AuthRefused, AuthSuccess, Claimant, Client, Credentials, Deny, hookimpl
from noctule.config.settings import Settings
from noctule.core.origin import Origin
from noctule.handlers.denial_log import LINES_PER_ADDRESS
from noctule.protocol import (
    Auth,
    Connack,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    decode_suback,
    encode_auth,
    encode_subscribe,
    encode_unsubscribe,
)

KEPT: dict[str, Any] = {"clean_start": False, "session_expiry_interval_s": 1_000}


class Passwords:
    """Everybody's password is the user's name turned round."""

    def __init__(self) -> None:
        self.checked = 0

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Allow | Deny:
        self.checked += 1
        await trio.lowlevel.checkpoint()
        name = credentials.user_name or ""
        return Allow() if credentials.password == name[::-1].encode() and name else Deny("wrong password")


def open_from(running: RunningBroker, address: str) -> StreamClient:
    """A connection in memory that comes from there."""
    stream, far = trio.testing.memory_stream_pair()
    running.streams.append(stream)
    origin = Origin(Settings().listeners[0], address)
    running._nursery.start_soon(running.broker.serve_stream, far, f"{address}:{len(running.streams)}", origin)
    return StreamClient(stream)


async def log_in(
    running: RunningBroker,
    user_name: str | None,
    password: bytes = b"?",
    client_id: str = "",
    address: str = "10.0.0.1",
    **fields: Any,
) -> Connack:
    client = open_from(running, address)
    return await client.connect(client_id, user_name=user_name, password=password, **fields)


async def come_in(running: RunningBroker, user_name: str, client_id: str = "c", **fields: Any) -> StreamClient:
    client = await running.open()
    connack = await client.connect(client_id, user_name=user_name, password=user_name[::-1].encode(), **fields)
    assert connack.reason_code == 0
    return client


async def settled() -> None:
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()


# --- A5: guessing ---


def test_who_guesses_is_refused_unseen_and_hears_the_same() -> None:
    plugin = Passwords()

    async def main() -> None:
        async with broker_with(plugin, allow_anonymous=False, login_failures_per_address=3) as running:
            wrong = {await log_in(running, "ann") for _ in range(3)}
            assert plugin.checked == 3
            wrong.add(await log_in(running, "ann", b"nna"))
            wrong.add(await log_in(running, "bob", b"bob"))
            assert plugin.checked == 3  # not even looked at
            assert len(wrong) == 1
            await trio.sleep(20)  # a minute by three
            assert (await log_in(running, "ann", b"nna")).reason_code == 0

    run_mocked(main)


def test_guesses_at_one_user_from_many_addresses() -> None:
    """The user is held up, but not from where the user has logged in before."""

    async def main() -> None:
        async with broker_with(
            Passwords(), allow_anonymous=False, login_failures_per_user=3, login_failures_per_address=0
        ) as running:

            async def from_there(address: str, password: bytes) -> int:
                return (await log_in(running, "ann", password, address=address)).reason_code

            assert await from_there("10.0.0.1", b"nna") == 0
            for number in range(3):
                assert await from_there(f"10.0.1.{number}", b"guess") == 0x87
            assert await from_there("10.0.0.2", b"nna") == 0x87
            assert await from_there("10.0.0.1", b"nna") == 0

    run_mocked(main)


def test_guesses_that_are_made_at_once_are_not_answered() -> None:
    """However many are under way: behind the third wrong one, the right one is refused too."""

    async def main() -> None:
        async with broker_with(Passwords(), allow_anonymous=False, login_failures_per_address=3) as running:
            codes: list[int] = []

            async def guess(password: bytes) -> None:
                codes.append((await log_in(running, "ann", password)).reason_code)

            async with trio.open_nursery() as nursery:
                for password in [b"1", b"2", b"3", b"4"]:
                    nursery.start_soon(guess, password)
                await settled()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guess, b"nna")
            assert codes == [0x87] * 5

    run_mocked(main)


def test_a_right_guess_that_waits_behind_wrong_ones() -> None:
    release = trio.Event()

    async def authenticate(client: Client, credentials: Credentials) -> Allow | Deny:
        if credentials.password == b"right":
            await release.wait()
            return YES
        return Deny()

    async def main() -> None:
        plugin = Authenticates(authenticate=authenticate)
        async with broker_with(plugin, allow_anonymous=False, login_failures_per_address=3) as running:
            codes: list[int] = []

            async def guess(password: bytes) -> None:
                codes.append((await log_in(running, "ann", password)).reason_code)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(guess, b"right")
                await settled()
                for _ in range(3):
                    await guess(b"wrong")
                release.set()
            assert codes == [0x87] * 4

    run_mocked(main)


class Exchanging:
    """A method of enhanced authentication: the data is the verdict."""

    name = "WORD"

    def __init__(self) -> None:
        self.steps = 0

    def start(self, claimant: Claimant) -> "Exchanging":
        return self

    def step(self, data: bytes | None) -> AuthSuccess | AuthRefused:
        self.steps += 1
        return AuthSuccess(data.decode()) if data and data != b"wrong" else AuthRefused()


class Offers:
    def __init__(self, method: Exchanging) -> None:
        self._method = method

    @hookimpl
    def add_authentication_methods(self) -> list[Exchanging]:
        return [self._method]


def test_guesses_by_enhanced_authentication_count_too() -> None:
    method = Exchanging()

    async def main() -> None:
        async with broker_with(Offers(method), allow_anonymous=False, login_failures_per_address=3) as running:

            async def attempt(data: bytes) -> Connack:
                client = open_from(running, "10.0.0.1")
                return await client.connect("", authentication_method="WORD", authentication_data=data)

            wrong = {await attempt(b"wrong") for _ in range(3)}
            wrong.add(await attempt(b"ann"))
            assert method.steps == 3
            assert len(wrong) == 1
            await trio.sleep(20)
            assert (await attempt(b"ann")).reason_code == 0

    run_mocked(main)


# --- A13: enhanced authentication ---


def test_authenticating_again_as_somebody_else_ends_the_connection() -> None:
    async def main() -> None:
        async with broker_with(Offers(Exchanging()), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", authentication_method="WORD", authentication_data=b"ann")
            await client.send(encode_auth(Auth(0x19, "WORD", b"ann"), V5))
            assert (await client.receive())[0] == 0xF0
            await client.send(encode_auth(Auth(0x19, "WORD", b"bob"), V5))
            first, body = await client.receive()
            assert (first, body[0]) == (0xE0, 0x87)
            assert await client.until_end() == []

    run_mocked(main)


# --- A9: whose a client identifier is ---


@pytest.mark.parametrize("clean_start", [True, False])
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_client_identifier_belongs_to_who_made_its_session(clean_start: bool, is_connected: bool) -> None:
    """Another user neither takes it over, nor gets its queue, nor wipes it; the same user may do all of that."""

    async def main() -> None:
        async with broker_with(Passwords(), allow_anonymous=True) as running:
            ann = await come_in(running, "ann", **KEPT)
            await ann.subscribe("a", 1)
            if not is_connected:
                await trio.aclose_forcefully(ann.stream)
                await settled()
            running.broker.for_plugins.publish("a", b"for ann", qos=1)
            for user_name in ("bob", None):
                password = None if user_name is None else user_name[::-1].encode()
                other = await running.open()
                connack = await other.connect(
                    "c", user_name=user_name, password=password, clean_start=clean_start, session_expiry_interval_s=9
                )
                assert connack.reason_code == 0x85
                assert connack.reason_string == "not authorized"
            if is_connected:
                assert (await ann.receive_publish()).payload == b"for ann"
                await ann.ping()
            again = await running.open()
            connack = await again.connect("c", user_name="ann", password=b"nna", **{**KEPT, "clean_start": clean_start})
            assert (connack.reason_code, connack.session_present) == (0, not clean_start)
            if not clean_start:
                assert (await again.receive_publish()).payload == b"for ann"

    run_mocked(main)


def test_a_client_identifier_of_nobody_is_not_taken_over_by_a_user() -> None:
    async def main() -> None:
        async with broker_with(Passwords(), allow_anonymous=True) as running:
            await running.connect("c", **KEPT)
            assert (await log_in(running, "ann", b"nna", "c")).reason_code == 0x85
            assert (await (await running.open()).connect("c", **KEPT)).session_present

    run_mocked(main)


def test_without_ownership_whoever_comes_last_has_it_and_is_judged_by_its_own_rights() -> None:
    """As in Mosquitto; what the session has subscribed to and what waits in it is no right of the new one."""
    rights = {"ann": Rules(receive="a", subscribe="a b"), "bob": Rules(receive="b", subscribe="b")}

    async def load_access(client: Client) -> Rules:
        return rights[client.user_name or ""]

    async def main() -> None:
        plugins = Passwords(), LoadsAccess(load_access=load_access)
        settings = Settings(client_id_ownership=False)
        async with broker_with(*plugins, allow_anonymous=False, settings=settings) as running:
            ann = await come_in(running, "ann", **KEPT)
            await ann.subscribe("a", 1)
            await ann.subscribe("b", 1)
            await trio.aclose_forcefully(ann.stream)
            await settled()
            running.broker.for_plugins.publish("a", b"for ann", qos=1)
            bob = await come_in(running, "bob", **KEPT)
            running.broker.for_plugins.publish("a", b"for ann", qos=1)
            running.broker.for_plugins.publish("b", b"for bob", qos=1)
            assert (await bob.receive_publish()).payload == b"for bob"
            (session,) = running.broker.state.sessions
            found = running.broker.state.router.subscriptions_of(session)
            assert [topic_filter for topic_filter, *_ in found] == [b"b"]

    run_mocked(main)


# --- A10: what a refused CONNECT leaves ---


@pytest.mark.parametrize("why", ["password", "will", "failing rules", "late", "owner"])
def test_a_refused_connect_leaves_nothing_behind(why: str) -> None:
    """No Will, no session, and the connection of the same name goes on."""

    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        if why == "late" and topic == "will":
            await trio.sleep(100)
        if why == "failing rules" and topic == "will":
            raise RuntimeError("boom")
        return Deny() if why == "will" and topic == "will" else YES

    async def main() -> None:
        async with broker_with(Passwords(), Authorizes(authorize=authorize), allow_anonymous=False) as running:
            observer = await come_in(running, "ann", "observer")
            await observer.subscribe("#", 0)
            owner = await come_in(running, "ann", "c", **KEPT)
            name = "bob" if why == "owner" else "ann"
            password = b"?" if why == "password" else name[::-1].encode()
            for client_id in ("c", "new"):
                if client_id == "new" and why == "owner":
                    continue
                connack = await log_in(running, name, password, client_id, will=Will("will", b"gone"))
                assert connack.reason_code in (0x85, 0x87)
            await settled()
            await owner.ping()
            await observer.ping()
            assert {session.client_id for session in running.broker.state.sessions} == {"observer", "c"}
            (session,) = (one for one in running.broker.state.sessions if one.client_id == "c")
            assert session.will is None

    run_mocked(main)


# --- A7: filters and rules ---


@pytest.mark.parametrize(
    "topic_filter", ["#", "+/secret", "$share/g/#", "$share/a/#", "$share/g/+/secret", "secret", "a"]
)
@pytest.mark.parametrize("source", ["rules", "answers"])
def test_a_filter_gets_no_more_than_the_rules_allow(topic_filter: str, source: str) -> None:
    """Only ``a/#`` is allowed. Whatever the SUBACK says, nothing else is delivered."""

    class OnlyA(Rules):
        def may_receive(self, topic: str) -> bool:
            return topic.startswith("a/")

        def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
            asked.append((topic_filter, share_name))
            return 0  # as Mosquitto grants everything

    asked: list[Any] = []

    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        asked.append(topic)
        return YES if topic.removeprefix("$share/g/") in ("a/#", "end") else Deny()

    async def main() -> None:
        plugin = LoadsAccess(load_access=OnlyA()) if source == "rules" else Authorizes(authorize=authorize)
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            await client.send(encode_subscribe(Subscribe(1, (SubscriptionRequest(topic_filter),)), V5))
            first, body = await client.receive()
            (code,) = decode_suback(body, V5, first).reason_codes
            assert code == (0 if source == "rules" else 0x87)
            for topic in ("a/secret", "b/secret", "secret", "a", "a/b"):
                running.broker.for_plugins.publish(topic, topic)
            await client.send(b"\xc0\x00")
            received = []
            while (packet := await client.receive())[0] >> 4 == 3:
                received.append(decode_publish(*packet, V5, True).topic)
            assert all(topic.startswith(b"a/") for topic in received)
            share = topic_filter.startswith("$share/")
            parts = topic_filter.split("/", 2)
            assert asked == (
                [(parts[2], parts[1]) if share else (topic_filter, None)] if source == "rules" else [topic_filter]
            )

    run_mocked(main)


# --- A11: what is taken away ---


def test_what_is_no_longer_allowed_is_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rules = Rules(receive="a b", subscribe="a b")
    gone: list[tuple[str, str]] = []

    class Watches:
        @hookimpl
        def unsubscribed(self, client: Client, topic_filter: str) -> None:
            gone.append((client.client_id, topic_filter))

    async def load_access(client: Client) -> Rules:
        return Rules(receive=" ".join(rules.receive), subscribe=" ".join(rules.subscribe))

    async def main() -> None:
        async with broker_with(LoadsAccess(load_access=load_access), Watches()) as running:
            connected, away = await running.connect("connected"), await running.connect("away", **KEPT)
            for client in (connected, away):
                await client.subscribe("a", 0)
                await client.subscribe("b", 0)
                await client.subscribe("$share/g/a", 0)
            await trio.aclose_forcefully(away.stream)
            await settled()
            rules.subscribe.discard("a")
            running.broker.for_plugins.access_changed()
            await settled()
            assert sorted(gone) == [(who, what) for who in ("away", "connected") for what in ("$share/g/a", "a")]

    with caplog.at_level("INFO"):
        run_mocked(main)
    assert "Client away: the subscription to $share/g/a is no longer allowed, dropped." in caplog.text


# --- logins that end ---


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> float:
    """``time.time`` stands still; what passes is the broker's time."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    return now


def expiring(wall_clock: float, *seconds: float) -> Authenticates:
    """Each login in turn ends in so many seconds."""
    left = list(seconds)

    async def authenticate(client: Client, credentials: Credentials) -> Allow:
        return Allow(expires_at=wall_clock + left.pop(0))

    return Authenticates(authenticate=authenticate)


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_a_connection_ends_when_its_login_does(version: ProtocolVersion, wall_clock: float) -> None:
    async def main() -> None:
        async with broker_with(expiring(wall_clock, 60), allow_anonymous=False) as running:
            client = await running.open(version)
            await client.connect("c", user_name="ann")
            await trio.sleep(59)
            await client.ping()
            began_at = trio.current_time()
            packets = await client.until_end()
            assert 0.9 < trio.current_time() - began_at < 1.1
            assert packets == ([(0xE0, b"\x87")] if version == V5 else [])

    run_mocked(main)


@pytest.mark.parametrize("seconds", [-5.0, 0.0])
def test_a_login_that_has_ended_already(seconds: float, wall_clock: float) -> None:
    async def main() -> None:
        async with broker_with(expiring(wall_clock, seconds), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", user_name="ann")
            assert await client.until_end() == [(0xE0, b"\x87")]

    run_mocked(main)


@pytest.mark.parametrize("how", ["reconnects", "takes over"])
def test_the_end_of_an_old_login_does_not_end_the_next(how: str, wall_clock: float) -> None:
    async def main() -> None:
        async with broker_with(expiring(wall_clock, 60, 600), allow_anonymous=False) as running:
            first = await running.open()
            await first.connect("c", user_name="ann", **KEPT)
            await trio.sleep(30)
            if how == "reconnects":
                await trio.aclose_forcefully(first.stream)
                await settled()
            second = await running.open()
            assert (await second.connect("c", user_name="ann", **KEPT)).session_present
            await trio.sleep(100)
            await second.ping()
            await trio.sleep(499)
            assert await second.until_end() == [(0xE0, b"\x87")]

    run_mocked(main)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_a_login_that_lasts(seconds: float, wall_clock: float) -> None:
    async def main() -> None:
        async with broker_with(expiring(wall_clock, seconds), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", user_name="ann")
            await trio.sleep(80_000)
            await client.ping()

    run_mocked(main)


# --- the log ---


def test_denials_are_logged_once_and_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each client, topic and minute, with the rule; and not for every topic that a client can think of."""

    async def main() -> None:
        async with broker_with(named(LoadsAccess(load_access=Rules()), "rules")) as running:
            client = await running.connect("c")
            for _ in range(5):
                await client.publish("a", b"x" * 5)
            for number in range(200):
                await client.publish(f"a/{number}", b"")
            await client.ping()
            await trio.sleep(61)
            await client.publish("a", b"")
            await client.ping()

    run_mocked(main)
    lines = [record.getMessage() for record in caplog.records if "Denied" in record.getMessage()]
    assert lines[0] == "Denied: client c (user none, memory:0) may not publish to a (rules.txt:1)."
    assert lines[LINES_PER_ADDRESS].endswith("have been denied more; no more of them is told for a minute.")
    assert lines[LINES_PER_ADDRESS + 1] == lines[0]
    assert len(lines) == LINES_PER_ADDRESS + 2


def test_qos_2_that_waits_for_an_answer_is_acknowledged_once() -> None:
    """The packet is looked at twice, and counts once."""

    async def authorize(client: Client, action: Action, topic: str) -> Allow:
        await trio.sleep(1)
        return YES

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize)) as running:
            client = await running.connect("c")
            await client.send(
                encode_publish(b"a", b"1", V5, 2, packet_id=1), encode_publish(b"b", b"2", V5, 1, packet_id=2)
            )
            assert [(await client.receive())[0] >> 4 for _ in range(2)] == [5, 4]
            await client.send(encode_ack(6, 1, V5))
            assert (await client.receive())[0] >> 4 == 7
            assert running.broker.state.plane.counts["packets_received"][3] == 2

    run_mocked(main)


# --- what changes while somebody is being let in ---


def test_rules_that_change_while_a_client_is_let_in_are_asked_for_again() -> None:
    """What was answered before the change is not what it gets."""
    topics = "secret"
    is_asked = trio.Event()

    async def load_access(client: Client) -> Rules:
        answer = Rules(publish=topics)
        is_asked.set()
        await trio.sleep(2)
        return answer

    async def main() -> None:
        nonlocal topics
        async with broker_with(LoadsAccess(load_access=load_access)) as running:
            client = await running.open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.connect, "c")
                await is_asked.wait()
                topics = "up"
                running.broker.for_plugins.access_changed()
            assert [await code_of_publish(client, topic) for topic in ("secret", "up")] == [0x87, 0x10]

    run_mocked(main)


def test_answers_that_change_while_a_client_is_let_in_are_asked_for_again() -> None:
    """That about its Will too."""
    is_allowed = True
    is_asked = trio.Event()

    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        answer = YES if is_allowed else Deny()
        is_asked.set()
        await trio.sleep(2)
        return answer

    async def main() -> None:
        nonlocal is_allowed
        async with broker_with(Authorizes(authorize=authorize)) as running:
            codes: list[int] = []

            async def connect() -> None:
                client = await running.open()
                codes.append((await client.connect("c", will=Will("w", b""))).reason_code)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                await is_asked.wait()
                is_allowed = False
                running.broker.for_plugins.access_changed()
            assert codes == [0x87]

    run_mocked(main)


def test_who_is_being_let_in_during_a_reload_is_told_to_come_again() -> None:
    """The answer about it may be from before."""
    is_asked = trio.Event()

    async def authenticate(client: Client, credentials: Credentials) -> Allow:
        is_asked.set()
        await trio.sleep(2)
        return YES

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=authenticate), allow_anonymous=False) as running:
            codes: list[int] = []

            async def connect() -> None:
                codes.append((await log_in(running, "ann")).reason_code)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                await is_asked.wait()
                await running.broker.reload(running.broker.settings)
            assert codes == [0x89]
            assert len(running.broker.state.sessions) == 0
            await connect()
            assert codes[1] == 0

    run_mocked(main)


def test_a_client_that_goes_away_while_it_is_asked_about() -> None:
    """A2: whoever was asked is cancelled, and nothing of the CONNECT takes effect."""
    cancelled: list[str] = []
    is_asked = trio.Event()

    async def authenticate(client: Client, credentials: Credentials) -> Allow:
        is_asked.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(client.client_id)

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=authenticate), allow_anonymous=False) as running:
            client = open_from(running, "10.0.0.1")
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.connect, "c")
                    await is_asked.wait()
                    scope.cancel()
            await trio.aclose_forcefully(client.stream)
            await trio.sleep(5.1)  # its link is not read meanwhile: at the latest it is noticed then
            assert cancelled == ["c"]
            assert not running.broker.state.links
            assert len(running.broker.state.sessions) == 0

    run_mocked(main)


async def code_of_publish(client: StreamClient, topic: str) -> int:
    await client.publish(topic, b"x", 1)
    first, body = await client.receive()
    return decode_ack(first, body, client.version).reason_code


def test_what_waits_for_one_user_is_not_for_the_next() -> None:
    """Where whoever comes last has the client identifier, also what no subscription stands for any more."""

    async def main() -> None:
        settings = Settings(client_id_ownership=False)
        plugins = Passwords(), Authorizes(authorize=YES)
        async with broker_with(*plugins, allow_anonymous=False, settings=settings) as running:
            ann = await come_in(running, "ann", **KEPT, receive_maximum=1)
            await ann.subscribe("a", 1)
            await ann.subscribe("b", 1)
            for number in range(3):
                running.broker.for_plugins.publish("a", b"%d" % number, qos=1)
            assert (await ann.receive_publish()).payload == b"0"
            await ann.send(encode_unsubscribe(Unsubscribe(1, ("a",)), V5))
            assert (await ann.receive())[0] == 0xB0
            await trio.aclose_forcefully(ann.stream)
            await settled()
            running.broker.for_plugins.publish("b", b"b", qos=1)
            bob = await come_in(running, "bob", **KEPT)
            assert (await bob.receive_publish()).payload == b"b"

    run_mocked(main)
