"""``noctule bench``: puts a load on any broker and measures throughput, losses and latency.

Publishers and subscribers are in this one process, in Python: right for latency under a given rate, for connection
storms and for whether anything is lost. What a broker can carry at most shows the C generator in benchmarks/.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import trio
from noctule._version import __version__
from noctule.cli.benchmark.chart import chart
from noctule.cli.benchmark.raw_connection import LoadError
from noctule.cli.benchmark.report import compare_lines, report_lines
from noctule.cli.benchmark.runs import Dial, Load, Run
from noctule.cli.benchmark.scenarios import SCENARIOS, Scenario
from noctule.cli.client_command import first_of, run_tool
from noctule.cli.command_tree import CommandOption
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS, set_qos
from noctule.cli.connection_options import ConnectionOptions
from noctule.cli.option_reading import OptionTable, flag, strict_integer, valued
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, UsageError, tell
from noctule.client.handshake import Established, shake_hands
from noctule.client.transports import open_stream, route_to
from noctule.protocol import SESSION_NEVER_EXPIRES, Connect

SUMMARY: Final = "put a load on a broker and measure it"
_USAGE: Final = "[SCENARIO] [options]\n\nscenarios:\n" + "\n".join(
    f"  {one.name:<15} {one.summary}" for one in SCENARIOS.values()
)

#: What stands without dashes, for completion.
SCENARIO: Final = CommandOption((), "the kind of load", "SCENARIO", choices=tuple(SCENARIOS))

_CONNECT_TIMEOUT_S: Final = 30.0
_INTERVAL_S: Final = 0.5


@dataclass(slots=True)
class BenchOptions(ConnectionOptions):
    """The options of ``noctule bench``."""

    scenario: Scenario = SCENARIOS["fan-in"]
    publishers: int | None = None
    subscribers: int | None = None
    connections: int | None = None
    messages: int | None = None
    given_qos: int | None = None
    payload_bytes: int = 64
    duration_s: float = 10.0
    warm_up_s: float = 1.0
    rate: float = 0.0
    connect_rate: float = 0.0
    window: int = 200
    topic: str = "bench"
    json_file: str | None = None
    chart_file: str | None = None
    compare_file: str | None = None
    hides_progress: bool = False

    def load(self) -> Load:
        """The load: what was given, else what the scenario begins with."""
        scenario = self.scenario
        publishers = scenario.publishers if self.publishers is None else self.publishers
        subscribers = scenario.subscribers if self.subscribers is None else self.subscribers
        if scenario.is_paired:
            publishers = subscribers = self.publishers or self.subscribers or scenario.publishers
        return Load(
            scenario=scenario,
            publishers=publishers,
            subscribers=subscribers,
            connections=scenario.connections if self.connections is None else self.connections,
            messages=scenario.messages if self.messages is None else self.messages,
            qos=scenario.qos if self.given_qos is None else self.given_qos,
            payload_bytes=self.payload_bytes,
            duration_s=self.duration_s,
            warm_up_s=self.warm_up_s,
            rate=self.rate,
            connect_rate=self.connect_rate,
            window=self.window,
            topic=f"{self.topic}/{time.time_ns():x}",
        )


def _whole(name: str, minimum: int = 1) -> "_NumberOption":
    return _NumberOption(name, minimum, is_whole=True)


def _decimal(name: str, minimum: float = 0.0) -> "_NumberOption":
    return _NumberOption(name, minimum, is_whole=False)


@dataclass(frozen=True, slots=True)
class _NumberOption:
    """Puts a number that is not below a minimum into a field."""

    field: str
    minimum: float
    is_whole: bool

    def __call__(self, options: BenchOptions, text: str) -> None:
        number: float | None
        if self.is_whole:
            number = strict_integer(text)
        else:
            try:
                number = float(text)
            except ValueError:
                number = None
        if number is None or not self.minimum <= number < 1e9:
            kind = "whole number" if self.is_whole else "number"
            raise UsageError(f"'{text}' where a {kind} from {self.minimum:g} up was expected.")
        setattr(options, self.field, number)


def _set_qos(options: BenchOptions, text: str) -> None:
    set_qos(options, text)
    options.given_qos = options.qos


def _set_topic(options: BenchOptions, topic: str) -> None:
    options.add_topic(topic)
    options.topic = topic


@dataclass(frozen=True, slots=True)
class _FileOption:
    field: str

    def __call__(self, options: BenchOptions, path: str) -> None:
        setattr(options, self.field, path)


def _hide_progress(options: BenchOptions) -> None:
    options.hides_progress = True


OPTIONS: Final = OptionTable[BenchOptions](
    (
        (
            "load",
            (
                valued("--publishers", "count", "how many publish", _whole("publishers")),
                valued("--subscribers", "count", "how many subscribe", _whole("subscribers")),
                valued("--connections", "count", "idle, connect-storm: how many connections", _whole("connections")),
                valued("--messages", "count", "retained, durable: how many messages", _whole("messages")),
                valued(
                    "--rate", "per-second", "messages per second of all publishers (as many as go)", _decimal("rate")
                ),
                valued(
                    "--connect-rate",
                    "per-second",
                    "new connections per second (as many as go)",
                    _decimal("connect_rate"),
                ),
                valued("--duration", "seconds", "how long it is measured (10)", _decimal("duration_s", 0.1)),
                valued("--warm-up", "seconds", "how long it runs before that (1)", _decimal("warm_up_s")),
                valued("--payload", "bytes", "size of a payload, 16 at least (64)", _whole("payload_bytes", 16)),
                valued(
                    "--window", "count", "undelivered messages of a publisher, without --rate (200)", _whole("window")
                ),
                valued("-q --qos", "qos", "quality of service: 0, 1 or 2 (0)", _set_qos, "QoS"),
                valued("-t --topic", "topic", "publish below this topic (bench)", _set_topic),
            ),
        ),
        (
            "result",
            (
                valued("--json", "file", "write the figures there; - for standard output", _FileOption("json_file")),
                valued(
                    "--chart", "file", "draw throughput and latency over time there, as SVG", _FileOption("chart_file")
                ),
                valued("--compare", "file", "compare with the JSON of another run", _FileOption("compare_file")),
                flag("--no-progress", "print no progress on the terminal", _hide_progress),
            ),
        ),
        ("connection", CONNECTION_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Run a load. 0: it ran, and nothing went wrong; 1: it could not run, or connections broke; else CONNACK's code."""
    options = BenchOptions("bench")
    rest = list(words)
    if rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in SCENARIOS:
            tell(f"Error: There is no scenario '{name}'; choose one of {', '.join(SCENARIOS)}.")
            return EXIT_FAILED
        options.scenario = SCENARIOS[name]
    return run_tool(rest, options, OPTIONS, _USAGE, _bench)


async def _bench(options: BenchOptions) -> int:
    other = None if options.compare_file is None else _read_result(options.compare_file)
    load = options.load()
    run = Run(load, _dialer(options))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, run, not options.hides_progress and sys.stderr.isatty())
            await run.run()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = first_of(group)
        if isinstance(error, LoadError | trio.TooSlowError):
            raise UsageError(str(error) or "the broker does not answer in time") from None
        raise error from None
    described = {name: value for name, value in asdict(load).items() if name not in ("scenario", "topic")}
    result = {
        "noctule": __version__,
        "load": {
            "scenario": load.scenario.name,
            "summary": load.scenario.summary,
            "version": {3: "3.1", 4: "3.1.1", 5: "5.0"}[options.version],
            **described,
        },
        "result": run.measurements.as_json(),
    }
    await trio.to_thread.run_sync(_write_result, options, result)
    if options.json_file != "-":
        lines = report_lines(result)
        if other is not None and options.compare_file is not None:
            lines += ["", *compare_lines(result, other, Path(options.compare_file).stem)]
        print("\n".join(lines), flush=True)
    return EXIT_FAILED if run.measurements.errors else EXIT_DONE


def _dialer(options: BenchOptions) -> Dial:
    """Opens connections as the options say."""
    route = route_to(options.address(), options.tls_context(), options.proxy, options.local_address)

    async def dial(client_id: str, is_new: bool, is_durable: bool, nursery: trio.Nursery) -> Established:
        request = Connect(
            options.version,
            client_id,
            is_new and not (is_durable and options.version < 5),
            options.keep_alive_s,
            None,
            options.user_name,
            options.password,
            SESSION_NEVER_EXPIRES if is_durable else 0,
        )
        with trio.fail_after(_CONNECT_TIMEOUT_S):
            stream = await open_stream(route, nursery)
        return await shake_hands(stream, request, None, _CONNECT_TIMEOUT_S)

    return dial


async def _watch(run: Run, is_shown: bool) -> None:
    """End the intervals of the measurement, and show each on the terminal."""
    measurements = run.measurements
    while True:
        await trio.sleep(_INTERVAL_S)
        if not measurements.has_begun:
            continue
        one = measurements.close_interval()
        if is_shown:
            rates = f"sent {one.sent / one.seconds:>10,.0f}/s  received {one.received / one.seconds:>10,.0f}/s"
            times = f"p50 {one.p50_ns / 1e6:8.3f} ms  p99 {one.p99_ns / 1e6:8.3f} ms"
            print(f"\r\x1b[K{one.at_s:6.1f} s  {rates}  {times}", end="", file=sys.stderr, flush=True)


def _read_result(path: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f'Unable to open file "{path}": {error.strerror}') from None
    except ValueError as error:
        raise UsageError(f'"{path}" is not JSON: {error}') from None
    if not isinstance(document, dict) or not isinstance(document.get("result"), dict):
        raise UsageError(f'"{path}" was not written by noctule bench --json.')
    return document


def _write_result(options: BenchOptions, result: dict[str, Any]) -> None:
    if sys.stderr.isatty() and not options.hides_progress:
        print("\r\x1b[K", end="", file=sys.stderr)
    text = json.dumps(result, indent=2) + "\n"
    if options.json_file == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    for path, content in ((options.json_file, text), (options.chart_file, chart(result))):
        if path is None or path == "-":
            continue
        try:
            Path(path).write_text(content, encoding="utf-8")
        except OSError as error:
            raise UsageError(f'Unable to write "{path}": {error.strerror}') from None
