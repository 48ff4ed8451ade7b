"""Statistics: medians, ratios of runs that followed each other, exponents."""

import math

import pytest
from suite.figures import Spread, exponent, ratio, short, spread


def test_a_spread_is_median_least_and_greatest() -> None:
    assert spread([5.0, 1.0, 9.0]) == Spread(5.0, 1.0, 9.0)
    assert spread([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([]) is None


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_pairs() -> None:
    # The machine was three times as slow in the second repetition: it concerns both, and the ratio stays.
    assert ratio([10.0, 30.0, 11.0], [1.0, 3.0, 1.0]) == Spread(11.0, 10.0, 11.0)
    assert ratio([], [1.0]) is None
    assert ratio([1.0], []) is None
    assert ratio([1.0], [0.0]) is None


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 2.0])
def test_the_exponent_of_a_power(power: float) -> None:
    points = [(float(x), 3.0 * x**power) for x in (1, 10, 100, 1000)]
    found = exponent(points)
    assert found is not None
    assert math.isclose(found, power, abs_tol=1e-9)


@pytest.mark.parametrize(
    "points", [[], [(1.0, 1.0), (2.0, 2.0)], [(1.0, 1.0)] * 3, [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0)]]
)
def test_no_exponent_of_too_little(points: list[tuple[float, float]]) -> None:
    assert exponent(points) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234"), (2e6, "2,000,000")],
)
def test_figures_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_spread_of_one_value_is_that_value() -> None:
    assert str(Spread(2.0, 2.0, 2.0)) == "2.00"
    assert str(Spread(2.0, 1.0, 30.0)) == "2.00 (1.00 to 30.0)"
