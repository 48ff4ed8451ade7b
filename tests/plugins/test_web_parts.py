"""The parts that the plugins over HTTP share, each by itself: the cache, the circuit, JSON with one meaning."""

import itertools

import pytest
from noctule.plugins.web.answer_cache import JITTER, AnswerCache
from noctule.plugins.web.circuit import FAILURES_MAX, REST_MAX_S, REST_S, Circuit
from noctule.plugins.web.strict_json import parse_object


def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    cache: AnswerCache[int] = AnswerCache(3)
    keys = [cache.key(str(number)) for number in range(5)]
    for number in range(3):
        cache.store(keys[number], number, 100, now=0)
    assert cache.find(keys[0], now=1) is not None
    cache.store(keys[3], 3, 100, now=1)
    cache.store(keys[4], 4, 100, now=1)
    assert len(cache) == 3
    assert [cache.find(key, now=1) is not None for key in keys] == [True, False, False, True, True]


def test_lifetimes_are_shortened_by_chance_and_never_prolonged() -> None:
    cache: AnswerCache[int] = AnswerCache(1_000)
    kept = [cache.store(cache.key(str(number)), number, 100, now=0) for number in range(500)]
    assert 100 * (1 - JITTER) <= min(kept) < 85
    assert 95 < max(kept) <= 100
    key = cache.key("0")
    assert cache.find(key, kept[0] - 0.01) is not None
    assert cache.find(key, kept[0]) is None
    assert len(cache) == 499


@pytest.mark.parametrize(("entries_max", "lifetime_s"), [(0, 100), (10, 0)])
def test_nothing_is_kept_where_that_is_wanted(entries_max: int, lifetime_s: float) -> None:
    cache: AnswerCache[int] = AnswerCache(entries_max)
    key = cache.key("a")
    assert cache.store(key, 1, lifetime_s, now=0) == 0
    assert cache.find(key, now=0) is None


def test_a_shorter_answer_replaces_a_longer_one() -> None:
    cache: AnswerCache[int] = AnswerCache(10)
    key = cache.key("a")
    cache.store(key, 1, 100, now=0)
    cache.store(key, 2, 0, now=0)
    assert cache.find(key, now=0) is None


def test_different_questions_have_different_hashes() -> None:
    cache: AnswerCache[int] = AnswerCache(1)
    parts: list[str | None] = [None, "", "-", "a", "b", "ab", "+1:a", "a+1:b"]
    questions = list(itertools.product(parts, repeat=3)) + list(itertools.product(parts, repeat=2))
    assert len({cache.key(*question) for question in questions}) == len(questions)
    assert AnswerCache[int](1).key("a") != cache.key("a")  # another process has another key


def test_the_circuit() -> None:
    circuit = Circuit()
    for _ in range(FAILURES_MAX - 1):
        assert circuit.may_ask(0)
        circuit.fail(0)
    assert circuit.may_ask(0)
    circuit.succeed()
    assert all(circuit.may_ask(0) for _ in range(FAILURES_MAX + 3))
    for _ in range(FAILURES_MAX + 3):  # those that were under way make the rest no longer
        circuit.fail(0)
    assert not circuit.may_ask(REST_S * 0.49)
    assert circuit.may_ask(REST_S)
    assert not circuit.may_ask(REST_S)  # one tries, the others wait for what it finds
    circuit.abandon()
    assert circuit.may_ask(REST_S)
    circuit.fail(REST_S)
    assert not circuit.may_ask(REST_S + 2 * REST_S * 0.49)
    assert circuit.may_ask(REST_S + 2 * REST_S)
    circuit.succeed()
    assert circuit.may_ask(REST_S)
    assert circuit.may_ask(REST_S)


def test_rests_grow_to_the_longest() -> None:
    circuit, now, rests = Circuit(), 0.0, []
    for _ in range(FAILURES_MAX):
        assert circuit.may_ask(now)
        circuit.fail(now)
    for _ in range(20):
        began = now
        while not circuit.may_ask(now):
            now += 0.125
        rests.append(now - began)
        circuit.fail(now)
    assert max(rests) <= REST_MAX_S + 0.125
    assert min(rests[8:]) >= REST_MAX_S / 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"b": {"a": 1, "a": 2}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "NaN"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "too many digits"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": ' + b"[" * 400_000, "nested|not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_json_with_two_meanings_or_none(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_object(data)
