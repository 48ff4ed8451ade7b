"""One run of one scenario against one broker: the load generator, the accounting around it, and the figures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from suite.accounting import Usage, tree_usage
from suite.brokers import Broker, RunningBroker, child_set_up, running, stop
from suite.http_load import asked_over_http
from suite.places import BUILD, HERE, BenchmarkError
from suite.scenarios import Row, Scenario

#: For connecting, warming up and draining, beyond the publishing time.
_MARGIN_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds for every run."""

    seconds: float
    broker_core: int | None
    load_core: int | None
    more: tuple[str, ...] = ()

    def broker_cores(self, scenario: Scenario) -> tuple[int, ...]:
        """The cores that the broker may use; none named: any."""
        if self.broker_core is None or self.load_core is None:
            return ()
        return (self.broker_core, self.load_core) if scenario.on_two_cores else (self.broker_core,)


@dataclass(slots=True)
class Measurement:
    """What one run brought for one row of the report."""

    row: str
    broker: str
    repetition: int
    error: str = ""
    #: As the row's unit says: µs of the broker's CPU, resident KB or bytes, or seconds.
    cost: float = 0.0
    #: Messages in and out, visits, subscriptions or connections, and how many of them in a second.
    units: int = 0
    rate: float = 0.0
    lost: int = 0
    duplicates: int = 0
    busy: float = 0.0  # broker CPU time / run time
    waited: float = 0.0  # time the broker was ready but had no core / run time
    generator_cost: float = 0.0  # µs of the load generator's own CPU per unit
    latency_us: dict[str, float] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drive:
    """What a load generator has reported, and the broker's accounting at the edges of its phases."""

    load: dict[str, Any]
    #: "ready", then the name of each phase at its end, then "finished".
    edges: tuple[tuple[str, Usage], ...]

    def between(self, phase: str) -> tuple[Usage, Usage]:
        """The accounting before and after a phase; "" is the whole run. BenchmarkError if it was not reached."""
        names = [name for name, _ in self.edges]
        after = phase or "finished"
        if after not in names:
            raise BenchmarkError(f"'{after}' was not reached")
        at = names.index(after)
        return self.edges[at - 1 if phase else 0][1], self.edges[at][1]


def load_command(scenario: Scenario, conditions: Conditions, port: int, folder: Path) -> list[str]:
    """Put together the load generator's command line; later options win over earlier ones."""
    seconds = conditions.seconds * scenario.share_of_seconds
    if scenario.program == "transports":
        command = [sys.executable, str(HERE / "transports.py"), "--port", str(port), "--seconds", str(seconds)]
        if (folder / "ca.crt").exists():
            command += ["--ca", str(folder / "ca.crt")]
    else:
        command = [str(BUILD / "load"), "--handshake", "--port", str(port), "--seconds", str(seconds)]
        command += ["--messages", "100000000", "--warm-up", str(scenario.warm_up)]
    command += scenario.arguments
    if conditions.load_core is not None:
        command += ["--core", str(conditions.load_core)]
    return command + list(conditions.more if scenario.program == "load" else ())


def drive(command: list[str], pid: int, seconds: float) -> Drive:
    """Run a load generator, and read the broker's accounting at each word that it says. BenchmarkError, ValueError."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=child_set_up(()),
        start_new_session=True,
    )
    timer = threading.Timer(seconds + _MARGIN_S, process.kill)
    timer.start()
    edges: list[tuple[str, Usage]] = []
    said = ""
    try:
        assert process.stdin is not None
        assert process.stderr is not None
        for line in process.stderr:
            word = line.strip()
            if word not in ("ready", "finished") and not word.startswith("phase "):
                said = word
                continue
            edges.append((word.removeprefix("phase "), tree_usage(pid)))
            process.stdin.write("go\n")
            process.stdin.flush()
            if word == "finished":
                break
        else:
            raise BenchmarkError(f"the load generator ended early: {said or 'no message'}")
        output, _ = process.communicate()
    finally:
        timer.cancel()
        stop(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
    return Drive(json.loads(output), tuple(edges))


def measure(
    broker: Broker, scenario: Scenario, repetition: int, conditions: Conditions, server: RunningBroker | None = None
) -> list[Measurement]:
    """Run a scenario, against ``server`` or a broker started for it alone: a measurement for each of its rows."""
    try:
        if server is not None:
            return _measure_on(server, scenario, repetition, conditions)
        with running(broker, scenario.setup, conditions.broker_cores(scenario)) as started:
            return _measure_on(started, scenario, repetition, conditions)
    except (BenchmarkError, OSError, ValueError) as error:
        return [Measurement(row.name, broker.name, repetition, error=str(error)) for row in scenario.rows]


def _measure_on(
    server: RunningBroker, scenario: Scenario, repetition: int, conditions: Conditions
) -> list[Measurement]:
    if scenario.program == "retained":
        return measure_retained(server, scenario, repetition, conditions)
    command = load_command(scenario, conditions, server.port, server.folder)
    with asked_over_http(server.http_port if scenario.asks_http else None, conditions.load_core):
        run = drive(command, server.pid, conditions.seconds)
    return [account(row, server.broker.name, repetition, run) for row in scenario.rows]


def account(row: Row, broker: str, repetition: int, run: Drive) -> Measurement:
    """Turn counts and accounting into the figures of one row."""
    load = run.load
    result = Measurement(row.name, broker, repetition, error=str(load["errors"]["first"]))
    if result.error:
        return result
    before, after = run.between(row.phase)
    phase: Mapping[str, Any] = load
    if row.phase:
        phase = next(one for one in load["phases"] if one["name"] == row.phase)
        units = int(phase["units"])
    elif row.unit == "message":
        units = int(load["sent"] + load["received"])
    else:
        units = int(load["visits"] if row.unit == "visit" else load["connections"])
    seconds = float(phase["seconds"])
    if units == 0 or seconds <= 0:
        result.error = "nothing was carried"
        return result
    cpu_s = after.cpu_s - before.cpu_s
    grown = after.resident_bytes - before.resident_bytes
    if row.unit == "resident connection":
        result.cost = grown / 1024 / units
    elif row.unit.startswith("resident"):
        result.cost = grown / units
    else:
        result.cost = cpu_s * 1e6 / units
    result.units, result.rate = units, units / seconds
    result.lost, result.duplicates = int(phase.get("lost", 0)), int(load.get("duplicates", 0))
    result.busy = cpu_s / seconds
    result.waited = (after.waiting_s - before.waiting_s) / seconds
    result.generator_cost = load["generator_cpu_seconds"] * 1e6 / units
    latency = load["latency_microseconds"]
    result.latency_us = {name: float(latency[name]) for name in ("p50", "p99", "p999")} if latency["count"] else {}
    result.load = load
    return result


def measure_retained(
    server: RunningBroker, scenario: Scenario, repetition: int, conditions: Conditions
) -> list[Measurement]:
    """Publish retained messages, restart the broker, and fetch them all by one subscription."""
    command = load_command(scenario, conditions, server.port, server.folder)
    published = drive(command, server.pid, 600)
    before, after = published.between("")
    count = int(published.load["sent"])
    stopped_and_started_s = server.restart()
    fetching = [str(BUILD / "load"), "--handshake", "--port", str(server.port), "--scenario", "fetch"]
    fetching += ["--messages", str(count), "--stall", "30"]
    if conditions.load_core is not None:
        fetching += ["--core", str(conditions.load_core)]
    fetched = drive(fetching, server.pid, 600)
    results = []
    for row in scenario.rows:
        run = fetched if row.phase in ("fetch", "delivery") else published
        result = Measurement(row.name, server.broker.name, repetition, error=str(run.load["errors"]["first"]))
        results.append(result)
        result.units = count
        seconds = float(run.load["seconds"])
        if row.phase == "restart":
            result.error = ""
            result.cost = seconds = stopped_and_started_s
        elif row.phase == "memory":
            result.cost = (after.resident_bytes - before.resident_bytes) / count
        elif row.phase == "delivery":
            result.cost = seconds
        else:
            edges = run.between("")
            result.cost = (edges[1].cpu_s - edges[0].cpu_s) * 1e6 / count
            result.busy = (edges[1].cpu_s - edges[0].cpu_s) / seconds
            result.waited = (edges[1].waiting_s - edges[0].waiting_s) / seconds
            result.generator_cost = run.load["generator_cpu_seconds"] * 1e6 / count
        result.rate = count / seconds
        result.lost = int(run.load["lost"]) if run is fetched else int(run.load["unacknowledged"])
        result.load = run.load
    return results
