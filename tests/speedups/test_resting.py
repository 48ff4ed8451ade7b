"""When rounds rest: where events come one by one and often."""

import random
import sys
from collections.abc import Iterable, Iterator

import pytest

if sys.platform.startswith("linux"):
    from noctule._speedups.resting import Resting
else:
    pytest.skip("the reactor is Linux's", allow_module_level=True)

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


def rounds(arrivals: Iterable[float], seconds: float, resting: "Resting | None" = None) -> float:
    """The share of rounds after which it rests, of a reactor that wakes up, handles what is there, and waits."""
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
    resting.after(1, False, 0.0)
    assert rounds(evenly(2_000), 1.0, resting) < 0.1
    assert not resting.is_on


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


def test_one_round_cannot_decide() -> None:
    """Not even one with many events: it is not known since when they came."""
    assert not Resting().after(1_000, False, 1.0)
