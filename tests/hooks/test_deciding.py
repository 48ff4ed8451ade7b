"""authenticate, load_access, authorize and rewrite_subscription: every kind of answer, and none in time."""

import inspect
import math
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import YES, Answers, Authenticates, Authorizes, LoadsAccess, Rules, broker_with, named
from net.stream_clients import LOOPBACK, V3_1_1, V5, RunningBroker, StreamClient, run_mocked
from noctule._speedups.codec import decode_ack
from noctule.api import Action, Allow, Client, Credentials, Deny, ReasonCode, Subscription, hookimpl
from noctule.app import HAS_REACTOR
from noctule.config.settings import Carrier, Settings
from noctule.protocol import (
    Connack,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    decode_suback,
    decode_unsuback,
    encode_subscribe,
    encode_unsubscribe,
)

DEADLINE_S = 5.0

both_carriers = pytest.mark.parametrize(
    "carrier",
    [None, pytest.param(Carrier.REACTOR, marks=pytest.mark.skipif(not HAS_REACTOR, reason="there is no epoll here"))],
    ids=["memory", "reactor"],
)


async def hang(*arguments: object) -> None:
    await trio.sleep_forever()


async def slow(*arguments: object) -> Allow:
    await trio.sleep(DEADLINE_S - 0.1)
    return Allow()


async def late(*arguments: object) -> Allow:
    await trio.sleep(DEADLINE_S + 0.1)
    return Allow()


async def stubborn(*arguments: object) -> Allow:
    """Answers in spite of being cancelled."""
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return Allow()


#: What is no yes, whatever else it is.
NOT_YES = [
    None,
    Deny("no"),
    RuntimeError("boom"),
    KeyError("x"),
    True,
    "yes",
    Allow,
    {"allow": True},
    Allow(user_name=7),  # type: ignore[arg-type]
    Allow(qos_max=3),
    Allow(qos_max=-1),
    Allow(qos_max="2"),  # type: ignore[arg-type]
    Allow(expires_at="soon"),  # type: ignore[arg-type]
    Allow(expires_at=math.nan),
    Allow(remember_s="long"),  # type: ignore[arg-type]
    Allow(remember_s=math.nan),
    Deny(why=7),  # type: ignore[arg-type]
    Deny(reason_code="x"),  # type: ignore[arg-type]
    hang,
    late,
    stubborn,
]


def shown(value: object) -> str:
    """The value in the test's name, the same in every run."""
    return value.__name__ if inspect.isfunction(value) else repr(value)


lies = pytest.mark.parametrize("answer", NOT_YES, ids=shown)


async def asking(running: RunningBroker, version: ProtocolVersion = V5, **fields: Any) -> Connack:
    client = await running.open(version)
    return await client.connect("c", **fields)


async def subscribing(client: StreamClient, *filters: str, qos: int = 2) -> tuple[int, ...]:
    requests = tuple(SubscriptionRequest(one, qos) for one in filters)
    await client.send(encode_subscribe(Subscribe(1, requests), client.version))
    first, body = await client.receive()
    return decode_suback(body, client.version, first).reason_codes


async def publishing(client: StreamClient, topic: str, qos: int = 1, *, retain: bool = False) -> int:
    await client.publish(topic, b"x", qos, retain=retain)
    first, body = await client.receive()
    return decode_ack(first, body, client.version).reason_code


# --- authenticate ---


@both_carriers
def test_authenticate(carrier: Carrier | None) -> None:
    plugin = Authenticates(authenticate=Allow(user_name="Ann"))

    async def main() -> None:
        async with broker_with(plugin, carrier=carrier, allow_anonymous=False) as running:
            connack = await asking(running, user_name="ann", password=b"\xffpw")
            assert connack.reason_code == 0
            ((_, client, credentials),) = plugin.asked
            assert isinstance(client, Client)
            assert (client.client_id, client.user_name, client.protocol_version) == ("c", "ann", 5)
            assert client.address == ("127.0.0.1" if carrier else "")
            assert credentials == Credentials("ann", b"\xffpw")
            assert "pw" not in repr(credentials)
            assert [one.user_name for one in running.broker.for_plugins.clients()] == ["Ann"]

    run_mocked(main)


@lies
@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_authenticate_that_does_not_say_yes(answer: Any, version: ProtocolVersion) -> None:
    """A2; and another client, that is known, is not touched."""

    async def authenticate(client: Client, credentials: Credentials) -> Any:
        if client.user_name == "good":
            return YES
        if isinstance(answer, Exception):
            raise answer
        return await answer(client) if answer in (hang, late, stubborn) else answer

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=authenticate), allow_anonymous=False) as running:
            good = await running.open()
            assert (await good.connect("good", user_name="good")).reason_code == 0
            connack = await asking(running, version, user_name="ann", password=b"pw")
            assert connack.reason_code == 0x87  # in 3.1.1: 5, as the decoder has it
            assert connack.reason_string in (None, "not authorized")
            await good.ping()
            assert len(running.broker.state.sessions) == 1

    run_mocked(main)


def test_authenticate_that_takes_its_time() -> None:
    async def main() -> None:
        async with broker_with(Authenticates(authenticate=slow), allow_anonymous=False) as running:
            assert (await asking(running, user_name="ann")).reason_code == 0

    run_mocked(main)


@pytest.mark.parametrize(
    ("first", "second", "code", "asked"),
    [
        (YES, Deny(), 0, 1),
        (Deny(), YES, 0x87, 1),
        (None, YES, 0, 2),
        (None, None, 0x87, 2),
        (RuntimeError(), YES, 0x87, 1),
    ],
    ids=["yes", "no", "second", "nobody", "fails"],
)
def test_authenticate_by_the_first_who_knows(first: Any, second: Any, code: int, asked: int) -> None:
    plugins = Authenticates(authenticate=first), Authenticates(authenticate=second)

    async def main() -> None:
        async with broker_with(named(plugins[0], "a"), named(plugins[1], "b"), allow_anonymous=False) as running:
            assert (await asking(running, user_name="ann")).reason_code == code
            assert sum(len(one.asked) for one in plugins) == asked

    run_mocked(main)


@pytest.mark.parametrize(
    ("user_name", "password", "asked"),
    [
        (None, None, False),
        ("ann", None, True),
        ("", None, True),
        ("", b"", True),
        (None, b"", True),
        ("ann", b"", True),
    ],
)
@pytest.mark.parametrize("allow_anonymous", [True, False])
def test_authenticate_and_clients_without_a_name(
    user_name: str | None, password: bytes | None, asked: bool, allow_anonymous: bool
) -> None:
    """A3: an empty name or password is none that was left out, and a missing password is not the right one."""
    plugin = Authenticates()

    async def main() -> None:
        async with broker_with(plugin, allow_anonymous=allow_anonymous) as running:
            connack = await asking(running, user_name=user_name, password=password)
            is_asked = asked or not allow_anonymous
            assert [one for _, _, one in plugin.asked] == ([Credentials(user_name, password)] if is_asked else [])
            assert connack.reason_code == (0x87 if is_asked else 0)

    run_mocked(main)


def test_the_refusal_is_the_same_whatever_was_wrong() -> None:
    """A5"""
    answers = iter([None, Deny("wrong password"), Deny("no such user"), RuntimeError("boom")])

    async def authenticate(client: Client, credentials: Credentials) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=authenticate), allow_anonymous=False) as running:
            connacks = {await asking(running, user_name="ann", password=b"pw") for _ in range(4)}
            assert len(connacks) == 1

    run_mocked(main)


@pytest.mark.parametrize(("code", "told"), [(0x86, 0x86), (0x88, 0x88), (0, 0x87), (0x11, 0x87), (0xFF, 0x87)])
def test_authenticate_with_a_reason_code(code: int, told: int) -> None:
    async def main() -> None:
        plugin = Authenticates(authenticate=Deny("x", ReasonCode(code) if code in list(ReasonCode) else code))
        async with broker_with(plugin, allow_anonymous=False) as running:
            assert (await asking(running, user_name="ann")).reason_code == told

    run_mocked(main)


def test_a_failing_plugin_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plugin = Authenticates(authenticate=RuntimeError("boom"))
        async with broker_with(plugin, allow_anonymous=False, login_failures_per_address=0) as running:
            for _ in range(50):
                await asking(running, user_name="ann", password=b"secret word")

    run_mocked(main)
    failures = [record for record in caplog.records if "boom" in record.getMessage()]
    assert 1 <= len(failures) <= 5
    assert "authentication has failed with RuntimeError('boom')" in failures[0].getMessage()
    assert failures[0].exc_info is not None
    assert "secret word" not in caplog.text


def test_a_listener_that_names_who_decides() -> None:
    """And where nobody that it names knows passwords, a name that has to be proven elsewhere is nobody's here."""
    knows = Authenticates(authenticate=YES)

    async def main() -> None:
        listener = replace(LOOPBACK, authentication=(), allow_anonymous=True)
        async with broker_with(knows, settings=Settings((listener,)), allow_anonymous=None) as running:
            running.broker.settings = running.broker.state.settings = replace(
                running.broker.settings, listeners=(listener,)
            )
            assert (await asking(running, user_name="admin", password=b"guess")).reason_code == 0
            assert [one.user_name for one in running.broker.for_plugins.clients()] == [None]
            assert knows.asked == []

    run_mocked(main)


# --- load_access ---


def test_load_access() -> None:
    rules = Rules(publish="up", receive="down", subscribe="# down")
    plugin = LoadsAccess(load_access=rules)

    async def main() -> None:
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            ((_, asked),) = plugin.asked
            assert asked == running.broker.for_plugins.clients()[0]
            assert await publishing(client, "up") == 0x10
            assert await publishing(client, "down") == 0x87
            assert await subscribing(client, "#", "down", "up") == (2, 2, 0x87)

    run_mocked(main)


@pytest.mark.parametrize("answer", [None, RuntimeError("boom"), "yes", 7, hang, late], ids=shown)
def test_load_access_that_has_no_rules(answer: Any) -> None:
    """The client is let in, and may do nothing."""

    async def main() -> None:
        async with broker_with(LoadsAccess(load_access=answer)) as running:
            client = await running.connect("c")
            assert await publishing(client, "a") == 0x87
            assert await subscribing(client, "a", "#") == (0x87, 0x87)
            refused = await running.open()
            assert (await refused.connect("d", will=Will("w", b""))).reason_code == 0x87

    run_mocked(main)


class LyingRules(Rules):
    """Every answer is of the wrong kind."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def _said(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def publish_right(self, topic: str) -> Any:
        return self._said()

    def may_receive(self, topic: str) -> Any:
        return self._said()

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> Any:
        return self._said() if topic_filter == "a" else 2

    def rule_of(self, action: Action, topic: str) -> Any:
        return self._said()


@pytest.mark.parametrize("answer", [RuntimeError("boom"), "yes", 7, 1.0, [], Allow()], ids=shown)
def test_rules_that_lie(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with broker_with(LoadsAccess(load_access=LyingRules(answer))) as running:
            client = await running.connect("c")
            assert await publishing(client, "a") == 0x87
            assert await subscribing(client, "a", "#") == (0x87, 2)
            running.broker.for_plugins.publish("a", b"secret")
            await client.ping()

    run_mocked(main)
    assert sum("access rules of a plugin have failed" in record.getMessage() for record in caplog.records) <= 1


def test_rules_that_come_with_the_login_stay() -> None:
    """They are the token's: neither load_access nor the absence of it gives the client more."""
    rules = Rules(publish="up")

    async def main() -> None:
        async with broker_with(Authenticates(authenticate=Allow(access=rules)), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", user_name="ann")
            assert await publishing(client, "secret") == 0x87
            running.broker.for_plugins.access_changed()
            await trio.testing.wait_all_tasks_blocked()
            assert await publishing(client, "secret") == 0x87
            assert await publishing(client, "up") == 0x10
            rules.publish.clear()
            running.broker.for_plugins.access_changed("c")
            await trio.testing.wait_all_tasks_blocked()
            assert await publishing(client, "up") == 0x87

    run_mocked(main)


def test_of_rules_that_are_loaded_twice_the_newer_hold() -> None:
    """However long the first loading takes."""
    loadings = iter([(0.0, "a"), (3.0, "a b"), (1.0, "c")])

    async def load_access(client: Client) -> Rules:
        wait_s, topics = next(loadings)
        await trio.sleep(wait_s)
        return Rules(publish=topics)

    async def main() -> None:
        async with broker_with(LoadsAccess(load_access=load_access)) as running:
            client = await running.connect("c")
            running.broker.for_plugins.access_changed()
            await trio.sleep(0.5)
            running.broker.for_plugins.access_changed()
            await trio.sleep(5)
            assert [await publishing(client, topic) for topic in "abc"] == [0x87, 0x87, 0x10]

    run_mocked(main)


def test_rules_that_are_loaded_for_a_connection_are_not_put_on_the_next() -> None:
    async def load_access(client: Client) -> Rules:
        if client.peer == "memory:0" and is_slow:
            await trio.sleep(3)
        return Rules(publish=client.peer)

    is_slow = False

    async def main() -> None:
        nonlocal is_slow
        async with broker_with(LoadsAccess(load_access=load_access)) as running:
            await running.connect("c", clean_start=False, session_expiry_interval_s=100)
            is_slow = True
            running.broker.for_plugins.access_changed()
            await trio.testing.wait_all_tasks_blocked()
            second = await running.connect("c", clean_start=False, session_expiry_interval_s=100)
            await trio.sleep(4)
            assert await publishing(second, "memory:1") == 0x10

    run_mocked(main)


# --- authorize ---


def test_authorize() -> None:
    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        return Allow(qos_max=1, retain=False) if topic in ("up", "$share/g/down") else Deny("acl.txt:3")

    plugin = Authorizes(authorize=authorize)

    async def main() -> None:
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            assert await publishing(client, "up") == 0x10
            assert await publishing(client, "up") == 0x10
            assert await publishing(client, "up", 2) == 0x87
            assert await publishing(client, "up", retain=True) == 0x87
            assert await publishing(client, "other") == 0x87
            assert await subscribing(client, "$share/g/down", "down") == (1, 0x87)
            assert [(action, topic) for _, _, action, topic in plugin.asked] == [
                (Action.PUBLISH, "up"),
                (Action.PUBLISH, "other"),
                (Action.SUBSCRIBE, "$share/g/down"),
                (Action.SUBSCRIBE, "down"),
            ]
            assert plugin.asked[0][1] == running.broker.for_plugins.clients()[0]

    run_mocked(main)


@lies
def test_authorize_that_does_not_say_yes(answer: Any) -> None:
    """A2: the client waits as long as it takes, is refused, and may go on; the other does not wait."""

    async def authorize(client: Client, action: Action, topic: str) -> Any:
        if client.client_id == "good":
            return YES
        if isinstance(answer, Exception):
            raise answer
        return await answer(client) if answer in (hang, late, stubborn) else answer

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize)) as running:
            good, client = await running.connect("good"), await running.connect("c")
            assert await publishing(client, "a") == 0x87
            assert await subscribing(client, "a", "b") == (0x87, 0x87)
            assert await publishing(good, "a") == 0x10
            assert await subscribing(good, "a") == (2,)
            await client.ping()
            refused = await running.open()
            assert (await refused.connect("d", will=Will("w", b""))).reason_code == 0x87

    run_mocked(main)


def test_authorize_that_hangs_holds_up_its_own_client_alone() -> None:
    async def authorize(client: Client, action: Action, topic: str) -> Allow:
        if client.client_id == "slow":
            await trio.sleep(4)
        return YES

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize)) as running:
            slow_one, quick = await running.connect("slow"), await running.connect("quick")
            began_at = trio.current_time()
            await slow_one.publish("a", b"", 1)
            await trio.testing.wait_all_tasks_blocked()
            assert await publishing(quick, "a") == 0x10
            assert trio.current_time() == began_at
            await slow_one.receive()
            assert trio.current_time() == began_at + 4

    run_mocked(main)


@pytest.mark.parametrize(("remember_s", "asked"), [(None, 1), (0.0, 4), (-1.0, 4), (10.0, 2)])
def test_authorize_is_remembered_as_long_as_it_says(remember_s: float | None, asked: int) -> None:
    """Four messages, five seconds apart."""
    plugin = Authorizes(authorize=Allow(remember_s=remember_s))

    async def main() -> None:
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            for _ in range(4):
                assert await publishing(client, "a") == 0x10
                await trio.sleep(5)
            assert len(plugin.asked) == asked

    run_mocked(main)


def test_a_subscription_whose_answer_is_too_old_is_asked_about_again() -> None:
    answers = iter([Allow(remember_s=10), Allow(remember_s=10), Deny()])

    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        return next(answers)

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize)) as running:
            client = await running.connect("c")
            await subscribing(client, "a")
            await trio.sleep(15)
            running.broker.for_plugins.publish("a", b"1")
            await trio.sleep(15)
            running.broker.for_plugins.publish("a", b"2")
            assert (await client.receive_publish()).payload == b"1"
            await client.ping()

    run_mocked(main)


def test_where_load_access_has_no_rules_authorize_is_asked() -> None:
    async def load_access(client: Client) -> Rules | None:
        return Rules(publish="a") if client.client_id == "ruled" else None

    asked = Authorizes(authorize=YES)

    async def main() -> None:
        async with broker_with(LoadsAccess(load_access=load_access), asked) as running:
            ruled, other = await running.connect("ruled"), await running.connect("other")
            assert [await publishing(ruled, topic) for topic in "ab"] == [0x10, 0x87]
            assert asked.asked == []
            assert [await publishing(other, topic) for topic in "ab"] == [0x10, 0x10]

    run_mocked(main)


def test_a_will_whose_topic_a_plugin_changes_is_judged_by_the_new_one() -> None:
    """The answer at CONNECT was about the old."""

    class Moves:
        @hookimpl
        def message_received(self, client: Client | None, message: Any) -> Any:
            return type(message)(b"forbidden", message.payload) if message.topic == b"will" else None

    async def authorize(client: Client, action: Action, topic: str) -> Allow | Deny:
        return Deny() if topic == "forbidden" else YES

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize), Moves()) as running:
            watching = await running.connect("watching")
            await subscribing(watching, "#")
            leaving = await running.connect("leaving", will=Will("will", b"gone"))
            await trio.aclose_forcefully(leaving.stream)
            await trio.testing.wait_all_tasks_blocked()
            await watching.ping()

    run_mocked(main)


# --- rewrite_subscription ---


class Rewrites(Answers):
    @hookimpl
    async def rewrite_subscription(self, client: Client, subscription: Subscription) -> Subscription | None:
        answer: Subscription | None = await self.answer("rewrite_subscription", client, subscription)
        return answer


async def below_home(client: Client, subscription: Subscription) -> Subscription | None:
    if subscription.topic_filter.startswith("home/"):
        return None
    return replace(subscription, topic_filter=f"home/{subscription.topic_filter}", qos=min(1, subscription.qos))


def test_rewrite_subscription() -> None:
    plugin = Rewrites(rewrite_subscription=below_home)

    async def main() -> None:
        async with broker_with(plugin) as running:
            client = await running.connect("c")
            assert await subscribing(client, "a", "home/b") == (1, 2)
            assert [one.topic_filter for _, _, one in plugin.asked] == ["a", "home/b"]
            for topic in ("a", "home/a", "home/b"):
                running.broker.for_plugins.publish(topic, topic)
            assert [(await client.receive_publish()).payload for _ in range(2)] == [b"home/a", b"home/b"]
            await client.send(encode_unsubscribe(Unsubscribe(2, ("a", "$share/g/x", "a/#/b")), V5))
            first, body = await client.receive()
            assert decode_unsuback(body, V5, first).reason_codes == (0, 0x11, 0x8F)
            running.broker.for_plugins.publish("home/a", b"")
            await client.ping()

    run_mocked(main)


def test_rewrite_subscription_is_a_chain_and_judged_at_its_end() -> None:
    rules = Rules(subscribe="home/home/a")
    first = Rewrites(rewrite_subscription=below_home)

    async def twice(client: Client, subscription: Subscription) -> Subscription:
        return replace(subscription, topic_filter=f"home/{subscription.topic_filter}")

    async def main() -> None:
        plugins = named(first, "a"), named(Rewrites(rewrite_subscription=twice), "b"), LoadsAccess(load_access=rules)
        async with broker_with(*plugins) as running:
            client = await running.connect("c")
            assert await subscribing(client, "a", "b", "home/home/a") == (1, 0x87, 0x87)

    run_mocked(main)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (RuntimeError("boom"), 0x87),
        ("a", 0x87),
        (Subscription("a", qos=3), 0x87),
        (Subscription("a", retain_handling=7), 0x87),
        (Subscription("a", identifier=0), 0x87),
        (Subscription(7), 0x87),  # type: ignore[arg-type]
        (hang, 0x87),
        (Subscription("a/#/b"), 0x8F),
        (Subscription(""), 0x8F),
        (Subscription("a", share_name="g+"), 0x8F),
    ],
    ids=shown,
)
def test_rewrite_subscription_to_what_is_none(answer: Any, code: int) -> None:
    async def main() -> None:
        async with broker_with(Rewrites(rewrite_subscription=answer)) as running:
            client = await running.connect("c")
            assert await subscribing(client, "a") == (code,)
            await client.ping()

    run_mocked(main)
