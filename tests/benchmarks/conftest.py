"""The compiled load generator, and brokers that several tests use."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from suite.brokers import Broker, RunningBroker, read_brokers, running
from suite.command import build_load
from suite.places import HERE


@pytest.fixture(scope="session", autouse=True)
def compiled_load() -> None:
    """The load generator and the relay."""
    build_load()


@pytest.fixture(scope="session")
def brokers() -> dict[str, Broker]:
    """Those of brokers.toml."""
    return read_brokers([HERE / "brokers.toml"])


StartNoctule = Callable[[str], RunningBroker]


@pytest.fixture(scope="module")
def noctule_with(brokers: dict[str, Broker]) -> Iterator[StartNoctule]:
    """A Noctule with a set-up; each is started once."""
    started: dict[str, RunningBroker] = {}
    with ExitStack() as stack:

        def start(setup: str) -> RunningBroker:
            if setup not in started:
                started[setup] = stack.enter_context(running(brokers["noctule"], setup, ()))
            return started[setup]

        yield start
