"""Every kind of scenario, with tiny numbers, against Noctule: it carries messages, loses none, and makes every row."""

from collections.abc import Callable

import pytest
from suite.brokers import Broker, RunningBroker
from suite.command import steps
from suite.measuring import Conditions, measure
from suite.scenarios import ALL, SCENARIOS, Scenario, choose, filled, groups
from suite.targets import TARGETS

StartNoctule = Callable[[str], RunningBroker]

CONDITIONS = Conditions(0.1, None, None, ("--stall", "10"))

#: The rest of these groups differs in numbers alone.
OF_THE_MATRIX = [f"{topology}-v5p-qos{qos}-1024" for topology in ("1-1", "200-pairs") for qos in (0, 1, 2)]
OF_THE_CURVES = ["grow-clients-10", "grow-topics-1000", "grow-filters-1000", "grow-fan-out-10", "grow-payload-4096"]
TOO_LARGE = {"5000-slow-1", "5000-slow-10", "retained"}

#: The rows of each target that compares two.
COMPARED = [{t.above.row, t.below.row} for t in TARGETS if t.below is not None and t.below.row != t.above.row]

TRIED = [
    *(s.name for s in ALL if not s.group.startswith(("matrix", "growth", "cores")) and s.name not in TOO_LARGE),
    *OF_THE_MATRIX,
    *OF_THE_CURVES,
]


@pytest.mark.parametrize("name", TRIED)
def test_it_runs(name: str, noctule_with: StartNoctule, brokers: dict[str, Broker]) -> None:
    scenario = filled(SCENARIOS[name], connections=30, scale=2_000)
    if scenario.program == "transports":
        scenario = with_arguments(scenario, "--connections", "30")
    server = noctule_with(scenario.setup)
    found = measure(brokers["noctule"], scenario, 3, CONDITIONS, server)
    assert [m.row for m in found] == [row.name for row in scenario.rows]
    for m in found:
        assert m.error == ""
        assert m.units > 0
        assert m.rate > 0
        assert m.lost == 0
        assert (m.broker, m.repetition) == ("noctule", 3)
        if scenario.latency:
            assert 0 < m.latency_us["p50"] <= m.latency_us["p99"] <= m.latency_us["p999"]


def with_arguments(scenario: Scenario, *arguments: str) -> Scenario:
    return Scenario(
        scenario.name,
        scenario.group,
        scenario.rows,
        (*scenario.arguments, *arguments),
        latency=scenario.latency,
        setup=scenario.setup,
        program=scenario.program,
    )


def test_retained_messages_outlive_a_restart(brokers: dict[str, Broker]) -> None:
    scenario = filled(SCENARIOS["retained"], connections=1, scale=500)
    found = {m.row: m for m in measure(brokers["noctule"], scenario, 0, CONDITIONS)}
    assert set(found) == {row.name for row in scenario.rows}
    assert not [m.error for m in found.values() if m.error]
    assert found["retained-publish"].cost > 0
    assert found["retained-restart"].cost > 0
    assert found["retained-delivery"].units == 500
    assert found["retained-delivery"].lost == 0


def test_a_figure_is_the_brokers_own(brokers: dict[str, Broker]) -> None:
    """At a fixed rate both do the same number of messages: the CPU time is of this order, and not of the load's."""
    scenario = filled(SCENARIOS["ping-pong"], 1, 1)
    (found,) = measure(brokers["relay"], scenario, 0, CONDITIONS)
    assert found.error == ""
    assert 0 < found.cost < 500
    assert 0 < found.busy <= 1.05


@pytest.mark.parametrize("text", ["core", "all", "quick", "matrix", "1-1,idle", "growth,1-1"])
def test_choosing(text: str) -> None:
    chosen = choose(text)
    assert chosen
    assert len({scenario.name for scenario in chosen}) == len(chosen)
    if text == "matrix":
        assert len(chosen) == 5 * 3 * 3 * 4
    if text == "all":
        assert chosen == ALL


def test_the_order_of_runs() -> None:
    chosen = choose("1-1,idle,1-1-v5-qos0-16,1-1-v5-qos1-16,100-1-v5-qos0-16")
    alone, idle, first, second, other = (SCENARIOS[s.name] for s in chosen)
    batches = [(alone,), (idle,), (first, second), (other,)]
    assert steps(chosen, 2, is_quick=False) == [(batch, repetition) for batch in batches for repetition in (0, 1)]
    assert steps(chosen, 2, is_quick=True) == [(batch, repetition) for repetition in (0, 1) for batch in batches]


def test_what_is_compared_is_run_in_turn() -> None:
    """A repetition has them all, one behind the other: the machine is as busy for each."""
    chosen = choose("1-1-v311,1-1-v5-properties,1-1-16")
    plain, with_properties, other = (SCENARIOS[s.name] for s in chosen)
    batches = [(plain, with_properties), (other,)]
    assert steps(chosen, 2, is_quick=False) == [(batch, repetition) for batch in batches for repetition in (0, 1)]


@pytest.mark.parametrize("names", COMPARED, ids=lambda names: " ".join(sorted(names)))
def test_rows_of_a_target_are_of_one_repetition(names: set[str]) -> None:
    together = {SCENARIOS[name] for name in names}
    assert all(scenario.is_in_turn for scenario in together)
    assert any(together <= set(batch) for batch, _ in steps(ALL, 1, is_quick=False))


def test_choosing_what_is_not_there() -> None:
    with pytest.raises(KeyError, match="nothing"):
        choose("core,nothing")


def test_no_two_rows_have_one_name() -> None:
    names = [row.name for scenario in ALL for row in scenario.rows]
    assert len(set(names)) == len(names)
    assert "core" in groups()


def test_every_setup_of_a_scenario_is_one_of_noctule(brokers: dict[str, Broker]) -> None:
    lacking = {s.setup for s in ALL} - set(dict(brokers["noctule"].setups))
    assert not lacking
