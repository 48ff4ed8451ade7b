"""How conformance tests run, and the report on which statement of the specifications is covered.

An async test runs in trio with a broker of its own, its ``world`` argument. Every test is marked with the
statements that it proves (``conformance.marks.statement``); the lists in ``statements/`` say which there are.
``--conformance-report PATH``, or the variable CONFORMANCE_REPORT, writes what was found as Markdown. When all
tests of this folder have been collected, a statement that is neither covered nor untestable fails the session.
"""

import inspect
import os
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from conformance.client import MEMORY, REACTOR, STREAMS, open_world
from conformance.ledger import Ledger, read_statements

HERE = Path(__file__).parent
SECONDS_PER_TEST = 20

#: What a broker's clock shows when it starts, as on a machine that has been up for a while.
START_S = 10_000.0
CARRIERS = (REACTOR, STREAMS) if sys.platform.startswith("linux") else (STREAMS,)

LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-report", metavar="PATH", help="write which statements are covered, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "statement(*ids, version): the statements of MQTT 5.0 (version=5) or 3.1.1 (version=4) that the test proves",
        "limits(**values): the limits of the test's broker",
        "settings(**values): the settings of the test's broker",
        "broker(**values): what else the test's broker is made with",
        "over_sockets: runs over streams in memory and over sockets on both carriers",
    ):
        config.addinivalue_line("markers", line)
    config.stash[LEDGER] = Ledger(read_statements())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Put the function's statements into its tests' ids, and run what runs over sockets on every carrier."""
    marks = metafunc.definition.iter_markers("statement")
    named = list(dict.fromkeys(one for mark in reversed(list(marks)) for one in mark.args))
    if named:
        metafunc.parametrize("statements", ["+".join(named)], indirect=True)
    if "world" in metafunc.fixturenames and metafunc.definition.get_closest_marker("over_sockets") is not None:
        metafunc.parametrize("world", [MEMORY, *CARRIERS], indirect=True)


@pytest.fixture(autouse=True)
def statements() -> None:
    """There for its parameter, which names the statements in the id of the test."""


@pytest.fixture
def world(request: pytest.FixtureRequest) -> str:
    """The broker of the test and its clock, a ``World``; it is opened when the test runs in trio."""
    carrier = getattr(request, "param", MEMORY)
    assert isinstance(carrier, str)
    return carrier


def _merged(item: pytest.Item, name: str) -> dict[str, Any]:
    """The values of all marks of this name, the closest to the test last."""
    merged: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers(name))):
        merged.update(mark.kwargs)
    return merged


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test of this folder in trio, with its world."""
    if HERE not in pyfuncitem.path.parents or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    test = pyfuncitem.obj

    async def run() -> None:
        if "world" not in arguments:
            await test(**arguments)
            return
        opened = open_world(
            arguments["world"],
            limits=_merged(pyfuncitem, "limits"),
            settings=_merged(pyfuncitem, "settings"),
            broker=_merged(pyfuncitem, "broker"),
        )
        async with opened as world:
            await test(**{**arguments, "world": world})

    clock = None
    if arguments.get("world", MEMORY) == MEMORY:
        clock = trio.testing.MockClock()
        clock.jump(START_S)
    trio.run(partial(_unwrapped, run), clock=clock)
    return True


async def _unwrapped(run: Any) -> None:
    """Run it, and raise what the test raised instead of the nurseries' groups around it."""
    failure: BaseException | None = None
    try:
        await run()
    except BaseExceptionGroup as group:
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
            found = found.exceptions[0]
        failure = found
    if failure is not None:
        raise failure


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Note which statements are claimed, and bound the time of each test."""
    ledger = config.stash[LEDGER]
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))
        for mark in item.iter_markers("statement"):
            ledger.claim(item.nodeid, mark.kwargs["version"], mark.args)
    collected = {item.path.name for item in own}
    before = len(items)
    yield
    ledger.is_whole = len(items) == before and collected == {path.name for path in HERE.glob("test_*.py")}
    if ledger.unknown:
        raise pytest.UsageError("no such statements: " + ", ".join(sorted(ledger.unknown)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if HERE in item.path.parents and (report.when == "call" or report.outcome != "passed"):
        item.config.stash[LEDGER].note(item.nodeid, report.outcome)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    ledger = session.config.stash[LEDGER]
    path = session.config.getoption("--conformance-report", default=None) or os.environ.get("CONFORMANCE_REPORT")
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(ledger.report(), encoding="utf-8")
    if ledger.is_whole and ledger.missing() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash[LEDGER]
    if not ledger.is_whole:
        return
    terminalreporter.section("conformance")
    for line in ledger.summary():
        terminalreporter.line(line)
