"""Fixtures for pytest: a broker on a random port, and one in memory on a clock that jumps.

pytest loads this module whether or not a test uses it: the broker is imported by the fixtures.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from noctule.testing.running import RunningBroker

_MARKER = "noctule_broker(plugins=(), config=None, settings=None, allow_anonymous=None, **limits)"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", f"{_MARKER}: what the fixture noctule_broker is to be started with.")


@pytest.fixture
def noctule_broker_factory() -> Iterator[Callable[..., "RunningBroker"]]:
    """Starts brokers: called with the arguments of ``noctule.testing.running.RunningBroker``, it gives back one that
    runs. All are stopped when the test is over; one that has failed fails the test."""
    from noctule.testing.running import RunningBroker

    with ExitStack() as stack:

        def start(*plugins: object, **options: Any) -> RunningBroker:
            return stack.enter_context(RunningBroker(*plugins, **options))

        yield start


@pytest.fixture
def noctule_broker(
    request: pytest.FixtureRequest, noctule_broker_factory: Callable[..., "RunningBroker"]
) -> "RunningBroker":
    """A broker that runs, in a thread, on a port that the system chooses; the marker ``noctule_broker`` has its
    arguments."""
    marker = request.node.get_closest_marker("noctule_broker")
    options = dict(marker.kwargs) if marker else {}
    return noctule_broker_factory(*options.pop("plugins", ()), **options)


@pytest.fixture
def noctule_memory_broker() -> Callable[..., None]:
    """Runs ``async def scenario(broker: MemoryBroker)`` in trio, on a clock that jumps; the other arguments are those
    of ``noctule.testing.memory.run_scenario``."""
    from noctule.testing.memory import run_scenario

    return run_scenario
