"""When rounds rest: where events come one by one and often."""

import random
from collections.abc import Iterable, Iterator

import pytest
from noctule._speedups.resting import Resting

LATE_S = 0.0004
REST_S = 0.00015
WAKING_S = 0.00004


def evenly(per_second: float) -> Iterator[float]:
    return (number / per_second for number in range(10**9))


def by_chance(per_second: float) -> Iterator[float]:
    chance = random.Random(1)
    now_s = 0.0
    while True:
        now_s += chance.expovariate(per_second)
        yield now_s


def in_bursts(per_second: float, every_s: float) -> Iterator[float]:
    each = round(per_second * every_s)
    return (tick * every_s + number * 5e-6 for tick in range(10**9) for number in range(each))


def rounds(arrivals: Iterable[float], seconds: float, resting: Resting | None = None) -> float:
    """The share of rounds after which it is on, of a reactor that handles what is there, rests or not, waits."""
    resting = resting or Resting()
    waiting = iter(arrivals)
    next_s = next(waiting)
    before_s = now_s = 0.0
    found = []
    while now_s < seconds:
        now_s = max(now_s, next_s) + WAKING_S
        events = 0
        while next_s <= now_s:
            events += 1
            next_s = next(waiting)
        found.append(resting.after(events, now_s - before_s >= LATE_S, now_s))
        before_s = now_s
        if found[-1]:
            now_s += REST_S
    return sum(found) / len(found)


@pytest.mark.parametrize(
    "arrivals",
    [evenly(8_000), evenly(10_000), evenly(100_000), by_chance(10_000), by_chance(50_000), in_bursts(50_000, 1e-4)],
    ids=["8,000", "10,000", "100,000", "10,000 by chance", "50,000 by chance", "50,000, every 0.1 ms"],
)
def test_it_rests_where_much_comes_one_by_one(arrivals: Iterator[float]) -> None:
    assert rounds(arrivals, 2.0) > 0.9


@pytest.mark.parametrize(
    "arrivals",
    [evenly(100), evenly(5_000), evenly(7_000), by_chance(1_000), by_chance(5_000), in_bursts(10_000, 1e-3)],
    ids=["100", "5,000", "7,000", "1,000 by chance", "5,000 by chance", "10,000, every ms"],
)
def test_it_does_not_where_little_comes_or_all_at_once(arrivals: Iterator[float]) -> None:
    assert rounds(arrivals, 2.0) < 0.02


def test_it_follows_a_change() -> None:
    resting = Resting()
    assert rounds(evenly(20_000), 1.0, resting) > 0.9
    assert rounds((at_s + 1.0 for at_s in evenly(2_000)), 2.0, resting) < 0.05
    assert not resting.is_on
    assert rounds((at_s + 2.0 for at_s in evenly(20_000)), 3.0, resting) > 0.9


def test_it_begins_anew_where_nothing_could_rest() -> None:
    resting = Resting()
    rounds(evenly(20_000), 0.1, resting)
    assert resting.is_on
    resting.forget()
    assert not resting.is_on
    assert not resting.after(1, False, 100.0)
    for number in range(200):
        last = resting.after(1, False, 100.0 + number * 50e-6)
    assert last


def strangers(sources: Iterable[int]) -> list[bool]:
    """After each event, whether nearly all came from strangers: from sources that none of the last 64 were of."""
    resting = Resting()
    heard_at: dict[int, int] = {}
    found = []
    for number, source in enumerate(sources, 64):
        found.append(resting.hear_from(number - heard_at.get(source, -1) > 64))
        heard_at[source] = number
    return found


@pytest.mark.parametrize("publishers", [1_000, 5_000])
def test_many_publishers_by_chance_are_strangers(publishers: int) -> None:
    """One of a thousand is heard again within 64 events now and then."""
    chance = random.Random(1)
    found = strangers(chance.randrange(publishers) for _ in range(20_000))
    assert sum(found[1_000:]) > 0.98 * len(found[1_000:])


@pytest.mark.parametrize("publishers", [1, 20, 63, 100, 300])
def test_few_publishers_by_chance_are_not(publishers: int) -> None:
    chance = random.Random(1)
    assert not any(strangers(chance.randrange(publishers) for _ in range(20_000))[1_000:])


@pytest.mark.parametrize("each", [2, 3, 8])
def test_one_who_is_heard_all_the_time_among_many_is_not_held_up(each: int) -> None:
    """It may wait for an answer before it goes on."""
    found = strangers(0 if number % each == 0 else 1 + number % 1_009 for number in range(20_000))
    assert not any(found[1_000:])


def test_strangers_have_to_be_many() -> None:
    found = strangers(range(100))
    assert (found[:63], found[63:]) == ([False] * 63, [True] * 37)


def test_one_round_cannot_decide() -> None:
    """Not even one with many events: it is not known since when they came."""
    assert not Resting().after(1_000, False, 1.0)
