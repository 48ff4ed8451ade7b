"""The two trees: matching as a table and against a naive matcher, and that nothing is left behind when all has gone."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from noctule._speedups.message import Message
from noctule._speedups.topics import FilterTree, Subscriber, TopicTree
from speedups.naive_matching import MATCHING, matches

Subscriptions = dict[tuple[int, bytes], tuple[int, int, int]]

table = pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHING)


@table
def test_the_naive_matcher(topic_filter: bytes, topic: bytes, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@table
def test_a_topic_finds_the_filter(topic_filter: bytes, topic: bytes, expected: bool) -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    tree.subscribe(topic_filter, subscriber, 1, 2, 3)
    assert tree.match(topic) == ([(subscriber, 1, 2, 3)] if expected else [])


@table
def test_a_filter_finds_the_topic(topic_filter: bytes, topic: bytes, expected: bool) -> None:
    tree = TopicTree()
    message = Message(topic, b"payload", retain=True)
    tree.store(message)
    assert tree.walk(topic_filter) == ([message] if expected else [])


def test_each_topic_finds_its_filters_among_all_others() -> None:
    tree = FilterTree()
    filters = sorted({topic_filter for topic_filter, _, _ in MATCHING})
    subscriber = Subscriber()
    for number, topic_filter in enumerate(filters, 1):
        tree.subscribe(topic_filter, subscriber, identifier=number)
    for _, topic, _ in MATCHING:
        found = sorted(identifier for _, _, _, identifier in tree.match(topic))
        assert found == [n for n, topic_filter in enumerate(filters, 1) if matches(topic_filter, topic)], topic


def test_each_filter_finds_its_topics_among_all_others() -> None:
    tree = TopicTree()
    topics = sorted({topic for _, topic, _ in MATCHING})
    for topic in topics:
        tree.store(Message(topic, b"p"))
    for topic_filter, _, _ in MATCHING:
        found = sorted(message.topic for message in tree.walk(topic_filter))
        assert found == [topic for topic in topics if matches(topic_filter, topic)], topic_filter


# --- FilterTree ---


def test_a_subscription_to_the_same_filter_is_replaced() -> None:
    """[MQTT-3.8.4-3]"""
    tree = FilterTree()
    subscriber = Subscriber()
    assert not tree.subscribe(b"a/+", subscriber, 0, 1, 7)
    assert tree.subscribe(b"a/+", subscriber, 2, 2, 0)
    assert tree.match(b"a/b") == [(subscriber, 2, 2, 0)]
    assert tree.subscription_count == subscriber.subscription_count == 1
    assert tree.node_count == 2


def test_overlapping_filters_are_all_found() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    for number, topic_filter in enumerate((b"a/b", b"a/+", b"a/#", b"#", b"+/b", b"+/+", b"b/a"), 1):
        tree.subscribe(topic_filter, subscriber, identifier=number)
    assert sorted(identifier for *_, identifier in tree.match(b"a/b")) == [1, 2, 3, 4, 5, 6]


def test_filters_are_compared_byte_by_byte() -> None:
    """[MQTT-3.10.4-1]: an UNSUBSCRIBE removes what is the same, not what matches."""
    tree = FilterTree()
    subscriber, other = Subscriber(), Subscriber()
    tree.subscribe(b"a/+", subscriber)
    tree.subscribe(b"a/b", other)
    for topic_filter in (b"a/b", b"a/#", b"#", b"a", b"a/+/", b"A/+", b"a/+/c", b""):
        assert not tree.unsubscribe(topic_filter, subscriber)
    assert len(tree.match(b"a/b")) == 2
    assert tree.unsubscribe(b"a/+", subscriber)
    assert tree.match(b"a/b") == [(other, 0, 0, 0)]


def test_one_subscribers_subscriptions_go_and_the_others_stay() -> None:
    tree = FilterTree()
    leaving, staying = Subscriber(), Subscriber()
    for topic_filter in (b"a", b"a/b", b"a/b/c", b"#", b"+/b"):
        tree.subscribe(topic_filter, leaving)
        tree.subscribe(topic_filter + b"x" if topic_filter != b"#" else b"x", staying)
    tree.subscribe(b"a/b", staying)
    tree.unsubscribe_all(leaving)
    assert leaving.subscription_count == 0
    assert tree.subscriptions_of(leaving) == []
    assert tree.match(b"a/b") == [(staying, 0, 0, 0)]
    tree.unsubscribe_all(staying)
    assert (tree.node_count, tree.subscription_count) == (0, 0)


def test_subscriptions_are_listed_oldest_first() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    tree.subscribe(b"b", subscriber, 1)
    tree.subscribe(b"a/#", subscriber, 2, 3, 268_435_455)
    tree.subscribe(b"/", subscriber)
    tree.subscribe(b"b", subscriber, 0)  # replaced in its place
    assert tree.subscriptions_of(subscriber) == [(b"b", 0, 0, 0), (b"a/#", 2, 3, 268_435_455), (b"/", 0, 0, 0)]


def test_an_inner_node_stays_while_it_leads_somewhere() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    tree.subscribe(b"a", subscriber)
    tree.subscribe(b"a/b/c", subscriber)
    assert tree.node_count == 3
    tree.unsubscribe(b"a", subscriber)
    assert tree.node_count == 3
    assert tree.match(b"a/b/c") == [(subscriber, 0, 0, 0)]
    tree.unsubscribe(b"a/b/c", subscriber)
    assert tree.node_count == 0


def test_the_generation_moves_with_wildcards_alone() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    generations = [tree.generation]
    for topic_filter in (b"a/b", b"a/+", b"a/#"):
        tree.subscribe(topic_filter, subscriber)
        generations.append(tree.generation)
    assert generations[0] == generations[1] < generations[2] < generations[3]
    tree.subscribe(b"a/+", subscriber, 2)  # replaced: routes say something else now
    assert tree.generation > generations[3]
    before = tree.generation
    tree.unsubscribe(b"a/b", subscriber)
    assert tree.generation == before
    tree.unsubscribe(b"a/+", subscriber)
    assert tree.generation > before


def test_a_wildcard_in_a_topic_name_is_not_the_wildcard_of_a_filter() -> None:
    """The codec lets no such topic name in; the tree must not be fooled by one all the same."""
    tree = FilterTree()
    subscriber = Subscriber()
    tree.subscribe(b"a/#", subscriber, identifier=1)
    tree.subscribe(b"a/+", subscriber, identifier=2)
    assert sorted(identifier for *_, identifier in tree.match(b"a/#")) == [1, 2]
    assert sorted(identifier for *_, identifier in tree.match(b"a/+")) == [1, 2]
    assert [identifier for *_, identifier in tree.match(b"a/b/#")] == [1]


@pytest.mark.parametrize("levels", [1, 2, 200, 255, 256])
def test_as_many_levels_as_the_trees_hold(levels: int) -> None:
    topic = b"/" * (levels - 1)
    filters, topics = FilterTree(), TopicTree()
    subscriber = Subscriber()
    plus = b"/".join([b"+"] * levels)
    for topic_filter in (topic or b"x", plus, b"#"):
        filters.subscribe(topic_filter, subscriber)
    topic = topic or b"x"
    assert len(filters.match(topic)) == 3
    message = Message(topic, b"p")
    topics.store(message)
    assert topics.get(topic) is message
    assert topics.walk(plus) == topics.walk(b"#") == topics.walk(topic) == [message]
    filters.unsubscribe_all(subscriber)
    topics.discard(topic)
    assert filters.node_count == topics.node_count == 0


@pytest.mark.parametrize("levels", [257, 258, 300, 32_768, 65_536])
def test_more_levels_than_the_trees_hold(levels: int) -> None:
    """No filter has so many: nothing matches, nothing is stored, nothing is read past."""
    topic = b"/" * (levels - 1)
    filters, topics = FilterTree(), TopicTree()
    subscriber = Subscriber()
    filters.subscribe(b"#", subscriber)
    topics.store(Message(b"a", b"p"))
    with pytest.raises(ValueError, match="levels"):
        filters.subscribe(topic, subscriber)
    assert filters.match(topic) == []
    assert not filters.unsubscribe(topic, subscriber)
    assert topics.walk(topic) == []
    assert topics.get(topic) is None
    assert not topics.discard(topic)
    if levels <= 65_535:
        with pytest.raises(ValueError, match="levels"):
            topics.store(Message(topic, b"p"))
    assert (filters.node_count, filters.subscription_count, topics.node_count, len(topics)) == (1, 1, 1, 1)
    filters.unsubscribe_all(subscriber)


def test_filters_of_many_wildcards_cost_no_more_than_they_match() -> None:
    """Every filter of "+" and "a" over 12 levels: 4,096 of them match the one topic, and a deep miss ends."""
    tree = FilterTree()
    subscriber = Subscriber()
    for bits in range(1 << 12):
        tree.subscribe(b"/".join(b"+" if bits >> i & 1 else b"a" for i in range(12)), subscriber)
    assert len(tree.match(b"/".join([b"a"] * 12))) == 4_096
    assert len(tree.match(b"/".join([b"b"] * 12))) == 1
    assert tree.match(b"/".join([b"a"] * 13)) == []
    tree.unsubscribe_all(subscriber)
    assert tree.node_count == 0


def test_a_tree_that_goes_lets_go_of_its_subscribers() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    tree.subscribe(b"a/b", subscriber)
    tree.subscribe(b"#", subscriber)
    del tree
    assert subscriber.subscription_count == 0
    other = FilterTree()
    other.subscribe(b"a", subscriber)
    assert other.match(b"a") == [(subscriber, 0, 0, 0)]
    other.unsubscribe_all(subscriber)


# --- TopicTree ---


def test_a_stored_message_replaces_the_one_before() -> None:
    """[MQTT-3.3.1-5]"""
    tree = TopicTree()
    first, second = Message(b"a/b", b"1"), Message(b"a/b", b"22")
    tree.store(first)
    assert (len(tree), tree.count, tree.size_bytes, tree.node_count) == (1, 1, 4, 2)
    tree.store(second)
    assert tree.get(b"a/b") is second
    assert (len(tree), tree.size_bytes, tree.node_count) == (1, 5, 2)
    tree.store(second)
    assert (len(tree), tree.size_bytes) == (1, 5)


def test_what_is_discarded_leaves_nothing() -> None:
    """[MQTT-3.3.1-6]"""
    tree = TopicTree()
    tree.store(Message(b"a/b/c", b"p"))
    tree.store(Message(b"a", b"p"))
    assert not tree.discard(b"a/b")
    assert not tree.discard(b"a/b/c/d")
    assert tree.discard(b"a/b/c")
    assert not tree.discard(b"a/b/c")
    assert tree.get(b"a/b/c") is None
    assert (tree.node_count, tree.size_bytes) == (1, 2)
    assert tree.discard(b"a")
    assert (len(tree), tree.node_count, tree.size_bytes) == (0, 0, 0)


def test_an_inner_level_without_a_message_is_not_found() -> None:
    tree = TopicTree()
    tree.store(Message(b"a/b/c", b"p"))
    assert tree.walk(b"a/b") == tree.walk(b"+/+") == tree.walk(b"a") == []
    assert len(tree.walk(b"a/b/#")) == len(tree.walk(b"+/+/+")) == 1


# --- against the naive matcher ---

LEVELS = [b"", b"a", b"b", b"$a", b"ab", "ä".encode()]
topics = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=5).map(b"/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.sampled_from([*LEVELS, b"+", b"+"]), max_size=4), st.sampled_from([[], [b"#"], [b"a"]]))
    .map(lambda parts: b"/".join(parts[0] + parts[1]))
    .filter(bool)
)


class FilterTreeMachine(RuleBasedStateMachine):
    """Any sequence of subscribe and unsubscribe; each topic finds what the naive matcher finds."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = FilterTree()
        self.subscribers = [Subscriber() for _ in range(4)]
        self.model: Subscriptions = {}

    held = Bundle("held")

    @initialize()
    def start(self) -> None:
        assert self.tree.match(b"a") == []

    @rule(
        target=held,
        who=st.integers(0, 3),
        topic_filter=filters,
        options=st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5)),
    )
    def subscribe(self, who: int, topic_filter: bytes, options: tuple[int, int, int]) -> tuple[int, bytes]:
        key = (who, topic_filter)
        assert self.tree.subscribe(topic_filter, self.subscribers[who], *options) == (key in self.model)
        self.model[key] = options
        return key

    @rule(key=consumes(held))
    def unsubscribe(self, key: tuple[int, bytes]) -> None:
        who, topic_filter = key
        assert self.tree.unsubscribe(topic_filter, self.subscribers[who]) == (key in self.model)
        self.model.pop(key, None)

    @rule(who=st.integers(0, 3), topic_filter=filters)
    def unsubscribe_anything(self, who: int, topic_filter: bytes) -> None:
        assert self.tree.unsubscribe(topic_filter, self.subscribers[who]) == ((who, topic_filter) in self.model)
        self.model.pop((who, topic_filter), None)

    @rule(who=st.integers(0, 3))
    def unsubscribe_all(self, who: int) -> None:
        self.tree.unsubscribe_all(self.subscribers[who])
        self.model = {key: options for key, options in self.model.items() if key[0] != who}

    @rule(topic=topics)
    def match(self, topic: bytes) -> None:
        found = Counter((self.subscribers.index(found[0]), *found[1:]) for found in self.tree.match(topic))
        expected = Counter((who, *options) for (who, wanted), options in self.model.items() if matches(wanted, topic))
        assert found == expected

    @invariant()
    def counts(self) -> None:
        assert self.tree.subscription_count == len(self.model)
        nodes = {tuple(wanted.split(b"/")[: i + 1]) for _, wanted in self.model for i in range(wanted.count(b"/") + 1)}
        assert self.tree.node_count == len(nodes)
        for who, subscriber in enumerate(self.subscribers):
            expected = {(wanted, *options) for (key, wanted), options in self.model.items() if key == who}
            assert set(self.tree.subscriptions_of(subscriber)) == expected
            assert subscriber.subscription_count == len(expected)

    def teardown(self) -> None:
        for subscriber in self.subscribers:
            self.tree.unsubscribe_all(subscriber)
        assert (self.tree.node_count, self.tree.subscription_count) == (0, 0)


class TopicTreeMachine(RuleBasedStateMachine):
    """Any sequence of store and discard; each filter finds what the naive matcher finds."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = TopicTree()
        self.model: dict[bytes, Message] = {}

    @rule(topic=topics, payload=st.binary(min_size=1, max_size=3))
    def store(self, topic: bytes, payload: bytes) -> None:
        self.model[topic] = Message(topic, payload)
        self.tree.store(self.model[topic])

    @rule(topic=topics)
    def discard(self, topic: bytes) -> None:
        assert self.tree.discard(topic) == (self.model.pop(topic, None) is not None)

    @rule(topic_filter=filters)
    def walk(self, topic_filter: bytes) -> None:
        found = self.tree.walk(topic_filter)
        assert {message.topic: message for message in found} == {
            topic: message for topic, message in self.model.items() if matches(topic_filter, topic)
        }
        assert len(found) == len({message.topic for message in found})

    @rule(topic=topics)
    def get(self, topic: bytes) -> None:
        assert self.tree.get(topic) is self.model.get(topic)

    @invariant()
    def counts(self) -> None:
        assert len(self.tree) == self.tree.count == len(self.model)
        assert self.tree.size_bytes == sum(len(m.topic) + len(m.payload) for m in self.model.values())
        nodes = {tuple(topic.split(b"/")[: i + 1]) for topic in self.model for i in range(topic.count(b"/") + 1)}
        assert self.tree.node_count == len(nodes)

    def teardown(self) -> None:
        for topic in self.model:
            self.tree.discard(topic)
        assert (self.tree.node_count, len(self.tree), self.tree.size_bytes) == (0, 0, 0)


TestFilterTreeMachine = FilterTreeMachine.TestCase
TestFilterTreeMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTopicTreeMachine = TopicTreeMachine.TestCase
TestTopicTreeMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(filters, max_size=40), topics)
def test_filters_one_by_one(wanted: list[bytes], topic: bytes) -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    for topic_filter in wanted:
        tree.subscribe(topic_filter, subscriber)
    assert len(tree.match(topic)) == sum(matches(topic_filter, topic) for topic_filter in set(wanted))
    tree.unsubscribe_all(subscriber)


# --- many ---

MANY = 200_000


def test_200_000_filters() -> None:
    """The tables grow and shrink right; matching finds the few that there are."""
    tree = FilterTree()
    subscribers = [Subscriber() for _ in range(1_000)]
    names = [b"site/%d/device/%d" % (i % 1_000, i) for i in range(MANY)]
    for i, name in enumerate(names):
        assert not tree.subscribe(name, subscribers[i % 1_000], identifier=i)
    assert tree.subscription_count == MANY
    tree.subscribe(b"site/+/device/777", subscribers[0], identifier=MANY)
    assert sorted(identifier for *_, identifier in tree.match(b"site/777/device/777")) == [777, MANY]
    assert tree.match(b"site/777/device/778") == []
    order = random.Random(1).sample(range(MANY), MANY)
    for i in order[: MANY // 2]:
        assert tree.unsubscribe(names[i], subscribers[i % 1_000])
    for i in order[:1_000]:
        assert tree.match(names[i]) == [] or i == 777
    for i in order[-1_000:]:
        assert (subscribers[i % 1_000], 0, 0, i) in tree.match(names[i])
    for subscriber in subscribers:
        tree.unsubscribe_all(subscriber)
    assert (tree.node_count, tree.subscription_count) == (0, 0)


def test_200_000_retained_messages() -> None:
    tree = TopicTree()
    names = [b"site/%d/device/%d" % (i % 1_000, i) for i in range(MANY)]
    for name in names:
        tree.store(Message(name, b"p"))
    assert len(tree) == MANY
    assert len(tree.walk(b"site/7/#")) == MANY // 1_000
    assert len(tree.walk(b"site/+/device/777")) == 1
    assert len(tree.walk(b"#")) == MANY
    for name in random.Random(2).sample(names, MANY):
        assert tree.discard(name)
    assert (tree.node_count, len(tree), tree.size_bytes) == (0, 0, 0)


def test_a_filter_with_100_000_subscribers() -> None:
    """Each comes and goes by itself, which must not look through all the others."""
    tree = FilterTree()
    subscribers = [Subscriber() for _ in range(100_000)]
    for subscriber in subscribers:
        tree.subscribe(b"a/#", subscriber)
    assert len(tree.match(b"a/b")) == 100_000
    assert tree.node_count == 2
    for subscriber in subscribers:
        assert tree.subscribe(b"a/#", subscriber, 1)
        assert tree.unsubscribe(b"a/#", subscriber)
    assert (tree.node_count, tree.subscription_count) == (0, 0)


def test_a_subscriber_with_100_000_filters() -> None:
    tree = FilterTree()
    subscriber = Subscriber()
    names = [b"%d" % i for i in range(100_000)]
    for name in names:
        tree.subscribe(name, subscriber)
    for name in names:
        assert tree.subscribe(name, subscriber, 1)
        assert tree.unsubscribe(name, subscriber)
    assert (tree.node_count, tree.subscription_count, subscriber.subscription_count) == (0, 0, 0)
