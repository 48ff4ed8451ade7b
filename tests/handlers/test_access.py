"""Access as the data plane asks for it: answers that are remembered, and guards around rules."""

import logging

import pytest
from hooks.plugin_brokers import Rules
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.session import RIGHT_PUBLISH, RIGHT_QOS, RIGHT_RETAIN, RIGHTS_UNKNOWN
from noctule.api import Allow, Deny, PublishRight
from noctule.handlers import access as handlers_access
from noctule.handlers.access import AskedAccess, Guards, is_allowed, rights_of, rights_of_verdict
from speedups.naive_matching import matches

EVERYTHING = RIGHT_PUBLISH | RIGHT_RETAIN | 2 * RIGHT_QOS


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# --- answers ---


def test_an_answer_holds_as_long_as_it_says() -> None:
    clock = Time()
    access = AskedAccess(clock)
    assert access.publish_rights(b"a") == RIGHTS_UNKNOWN
    access.learn_publish(b"a", Allow(remember_s=10))
    access.learn_publish(b"b", Deny())
    access.learn_publish(b"c", None)
    clock.now += 10
    assert [access.publish_rights(topic) for topic in (b"a", b"b", b"c")] == [EVERYTHING, 0, 0]
    clock.now += 0.1
    assert [access.publish_rights(topic) for topic in (b"a", b"b", b"c")] == [RIGHTS_UNKNOWN, 0, 0]
    assert access.has_expired()
    assert not access.has_expired()


@pytest.mark.parametrize("remember_s", [0.0, -5.0])
def test_an_answer_that_is_not_to_be_remembered_counts_where_it_was_asked_for(remember_s: float) -> None:
    """Otherwise it would be asked for again without end."""
    clock = Time()
    access = AskedAccess(clock)
    access.learn_publish(b"a", Allow(remember_s=remember_s))
    assert access.publish_rights(b"a") == EVERYTHING
    clock.now += 0.001
    assert access.publish_rights(b"a") == RIGHTS_UNKNOWN


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers_access, "_REMEMBERED_MAX", 10)
    access = AskedAccess(Time())
    for number in range(100):
        access.learn_publish(b"%d" % number, Allow())
        access.revoke_subscription(f"a/{number}")
    assert len(access._publish) <= 10
    assert len(access._revoked) <= 10
    assert not access.may_receive(b"a/1")  # one of those that were too many
    access.learn_subscription("b", Allow())
    assert access.may_receive(b"b")


def test_subscriptions() -> None:
    clock = Time()
    access = AskedAccess(clock)
    access.learn_subscription("a", Allow())
    access.learn_subscription("b", Allow(remember_s=5))
    assert access.overdue_subscriptions() == []
    clock.now += 5
    assert access.overdue_subscriptions() == ["b"]
    access.forget()
    assert access.overdue_subscriptions() == ["a", "b"]
    access.forget_subscription("a")
    access.revoke_subscription("b")
    assert not access.allows_subscription("b")
    assert access.overdue_subscriptions() == []
    assert access.subscribe_qos_max("a", None) is None


@pytest.mark.parametrize(
    ("revoked", "allowed", "topic", "expected"),
    [
        ([], [], b"a", True),
        (["a"], [], b"a", False),
        (["a"], [], b"b", True),
        (["a"], ["a"], b"a", True),
        (["a/#"], ["a/b"], b"a/b", True),
        (["a/#"], ["a/b"], b"a/c", False),
        (["a/#"], [], b"a", False),
        (["$share/g/a/+"], [], b"a/b", False),
        (["$share/g/a/+"], ["$share/h/a/+"], b"a/b", True),
        (["#"], [], b"$SYS/x", True),
        (["+/x"], [], b"$SYS/x", True),
        (["$SYS/#"], ["#"], b"$SYS/x", False),
    ],
)
def test_what_a_revoked_subscription_has_brought(
    revoked: list[str], allowed: list[str], topic: bytes, expected: bool
) -> None:
    access = AskedAccess(Time())
    for topic_filter in revoked:
        access.revoke_subscription(topic_filter)
    for topic_filter in allowed:
        access.learn_subscription(topic_filter, Allow())
    assert access.may_receive(topic) == expected
    following = AskedAccess(Time())
    for topic_filter in allowed:
        following.learn_subscription(topic_filter, Allow())
    following.follow(access)
    assert following.may_receive(topic) == expected


LEVELS = st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), min_size=1, max_size=4)


@given(
    wanted=LEVELS, ends=st.booleans(), levels=st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=5)
)
def test_filters_are_matched_as_in_the_tree(wanted: list[str], ends: bool, levels: list[str]) -> None:
    topic_filter, topic = "/".join([*wanted, *(["#"] if ends else [])]), "/".join(levels)
    if not topic_filter or not topic:
        return
    access = AskedAccess(Time())
    access.revoke_subscription(topic_filter)
    assert access.may_receive(topic.encode()) != matches(topic_filter.encode(), topic.encode())


# --- rights ---


@pytest.mark.parametrize(
    ("answer", "qos", "retain", "expected"),
    [
        (Allow(), 2, True, True),
        (Allow(qos_max=1), 2, False, False),
        (Allow(retain=False), 0, True, False),
        (Allow(retain=False), 2, False, True),
        (Deny(), 0, False, False),
        (None, 0, False, False),
        ("yes", 0, False, False),
    ],
)
def test_rights_of_an_answer(answer: object, qos: int, retain: bool, expected: bool) -> None:
    assert is_allowed(rights_of_verdict(answer), qos, retain) == expected


def test_unknown_rights_are_none() -> None:
    assert not is_allowed(RIGHTS_UNKNOWN, 0, False)


def test_a_right_of_no_qos() -> None:
    with pytest.raises(ValueError, match="a QoS of 3"):
        rights_of(PublishRight(qos_max=3))


# --- guards ---


def test_the_same_rules_have_the_same_guard_as_long_as_somebody_has_it() -> None:
    guards = Guards(logging.getLogger("test"), Time())
    rules = Rules(publish="a")
    first = guards.guard(rules)
    assert guards.guard(rules) is first
    assert guards.guard(rules, is_of_login=True) is not first
    assert guards.guard(Rules()) is not first
    del first
    assert len(guards._guards) == 0


def test_failing_rules_are_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Rules):
        def may_receive(self, topic: str) -> bool:
            raise RuntimeError("boom")

    clock = Time()
    guard = Guards(logging.getLogger("test"), clock).guard(Failing())
    for _ in range(2):
        for _ in range(500):
            assert not guard.may_receive(b"a")
        clock.now += 60
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "The access rules of a plugin have failed: refused."
    assert second == "The access rules of a plugin have failed: refused (499 more times since this was last logged)."
