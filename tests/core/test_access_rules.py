"""What rules of access amount to: by tables, and against an evaluator that looks at every rule one by one."""

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule.core.access import Access, Action, PublishRight, Rule
from noctule.core.access_rules import NO_RULE_COVERS, NO_RULE_MATCHES, AccessRules
from noctule.core.clients import Client
from speedups.naive_matching import MATCHING, matches

PUBLISH, RECEIVE, SUBSCRIBE = Action.PUBLISH, Action.RECEIVE, Action.SUBSCRIBE
NOTHING = "\0"


def client(client_id: str = "lamp", user_name: str | None = "ann") -> Client:
    return Client(client_id, user_name, "127.0.0.1", "127.0.0.1:5", "127.0.0.1:1883", 5)


def access(*rules: Rule, who: Client | None = None) -> Access:
    return AccessRules(rules).for_client(who or client())


def allow(topic_filter: str, *actions: Action, **more: Any) -> Rule:
    return Rule(topic_filter, frozenset(actions or Action), **more)


def deny(topic_filter: str, *actions: Action, **more: Any) -> Rule:
    return Rule(topic_filter, frozenset(actions or Action), allows=False, **more)


@pytest.mark.parametrize(("topic_filter", "topic", "is_match"), MATCHING)
def test_matching(topic_filter: bytes, topic: bytes, is_match: bool) -> None:
    one = access(allow(topic_filter.decode()))
    assert one.may_receive(topic.decode()) is is_match
    assert (one.publish_right(topic.decode()) is not None) is is_match
    other = access(allow("#"), allow("$SYS/#"), allow("$/#"), deny(topic_filter.decode()))
    if not topic.startswith(b"$"):
        assert other.may_receive(topic.decode()) is not is_match


def test_nothing_that_matches_denies() -> None:
    for one in (access(), access(allow("a/b"), allow("$a"))):
        assert one.publish_right("x") is None
        assert not one.may_receive("x")
        assert one.subscribe_qos_max("x", None) is None
        assert one.rule_of(PUBLISH, "x") == one.rule_of(RECEIVE, "x") == NO_RULE_MATCHES
        assert one.rule_of(SUBSCRIBE, "x") == NO_RULE_COVERS


def test_an_action_is_judged_by_its_own_rules() -> None:
    one = access(allow("a", PUBLISH), allow("b", RECEIVE), allow("c", SUBSCRIBE))
    assert [topic for topic in "abc" if one.publish_right(topic)] == ["a"]
    assert [topic for topic in "abc" if one.may_receive(topic)] == ["b"]
    assert [topic for topic in "abc" if one.subscribe_qos_max(topic, None) is not None] == ["c"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([allow("a/#"), deny("a/b")], None),
        ([deny("a/b"), allow("a/#")], None),
        ([deny("a/#"), allow("a/b")], None),
        ([deny("#"), allow("a/b", tier=-1)], PublishRight()),
        ([allow("a/b", tier=1), deny("#", tier=2)], PublishRight()),
        ([allow("a/b", tier=2), deny("+/b", tier=1)], None),
        ([deny("a/b", RECEIVE, SUBSCRIBE, tier=-1), allow("a/b")], PublishRight()),
        ([deny("a/c"), allow("a/b")], PublishRight()),
        ([allow("a/#", qos_max=0), allow("a/b", qos_max=1, retain=False)], PublishRight(1, True)),
        ([allow("+/b", qos_max=0, retain=False), allow("a/+", qos_max=1, retain=False)], PublishRight(1, False)),
        ([allow("a/b", qos_max=0), allow("a/b", qos_max=2, retain=False)], PublishRight(2, True)),
        ([allow("a/b", qos_max=0), allow("a/+", qos_max=2, tier=1)], PublishRight(0, True)),
        ([allow("a/b", qos_max=1, tier=1), allow("a/b", qos_max=0, tier=0)], PublishRight(0, True)),
    ],
)
def test_precedence(rules: list[Rule], expected: PublishRight | None) -> None:
    for order in itertools.permutations(rules):
        assert access(*order).publish_right("a/b") == expected


FILTERS = [
    # what is allowed, what is subscribed to, whether the one covers the other
    ("#", "#", True),
    ("#", "+", True),
    ("#", "a/+/#", True),
    ("#", "$SYS/#", False),
    ("$SYS/#", "#", False),
    ("$SYS/#", "$SYS/+/x", True),
    ("$SYS/+", "$SYS/#", False),
    ("+/#", "#", True),
    ("+/+/#", "#", False),
    ("+", "#", False),
    ("a/#", "#", False),
    ("a/#", "+/secret", False),
    ("a/#", "+/#", False),
    ("a/#", "a", True),
    ("a/#", "a/#", True),
    ("a/#", "a/+", True),
    ("a/#", "a/b/#", True),
    ("a/#", "a/+/c/#", True),
    ("a/#", "ab/#", False),
    ("a/+/#", "a/#", False),
    ("a/+/#", "a/b/#", True),
    ("a/+", "a/#", False),
    ("a/+", "a/b", True),
    ("a/+", "a/+", True),
    ("a/+", "a", False),
    ("a/+/c", "a/b/c", True),
    ("a/+/c", "a/b/+", False),
    ("a/b", "a/+", False),
    ("+/b", "a/b", True),
    ("+/b", "+/b", True),
    ("+/b", "+/+", False),
    ("/#", "/", True),
    ("/#", "#", False),
    ("/+/#", "/#", True),
    ("+/+/#", "/#", True),
    ("/+/+/#", "/#", False),
    ("a/+/#", "/#", False),
    ("%c/#", "lamp/#", True),
    ("%c/#", "+/#", False),
    ("a/%u/+", "a/ann/x", True),
    ("a/%u/+", "a/+/x", False),
    ("dev-%c-%u/#", "dev-lamp-ann/#", True),
]


@pytest.mark.parametrize(("allowed", "wanted", "is_covered"), FILTERS)
def test_which_filters_are_covered(allowed: str, wanted: str, is_covered: bool) -> None:
    granted = access(allow(allowed, qos_max=1))
    assert granted.subscribe_qos_max(wanted, None) == (1 if is_covered else None)
    assert granted.subscribe_qos_max(wanted, "group") == (1 if is_covered else None)
    refused = access(allow("#"), allow("$SYS/#"), deny(allowed))
    assert refused.subscribe_qos_max(wanted, None) == (None if is_covered else 2)


def test_subscriptions_in_tiers() -> None:
    one = access(deny("a/#", source="all"), allow("a/b", tier=-1, qos_max=0, source="own"), allow("#", source="any"))
    assert one.subscribe_qos_max("a/b", None) == 0
    assert one.subscribe_qos_max("a/+", None) is None
    assert one.subscribe_qos_max("+/b", None) == 2
    assert [one.rule_of(SUBSCRIBE, wanted) for wanted in ("a/b", "a/+", "+/b")] == ["own", "all", "any"]


def test_the_highest_qos_of_the_covering_rules() -> None:
    one = access(allow("a/+", qos_max=0), allow("#", qos_max=1), allow("a/b", qos_max=2))
    assert one.subscribe_qos_max("a/+", None) == 1
    assert one.subscribe_qos_max("a/b", None) == 2


def test_every_subscription_granted() -> None:
    """Where subscriptions are not checked, what they bring is."""
    one = AccessRules([allow("a"), deny("b")], checks_subscriptions=False).for_client(client())
    assert [one.subscribe_qos_max(wanted, None) for wanted in ("#", "b", "$SYS/#")] == [2, 2, 2]
    assert one.rule_of(SUBSCRIBE, "b") == ""
    assert (one.may_receive("a"), one.may_receive("b")) == (True, False)


def test_which_rule_decided() -> None:
    one = access(
        allow("a/#", source="f:1"), deny("a/b", source="f:2"), allow("a/b/+", source="f:3", tier=-1), allow("c")
    )
    for action in (PUBLISH, RECEIVE):
        assert [one.rule_of(action, topic) for topic in ("a", "a/b", "a/b/c", "c", "d")] == [
            *("f:1", "f:2", "f:3", "", NO_RULE_MATCHES)
        ]


def test_answers_change_nothing() -> None:
    one = access(allow("a/%c/#"), deny("+/lamp/x"))
    before = [one.publish_right(topic) for topic in ("a/lamp", "a/lamp/x", "b")]
    for topic in ("a/lamp/x", "b", "a/lamp", "$SYS"):
        one.may_receive(topic)
        one.subscribe_qos_max(topic + "/#", "g")
        one.rule_of(PUBLISH, topic)
    assert [one.publish_right(topic) for topic in ("a/lamp", "a/lamp/x", "b")] == before


# --- placeholders --------------------------------------------------------------------------

#: Names that must be nothing but names.
HOSTILE = [
    *("+", "#", "a/b", "a/#", "+/+", "/", "", "a+", "#a", "a\0b", "a/../b"),
    *("$SYS", "$", "%c", "%u", "%", ".*", "[a", ">"),
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("placeholder", ["%c", "%u"])
def test_a_hostile_name_opens_nothing(name: str, placeholder: str) -> None:
    who = client(client_id=name) if placeholder == "%c" else client(user_name=name)
    is_level = bool(name) and not set(name) & set("+#/\0")
    one = access(allow(f"own/{placeholder}/#"), allow(f"dev-{placeholder}/x"), allow(f"{placeholder}/#"), who=who)
    assert one.may_receive(f"own/{name}/x") is is_level
    assert one.may_receive(f"dev-{name}/x") is is_level
    assert one.may_receive(f"{name}/x") is (is_level and not name.startswith("$"))
    for topic in ("own/other/x", "own", "own/", "dev-other/x", "a/b/x", "x", "other", "$SYS/x", "$SYS", "/x", "a/b"):
        assert not one.may_receive(topic) or topic.split("/")[0] == name or f"own/{name}" == topic, topic
        assert not one.subscribe_qos_max("#", None)
    for wanted in ("#", "own/#", "own/+/#", "+/#", "+/x", "dev-+/x"):
        assert one.subscribe_qos_max(wanted, None) is None
    if name.startswith("$"):
        assert one.subscribe_qos_max(f"{name}/#", None) is None


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("placeholder", ["%c", "%u"])
def test_a_hostile_name_gets_past_no_denial(name: str, placeholder: str) -> None:
    who = client(client_id=name) if placeholder == "%c" else client(user_name=name)
    rules = [allow("#"), allow("$SYS/#"), allow("$/#"), deny(f"own/{placeholder}/x"), deny(f"{placeholder}/x")]
    one = access(*rules, who=who)
    for topic in (f"own/{name}/x", f"{name}/x"):
        if not set(name) & set("+#\0"):  # no topic has these
            assert not one.may_receive(topic)
            assert one.subscribe_qos_max(topic, None) is None
    assert one.may_receive("own/other/x")
    assert one.subscribe_qos_max("own/+/x", None) == 2


def test_names_that_look_like_placeholders() -> None:
    one = access(allow("a/%c/%u"), who=client("%u", "%c"))
    assert one.may_receive("a/%u/%c")
    assert not one.may_receive("a/%c/%c")
    assert not one.may_receive("a/%u/%u")


def test_who_has_no_user_name() -> None:
    one = access(allow("a/%u/#"), allow("%u"), deny("b/%u"), allow("b/+"), allow("c/%c"), who=client(user_name=None))
    assert not one.may_receive("a/None/x")
    assert not one.may_receive("a/%u/x")
    assert one.may_receive("b/None")
    assert one.may_receive("c/lamp")


def test_text_that_is_no_placeholder() -> None:
    one = access(allow("a/%c/%x%", has_placeholders=False), allow("b/%"))
    assert one.may_receive("a/%c/%x%")
    assert not one.may_receive("a/lamp/%x%")
    assert one.may_receive("b/%")


def test_several_templates_with_one_text() -> None:
    one = access(allow("%c/a"), allow("%u/b"), allow("x%c/c"), deny("%u/%c/d"), allow("x/#"), who=client("x", "x"))
    assert [one.may_receive(topic) for topic in ("x/a", "x/b", "xx/c", "x/x/d")] == [True, True, True, False]


# --- parts ---------------------------------------------------------------------------------


def test_clients_without_placeholders_share_one_object() -> None:
    rules = AccessRules([allow("a"), allow("$x")], parts=[AccessRules([deny("b/#")])])
    assert rules.for_client(client("a", "b")) is rules.for_client(client("c", None))
    with_name = AccessRules([allow("%u")])
    assert with_name.for_client(client("a", None)) is with_name.for_client(client("b", None))
    assert with_name.for_client(client("a", "b")) is not with_name.for_client(client("b", "c"))


def test_parts_count_as_one() -> None:
    everybody = AccessRules([allow("all/%c", qos_max=0), deny("never"), allow("$s/+"), allow("deep/a/b/c/d/e")])
    group = AccessRules([allow("all/+", qos_max=1), deny("%c")], parts=[everybody])
    own = AccessRules([allow("never"), allow("own", tier=-1), deny("own")], parts=[group])
    one = own.for_client(client())
    assert one.publish_right("all/lamp") == PublishRight(1)
    assert [one.may_receive(topic) for topic in ("never", "own", "lamp", "$s/1", "deep/a/b/c/d/e", "deep/a")] == [
        *(False, True, False, True, True, False)
    ]
    assert not own.for_client(client("x/y")).may_receive("x/y")


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a+", "#a", "a\0b", "x" * 65_536, "%c+"])
def test_a_rule_that_is_none(topic_filter: str) -> None:
    with pytest.raises(ValueError, match=r"^acl:7: .* is no topic filter: "):
        AccessRules([Rule(topic_filter, source="acl:7")])


def test_a_qos_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"^the highest QoS is 3: expected 0, 1 or 2$"):
        AccessRules([Rule("a", qos_max=3)])


# --- cost ----------------------------------------------------------------------------------


class CountingDict(dict[str, Any]):
    """A node's children, which count how often they are asked."""

    asked = 0

    def get(self, *arguments: Any) -> Any:
        type(self).asked += 1
        return super().get(*arguments)


def nodes_of(rules: AccessRules) -> Iterator[Any]:
    waiting = [node for one in ("publish", "receive", "subscribe") for node in getattr(rules, f"_{one}")._ordinary]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [*node.children.values(), *node.templates.values(), *([node.any_level] if node.any_level else [])]


@pytest.mark.parametrize("count", [10, 10_000])
def test_cost_does_not_grow_with_the_rules(count: int) -> None:
    """Each node on the way asks its children once: their number is the same for ten rules and ten thousand."""
    rules = AccessRules(
        [
            *(allow(f"plant/line{number % 100}/cell{number}/+/#") for number in range(count)),
            *(deny(f"plant/+/cell{number}/secret/#") for number in range(count)),
            *(allow(f"users/user{number}/%c") for number in range(count)),
        ]
    )
    for node in nodes_of(rules):
        node.children = CountingDict(node.children)
    one = rules.for_client(client())

    def visits(question: Any, topic: str) -> int:
        CountingDict.asked = 0
        question(topic)
        return CountingDict.asked

    assert visits(one.publish_right, "plant/line3/cell3/x/y") == 7
    assert visits(one.may_receive, "plant/line3/cell3/secret/y") == 8
    assert visits(one.may_receive, "users/user5/lamp") == 3
    assert visits(one.may_receive, "elsewhere/a/b/c/d") == 1
    assert visits(lambda wanted: one.subscribe_qos_max(wanted, None), "plant/line3/cell3/#") == 4
    assert visits(lambda wanted: one.subscribe_qos_max(wanted, None), "#") == 0


def test_as_deep_as_a_filter_can_be() -> None:
    """Neither building nor asking nor letting go recurses."""
    deepest = "/" * 65_534
    rules = AccessRules([allow(deepest + "#"), deny(deepest + "+"), allow("a")])
    one = rules.for_client(client())
    assert one.may_receive(deepest[:-1])
    assert not one.may_receive(deepest)
    assert not one.may_receive("a" + deepest)
    assert one.subscribe_qos_max(deepest + "#", None) == 2
    del one, rules


# --- against an evaluator that looks at every rule -----------------------------------------

LEVELS = ["a", "b", "", "z", "$a"]
TOPICS = ["/".join(some) for count in range(1, 5) for some in itertools.product(LEVELS, repeat=count) if some != ("",)]


@cache
def matched(topic_filter: str) -> frozenset[str]:
    return frozenset(topic for topic in TOPICS if matches(topic_filter.encode(), topic.encode()))


def in_force(rules: list[Rule], who: Client) -> Iterator[tuple[Rule, frozenset[str]]]:
    """The rules that count for a client, each with the topics that it matches."""
    for rule in rules:
        text, fits, possible = "", True, True
        rest = rule.topic_filter
        while rest:
            if rest[:2] in ("%c", "%u"):
                value = who.client_id if rest[:2] == "%c" else who.user_name
                fits = fits and bool(value) and not any(one in str(value) for one in "/+#\0")
                possible = possible and value is not None and not any(one in value for one in "+#\0")
                text, rest = text + str(value), rest[2:]
            else:
                text, rest = text + rest[0], rest[1:]
        if rule.allows and fits:
            topics = matched(text)
            if not rule.topic_filter.startswith("$"):
                topics = frozenset(topic for topic in topics if not topic.startswith("$"))
            yield rule, topics
        elif not rule.allows and possible:
            yield rule, matched(text)


def verdict(rules: list[Rule]) -> tuple[bool, int, bool]:
    first = [rule for rule in rules if rule.tier == min(rule.tier for rule in rules)]
    if not first or not all(rule.allows for rule in first):
        return False, 0, False
    return True, max(rule.qos_max for rule in first), any(rule.retain for rule in first)


RULE_LEVELS = st.sampled_from(["a", "b", "", "+", "%c", "%u", "a%c", "$a"])
RULE_FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(RULE_LEVELS, max_size=3),
    st.sampled_from([["#"], ["a"], []]),
).filter(bool)
RULES = st.lists(
    st.builds(
        Rule,
        RULE_FILTERS,
        st.frozensets(st.sampled_from(Action), min_size=1),
        st.booleans(),
        st.integers(0, 2),
        st.booleans(),
        st.just("s"),
        st.integers(-1, 1),
    ),
    max_size=6,
)
NAMES = st.sampled_from(["a", "b", "", "$a", "a/b", "+", "#", "z", "%u"])
CLIENTS = st.builds(client, NAMES, st.none() | NAMES)
SUBSCRIBED = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.sampled_from(["a", "b", "", "+", "$a"]), max_size=3),
    st.sampled_from([["#"], []]),
).filter(bool)


@settings(deadline=None)
@given(RULES, CLIENTS, st.integers(0, 6))
def test_topics_against_every_rule(rules: list[Rule], who: Client, cut: int) -> None:
    """In two parts, wherever they are divided."""
    one = AccessRules(rules[:cut], parts=[AccessRules(rules[cut:])]).for_client(who)
    counting = list(in_force(rules, who))
    for topic in TOPICS[::7] + TOPICS[:30]:
        right = one.publish_right(topic)
        about = [rule for rule, topics in counting if topic in topics and PUBLISH in rule.actions]
        found = (False, 0, False) if right is None else (True, right.qos_max, right.retain)
        assert found == verdict(about), topic
        about = [rule for rule, topics in counting if topic in topics and RECEIVE in rule.actions]
        assert one.may_receive(topic) == verdict(about)[0], topic
        assert one.rule_of(RECEIVE, topic) == ("s" if about else NO_RULE_MATCHES)


@settings(deadline=None)
@given(RULES, CLIENTS, st.lists(SUBSCRIBED, min_size=1, max_size=8))
def test_filters_against_every_topic(rules: list[Rule], who: Client, wanted: list[str]) -> None:
    """A rule covers a filter where it matches all that the filter matches. "z" is a level that no rule names."""
    one = AccessRules(rules).for_client(who)
    counting = list(in_force(rules, who))
    for topic_filter in wanted:
        about = [rule for rule, topics in counting if matched(topic_filter) <= topics and SUBSCRIBE in rule.actions]
        allows, qos_max, _ = verdict(about)
        assert one.subscribe_qos_max(topic_filter, None) == (qos_max if allows else None), topic_filter
        assert one.rule_of(SUBSCRIBE, topic_filter) == ("s" if about else NO_RULE_COVERS)
