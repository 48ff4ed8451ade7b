"""The command line: chooses brokers and scenarios, runs them in turn, and writes the report."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from suite.brokers import Broker, install, is_missing, read_brokers, running, version_of
from suite.document import fill_document
from suite.measuring import Conditions, Measurement, measure
from suite.places import BUILD, DOCUMENT, HERE, RESULTS, BenchmarkError, say
from suite.report import write_report
from suite.results import Results, in_order, read_results
from suite.scenarios import ALL, Scenario, choose, filled, groups

_DEFAULT_BROKERS: Final = "noctule,mosquitto,aedes,amqtt,relay"
_QUICK_BROKERS: Final = "noctule,mosquitto,relay"

#: A quick run begins no scenario, and none that are compared, after this; they take some seconds, and the build comes
#: before.
_QUICK_S: Final = 95.0

_INTERRUPTED: Final = "the run was interrupted"

#: What a run takes beside its publishing: start, connections, warm-up, end. For the estimate that is printed.
_OVERHEAD_S: Final = 1.3


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for."""

    brokers: tuple[str, ...]
    broker_files: tuple[Path, ...]
    scenarios: tuple[Scenario, ...]
    repetitions: int
    conditions: Conditions
    results: Path
    keeps: bool
    limit_s: float | None
    noctule: tuple[str, ...] | None
    fills_document: bool


def build_load() -> None:
    """Compile the load generator and the relay if their sources are newer than the programs."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise BenchmarkError(f"no C compiler found ('{compiler[0]}'): install gcc, or name another one in CC")
    BUILD.mkdir(parents=True, exist_ok=True)
    relay = HERE / "load" / "relay.c"
    sources = {"relay": [relay], "load": sorted(set((HERE / "load").glob("*.c")) - {relay})}
    newest = max(path.stat().st_mtime for path in (HERE / "load").iterdir())
    for name, files in sources.items():
        target = BUILD / name
        if target.exists() and target.stat().st_mtime > newest:
            continue
        fresh = BUILD / f"{name}.{os.getpid()}"  # replaced at once: another run may be using it
        command = [*compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(fresh), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"cannot compile {name}:\n{done.stderr[:2000]}")
        fresh.replace(target)


def choose_brokers(settings: Settings, left_out: list[str]) -> list[Broker]:
    """The brokers that are asked for and that start here; of the others it is said why they do not."""
    known = read_brokers([HERE / "brokers.toml", *settings.broker_files])
    unknown = [name for name in settings.brokers if name not in known]
    if unknown:
        raise BenchmarkError(f"no broker '{unknown[0]}'; there are: {', '.join(known)}")
    brokers = []
    for name in settings.brokers:
        broker = known[name]
        if name == "noctule" and settings.noctule:
            broker = read_broker_with(broker, settings.noctule)
        reason = install(broker) or is_missing(broker)
        if reason is None:
            try:
                with running(broker, "plain", settings.conditions.broker_cores(settings.scenarios[0])):
                    brokers.append(broker)
            except BenchmarkError as error:
                reason = str(error)
        if reason is not None:
            left_out.append(f"{name}: {reason}")
            say(f"{name} is left out: {reason}")
    if not brokers:
        raise BenchmarkError("no broker to measure")
    return brokers


def read_broker_with(broker: Broker, command: tuple[str, ...]) -> Broker:
    """The broker, started by another command with the same arguments."""
    arguments = broker.command[broker.command.index("run") :]
    return Broker(
        broker.name,
        (*command, *arguments),
        environment=broker.environment,
        files=broker.files,
        setups=broker.setups,
        version=(*command, "--version"),
    )


def participants(brokers: Sequence[Broker], scenario: Scenario) -> list[Broker]:
    """Who takes part in a scenario."""
    return [
        broker
        for broker in brokers
        if broker.can_do(scenario.names, scenario.setup) and (not scenario.brokers or broker.name in scenario.brokers)
    ]


def estimate_s(settings: Settings, brokers: Sequence[Broker]) -> float:
    """About how long all of it takes."""
    total = 0.0
    for scenario in settings.scenarios:
        each = settings.conditions.seconds * scenario.share_of_seconds + _OVERHEAD_S
        if scenario.group == "scale":
            each = 25.0
        if scenario.shares_broker:
            each -= 0.9
        total += each * len(participants(brokers, scenario)) * settings.repetitions
    return total


def steps(scenarios: Sequence[Scenario], repetitions: int, is_quick: bool) -> list[tuple[tuple[Scenario, ...], int]]:
    """What is run one after the other: scenarios (one, or those that share brokers or are compared), repetition.

    Where the time is limited every scenario comes once before any comes twice.
    """
    batches: list[tuple[Scenario, ...]] = []
    for scenario in scenarios:
        last = batches[-1][-1] if batches else None
        if (
            last is not None
            and scenario.group == last.group
            and ((scenario.shares_broker and last.shares_broker) or (scenario.is_in_turn and last.is_in_turn))
        ):
            batches[-1] += (scenario,)
        else:
            batches.append((scenario,))
    if is_quick:
        return [(batch, repetition) for repetition in range(repetitions) for batch in batches]
    return [(batch, repetition) for batch in batches for repetition in range(repetitions)]


def run_all(brokers: Sequence[Broker], settings: Settings, results: Results, began: float) -> None:
    """Run everything, the brokers in turn within each repetition, so that a disturbance meets them all."""
    limit_s = settings.limit_s
    for batch, repetition in steps(settings.scenarios, settings.repetitions, limit_s is not None):
        if limit_s is not None and time.monotonic() - began > limit_s:
            if repetition == 0:
                results.left_out += [f"{scenario.name}: no time left" for scenario in batch]
            continue
        run = run_together if batch[0].shares_broker else run_in_turn
        for m in run(brokers, batch, repetition, settings):
            results.measurements.append(m)
            figure = f"FAILED: {m.error}" if m.error else f"{m.cost:.3f}" + (f", {m.lost} lost" if m.lost else "")
            say(f"{m.row} {repetition + 1}/{settings.repetitions} {m.broker}: {figure}")


def run_in_turn(
    brokers: Sequence[Broker], scenarios: Sequence[Scenario], repetition: int, settings: Settings
) -> Iterator[Measurement]:
    """Run scenarios, each on a broker of its own; what is compared within a broker one behind the other."""
    for broker in brokers:
        for scenario in scenarios:
            if broker in participants(brokers, scenario):
                yield from measure(broker, scenario, repetition, settings.conditions)


def run_together(
    brokers: Sequence[Broker], scenarios: Sequence[Scenario], repetition: int, settings: Settings
) -> Iterator[Measurement]:
    """Run scenarios of one kind on brokers that are started once for all of them; after a failure anew."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for scenario in scenarios:
            for broker in participants(brokers, scenario):
                try:
                    if broker.name not in servers:
                        cores = settings.conditions.broker_cores(scenario)
                        servers[broker.name] = stack.enter_context(running(broker, scenario.setup, cores))
                    one = measure(broker, scenario, repetition, settings.conditions, servers[broker.name])
                except BenchmarkError as error:
                    one = [Measurement(row.name, broker.name, repetition, error=str(error)) for row in scenario.rows]
                if any(m.error for m in one):
                    servers.pop(broker.name, None)
                yield from one


def machine_facts(brokers: Sequence[Broker], settings: Settings) -> dict[str, str]:
    """What a reader needs to know about the machine and the programs."""
    processor = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    conditions = settings.conditions
    facts = {
        "date": datetime.datetime.now().isoformat(sep=" ", timespec="minutes"),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "cores": f"broker {conditions.broker_core}, load generator {conditions.load_core}",
        "each run": f"{conditions.seconds:g} s of publishing, repetitions: {settings.repetitions}, interleaved",
    }
    facts |= {broker.name: version_of(broker) for broker in brokers if broker.version}
    facts["command"] = shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]])
    return facts


def describe(scenarios: Sequence[Scenario]) -> dict[str, dict[str, object]]:
    """What the report has to know about the rows."""
    return {
        row.name: {
            "title": row.title,
            "unit": row.unit,
            "group": scenario.group,
            "latency": scenario.latency,
            **({"curve": scenario.curve.name, "x": scenario.curve.x} if scenario.curve else {}),
        }
        for scenario in scenarios
        for row in scenario.rows
    }


def choose_cores() -> tuple[int | None, int | None]:
    """Take two cores, one for the broker and one for the load generator."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        say("only one core: the broker and the load generator share it, so throughput and latency mean little")
        return None, None
    return cores[0], cores[1]


def raise_file_limit(connections: int) -> int:
    """Allow as many open files as the system lets us, and return the number of connections that fit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fitting = connections if most == resource.RLIM_INFINITY else min(connections, most - 100)
    if fitting < connections:
        say(f"the limit of open files ({most}) allows {fitting} idle connections only")
    return fitting


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 at least")
    return value


def parse_arguments(words: Sequence[str]) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Compare MQTT brokers: CPU time per message, throughput, losses, latency and memory.",
        epilog=f"Groups of scenarios: {', '.join(groups())}. Scenarios: {', '.join(s.name for s in ALL)}.",
    )
    parser.add_argument("--brokers", help=f"names with commas ({_DEFAULT_BROKERS}; quick {_QUICK_BROKERS})")
    parser.add_argument(
        "--brokers-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="further brokers, in the form of benchmarks/brokers.toml; they take part",
    )
    parser.add_argument("--scenarios", help="names and groups with commas (all; quick: a choice of them)")
    parser.add_argument("--repetitions", type=_count, help="runs of each scenario and broker (5, quick 2)")
    parser.add_argument("--seconds", type=_positive, help="publishing time of one run (2, quick 0.3)")
    parser.add_argument("--connections", type=_count, help="idle connections (5000, quick 1000)")
    parser.add_argument("--scale", type=_count, help="retained messages, subscriptions (1000000, quick 20000)")
    parser.add_argument("--quick", action="store_true", help="end within two minutes; figures are rougher")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="replace in the results only what is measured now, and keep the rest of them",
    )
    parser.add_argument("--report-only", action="store_true", help="measure nothing, write the report anew")
    parser.add_argument("--document", action="store_true", help=f"put the figures into {DOCUMENT.name} as well")
    parser.add_argument(
        "--noctule", metavar="CMD", help="start Noctule with this command in place of python -m noctule"
    )
    parser.add_argument("--window", type=_count, help="undelivered messages of one publisher (chosen by size)")
    parser.add_argument("--results", type=Path, help="folder for the report (benchmarks/results, quick: quick in it)")
    given = parser.parse_args(words)
    try:
        scenarios = choose(given.scenarios or ("quick" if given.quick else "all"))
    except KeyError as error:
        parser.error(f"no scenario and no group {error}")
    names = (given.brokers or (_QUICK_BROKERS if given.quick else _DEFAULT_BROKERS)).split(",")
    try:
        names += [name for name in read_brokers(given.brokers_file) if name not in names]
    except BenchmarkError as error:
        parser.error(str(error))
    broker_core, load_core = choose_cores()
    connections = raise_file_limit(given.connections or (1_000 if given.quick else 5_000))
    scale = given.scale or (20_000 if given.quick else 1_000_000)
    return Settings(
        brokers=tuple(dict.fromkeys(names)),
        broker_files=tuple(given.brokers_file),
        scenarios=() if given.report_only else tuple(filled(one, connections, scale) for one in scenarios),
        repetitions=given.repetitions or (2 if given.quick else 5),
        conditions=Conditions(
            given.seconds or (0.3 if given.quick else 2.0),
            broker_core,
            load_core,
            ("--window", str(given.window)) if given.window else (),
        ),
        results=given.results or (RESULTS / "quick" if given.quick else RESULTS),
        keeps=given.keep or given.report_only,
        limit_s=_QUICK_S if given.quick else None,
        noctule=tuple(shlex.split(given.noctule)) if given.noctule else None,
        fills_document=given.document,
    )


def end(_number: int, _frame: FrameType | None) -> None:
    """Turn SIGTERM into what control-C is: everything started is stopped, and what was measured is written."""
    raise KeyboardInterrupt


def run(settings: Settings, began: float) -> Results:
    """Measure what is asked for; what was measured until an interruption is not lost."""
    kept = settings.results / "results.json"
    results = read_results(kept) if settings.keeps and kept.exists() else Results()
    if not settings.scenarios:
        if not results.measurements:
            raise BenchmarkError(f"there are no results in {settings.results}")
        return results
    build_load()
    anew = Results()
    brokers = choose_brokers(settings, anew.left_out)
    anew.facts = [machine_facts(brokers, settings)]
    anew.rows = dict(describe(settings.scenarios))
    if settings.limit_s is None:
        say(f"this takes about {estimate_s(settings, brokers) / 60:.0f} minutes")
    try:
        run_all(brokers, settings, anew, began)
    except KeyboardInterrupt:
        say("interrupted; the report has what was measured until now")
        anew.left_out.append(_INTERRUPTED)
    results.replace_with(anew)
    results.rows = in_order(results.rows, [row.name for scenario in ALL for row in scenario.rows])
    return results


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmarks. 0: all runs were good; 1: some failed or are lacking, or nothing could be measured."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, end)
    settings = parse_arguments(sys.argv[1:] if words is None else words)
    try:
        results = run(settings, began)
        path = write_report(results, settings.results)
        if settings.fills_document:
            fill_document(DOCUMENT, results, settings.results)
    except BenchmarkError as error:
        say(f"benchmark: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted before anything was measured")
        return 1
    print(path.read_text())
    say(f"written: {path}, with results.json and the charts beside it ({time.monotonic() - began:.0f} s)")
    return 1 if _INTERRUPTED in results.left_out or any(m.error for m in results.measurements) else 0
