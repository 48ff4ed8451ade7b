"""What every end-to-end test starts from: a running broker, once per way to carry bytes, and topics of its own."""

import re
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from e2e.process import BrokerProcess

SECONDS_PER_TEST = 40
CARRIERS = ("reactor", "streams") if sys.platform.startswith("linux") else ("streams",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the broker printed."""
    report = yield
    broker = getattr(item, "funcargs", {}).get("broker")
    if report.failed and isinstance(broker, BrokerProcess):
        report.sections.append(("Output of the broker", "".join(broker.output.splitlines(keepends=True)[-60:])))
    return report


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> str:
    """The way bytes are carried: the epoll reactor, or one trio task per connection."""
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(scope="session")
def running() -> Iterator[dict[str, BrokerProcess]]:
    """The brokers that tests share, by carrier; at the end each must stop as it should."""
    brokers: dict[str, BrokerProcess] = {}
    yield brokers
    for broker in brokers.values():
        broker.stop()


@pytest.fixture
def broker(carrier: str, running: dict[str, BrokerProcess]) -> Iterator[BrokerProcess]:
    """A running broker, shared with other tests; it must outlive the test without a traceback."""
    shared = running.get(carrier)
    if shared is None or shared.process.poll() is not None:
        shared = running[carrier] = BrokerProcess("--carrier", carrier).wait_until_listening()
    before = len(shared.output)
    yield shared
    if shared.process.poll() is not None:
        del running[carrier]
        pytest.fail(f"the broker ended with exit code {shared.process.returncode}:\n{shared.output[before:]}")
    shared.check_output()


@pytest.fixture
def start_broker(carrier: str) -> Iterator[Callable[..., BrokerProcess]]:
    """Start brokers for this test alone, with more arguments of the command line if need be."""
    started: list[BrokerProcess] = []

    def start(*arguments: str) -> BrokerProcess:
        broker = BrokerProcess("--carrier", carrier, *arguments)
        started.append(broker)
        return broker.wait_until_listening()

    yield start
    for broker in started:
        if broker.process.poll() is None:
            broker.kill()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of two levels that no other test uses."""
    return "e2e/" + re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)
