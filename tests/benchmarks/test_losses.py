"""What the load generator says of a broker that loses, repeats, or ends."""

import sys
from pathlib import Path
from typing import Any

import pytest
from suite.brokers import read_broker, running
from suite.measuring import Conditions, Measurement, drive, load_command, measure
from suite.scenarios import one

LOSSY = str(Path(__file__).with_name("lossy_broker.py"))
CONDITIONS = Conditions(5.0, None, None)


def run(arguments: str, *options: str) -> dict[str, Any]:
    broker = read_broker("lossy", {"command": [sys.executable, LOSSY, "{port}", *options]})
    scenario = one("x", "x", "x", f"{arguments} --stall 1")
    with running(broker, "plain", ()) as server:
        return drive(load_command(scenario, CONDITIONS, server.port, server.folder), server.pid, 10).load


def test_nothing_is_lost_where_nothing_is() -> None:
    load = run("--scenario flood --subscribers 3 --messages 1000")
    assert (load["sent"], load["expected"], load["received"]) == (1000, 3000, 3000)
    assert (load["lost"], load["duplicates"]) == (0, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        "--scenario flood",
        "--scenario flood --topics 50",
        "--scenario flood --own-topics --publishers 4",
        "--scenario flood --own-topics --publishers 4 --subscribers 5 --shared",
        "--scenario open-loop --publishers 10 --rate 200",
    ],
)
def test_every_tenth_is_lost(arguments: str) -> None:
    load = run(f"{arguments} --messages 1005", "--lose", "10")
    assert load["sent"] == load["expected"] == 1005
    assert (load["received"], load["lost"], load["duplicates"]) == (905, 100, 0)


def test_losses_of_many_subscribers_add_up() -> None:
    load = run("--scenario flood --subscribers 7 --messages 300", "--lose", "7")
    assert (load["expected"], load["received"], load["lost"]) == (2100, 1800, 300)


@pytest.mark.parametrize("sharing", ["", "--subscribers 5 --shared"])
def test_repetitions_are_no_deliveries(sharing: str) -> None:
    load = run(f"--scenario flood {sharing} --messages 1000", "--repeat", "20")
    assert (load["received"], load["lost"], load["duplicates"]) == (1000, 0, 50)


def test_what_another_member_of_the_group_gets_again_is_a_repetition() -> None:
    load = run("--scenario flood --subscribers 5 --shared --messages 1000", "--repeat-elsewhere", "20")
    assert (load["received"], load["lost"], load["duplicates"]) == (1000, 0, 50)


def test_the_last_message_lost() -> None:
    """There is no jump in the sequence behind it: it is missed by waiting."""
    load = run("--scenario flood --messages 100", "--lose", "100")
    assert (load["received"], load["lost"]) == (99, 1)


def test_a_broker_that_ends_is_a_failure_and_no_figure() -> None:
    entry = {"command": [sys.executable, LOSSY, "{port}", "--end-after", "50"]}
    (found,) = measure(read_broker("ending", entry), one("x", "x", "x", "--scenario flood"), 0, CONDITIONS)
    assert isinstance(found, Measurement)
    assert found.error
    assert found.units == 0
