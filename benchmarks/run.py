"""Compare MQTT brokers: CPU time per message, throughput, losses, latency and memory, each in the same run."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUILD = REPOSITORY / "build" / "benchmarks"
REFERENCE = "mosquitto"
DEFAULT_BROKERS = "noctule,mosquitto"

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
LOAD_MARGIN_SECONDS = 150.0  # for connecting, warming up and draining, beyond the publishing time
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Scenario:
    """One kind of work, as arguments for the load generator, and the unit that its cost is counted in."""

    name: str
    title: str
    arguments: tuple[str, ...]
    unit: str = "message"
    warm_up: int = 0
    latency: bool = False


def flood(
    name: str, title: str, publishers: int, subscribers: int, *more: str, warm_up: int = 20_000, latency: bool = False
) -> Scenario:
    """Describe a closed loop on one topic."""
    arguments = ("--scenario", "flood", "--publishers", str(publishers), "--subscribers", str(subscribers), *more)
    return Scenario(name, title, arguments, warm_up=warm_up, latency=latency)


def slow(publishers: int, rate: int, tick: float = 0.0) -> Scenario:
    """Describe many publishers that each send now and then, at a rate that does not depend on the broker."""
    arguments = ("--scenario", "open-loop", "--publishers", str(publishers), "--rate", str(rate), "--tick", str(tick))
    name = f"{publishers}-slow" + ("-tick" if tick else "")
    title = f"{publishers:,} publishers at {rate} msg/s → 1" + (f", every {tick * 1000:g} ms" if tick else "")
    return Scenario(name, title, arguments, warm_up=publishers * rate // 2, latency=True)


DEFAULT_SCENARIOS = (
    flood("1-1", "1 → 1, QoS 0", 1, 1),
    flood("100-1", "100 → 1, QoS 0", 100, 1),
    Scenario("200-pairs", "200 pairs, QoS 0", ("--scenario", "pairs", "--publishers", "200"), warm_up=20_000),
    flood("1-100", "1 → 100, QoS 0", 1, 100, warm_up=500),
    flood("1-1-qos1", "1 → 1, QoS 1, 20 in flight", 1, 1, "--qos", "1", warm_up=5_000),
    flood("1-1-qos2", "1 → 1, QoS 2, 20 in flight", 1, 1, "--qos", "2", warm_up=5_000),
    Scenario("ping-pong", "one message at a time", ("--scenario", "ping-pong"), warm_up=500, latency=True),
    slow(1000, 10),
    slow(1000, 10, tick=0.001),
    Scenario("idle", "idle connections", ("--scenario", "idle", "--connections", "{connections}"), "connection"),
)
MORE_SCENARIOS = (
    flood("1-1000", "1 → 1,000, QoS 0", 1, 1000, warm_up=50),
    flood("1-10-payload-65536", "1 → 10, 65,536 bytes", 1, 10, "--payload", "65536", warm_up=50),
    *(
        flood(f"1-1-payload-{size}", f"1 → 1, {size:,} bytes", 1, 1, "--payload", str(size), warm_up=500)
        for size in (16, 1024, 65536)
    ),
    flood("100-1-qos1", "100 → 1, QoS 1", 100, 1, "--qos", "1", warm_up=5_000),
    flood("1-100-qos1", "1 → 100, QoS 1", 1, 100, "--qos", "1", warm_up=500),
    flood("1-1-v5", "1 → 1, version 5", 1, 1, "--version", "5"),
    flood("1-1-v5-properties", "1 → 1, version 5 with properties", 1, 1, "--version", "5", "--properties"),
    slow(5000, 1),
    Scenario(
        "storm",
        "connect, subscribe, disconnect",
        ("--scenario", "storm", "--connections", "1000000"),
        "visit",
        latency=True,
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in (*DEFAULT_SCENARIOS, *MORE_SCENARIOS)}


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    brokers: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    repetitions: int
    seconds: float
    connections: int
    noctule: tuple[str, ...] | None
    load_arguments: tuple[str, ...]
    results: Path
    broker_core: int | None
    load_core: int | None


@dataclass(frozen=True)
class Broker:
    """How to start one broker."""

    name: str
    command: tuple[str, ...]
    version: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, str]
    scenarios: tuple[str, ...] | None

    def can_do(self, scenario: Scenario) -> bool:
        """Tell whether the scenario is one that this broker is made for."""
        return self.scenarios is None or scenario.name in self.scenarios


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used up to now."""

    cpu: float  # seconds, user and system
    waiting: float  # seconds ready to run while another had the core
    resident: int  # bytes


@dataclass
class Measurement:
    """One run of one scenario against one broker."""

    broker: str
    scenario: str
    repetition: int
    error: str = ""
    cost: float = 0.0  # µs of broker CPU per message or visit, or resident KB per connection
    rate: float = 0.0  # messages in and out, visits or connections per second
    busy: float = 0.0  # broker CPU time / run time
    waited: float = 0.0  # time the broker was ready but had no core / run time
    generator_cost: float = 0.0  # µs of the load generator's own CPU per message or visit
    load: dict[str, Any] = field(default_factory=dict)


class BenchmarkError(Exception):
    """A broker or a tool cannot be used; the text says why."""


# ---- processes ------------------------------------------------------------------------------------------------------


def process_tree(pid: int) -> list[int]:
    """List a process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def clock_tick_cpu(pid: int) -> float:
    """Return the CPU seconds of a process with its ended threads, as coarse as the system's clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_usage(pid: int) -> Usage:
    """Read what one process has used.

    The scheduler's own figure (nanoseconds, by thread) is far finer than the clock ticks, but it is missing on some
    kernels, and threads that have ended are not in it: then the clock ticks count.
    """
    ticks = clock_tick_cpu(pid)
    cpu = waiting = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):
            ran, waited, _ = (int(text) for text in path.read_text().split())
            cpu += ran / 1e9
            waiting += waited / 1e9
    if ticks > cpu * 1.05 + 0.05:
        cpu = ticks
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(cpu, waiting, pages * os.sysconf("SC_PAGE_SIZE"))


def tree_usage(pid: int) -> Usage:
    """Add up what a process and its children have used."""
    cpu = waiting = 0.0
    resident = 0
    for member in process_tree(pid):
        try:
            usage = process_usage(member)
        except OSError:
            if member == pid:
                raise BenchmarkError("the broker has ended") from None
            continue
        cpu += usage.cpu
        waiting += usage.waiting
        resident += usage.resident
    return Usage(cpu, waiting, resident)


def child_set_up(core: int | None) -> Callable[[], None]:
    """Return what a child does before its program starts: choose its core, and end with this process."""
    library = ctypes.CDLL(None)

    def set_up() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if core is not None:
            os.sched_setaffinity(0, {core})

    return set_up


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process that we started, with its group: asked first, then forced."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    # The group is the child's own (start_new_session): what it has left behind ends with it.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """Choose a loopback port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether an MQTT CONNECT is accepted on the port."""
    body = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(bytes((0x10, len(body))) + body)
            answer = b""
            while len(answer) < 4:
                chunk = client.recv(4 - len(answer))
                if not chunk:
                    return False
                answer += chunk
            client.sendall(b"\xe0\x00")
            return answer == b"\x20\x02\x00\x00"
    except OSError:
        return False


@contextlib.contextmanager
def running(broker: Broker, settings: Settings) -> Iterator[tuple[int, int]]:
    """Start a broker and give its pid and port; it is stopped at the end, whatever happens."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        port = free_port()
        for name, text in broker.files.items():
            Path(folder, name).write_text(text.replace("{port}", str(port)).replace("{dir}", folder))
        places = {"port": str(port), "dir": folder}
        log = stack.enter_context(Path(folder, "output.log").open("w+b"))
        try:
            process = subprocess.Popen(
                [fill(part, places) for part in broker.command],
                cwd=folder,
                env=os.environ | {name: fill(value, places) for name, value in broker.environment.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=child_set_up(settings.broker_core),
                start_new_session=True,
            )
        except OSError as error:
            raise BenchmarkError(f"cannot be started: {error}") from None
        stack.callback(stop, process)
        deadline = time.monotonic() + READY_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
                raise BenchmarkError(f"does not answer on its port ({last[0][:200]})")
            time.sleep(0.02)
        yield process.pid, port


def fill(text: str, places: dict[str, str]) -> str:
    """Put the values into the {places} of a command."""
    virtual = REPOSITORY / ".venv" / "bin" / "python"
    everything = {"python": str(virtual if virtual.exists() else sys.executable), "build": str(BUILD)} | places
    for name, value in everything.items():
        text = text.replace("{" + name + "}", value)
    return text


# ---- measuring ------------------------------------------------------------------------------------------------------


def load_command(scenario: Scenario, settings: Settings, port: int) -> list[str]:
    """Put together the load generator's command line; later options win over earlier ones."""
    command = [str(BUILD / "load"), "--handshake", "--port", str(port)]
    command += ["--seconds", str(settings.seconds), "--messages", "100000000", "--warm-up", str(scenario.warm_up)]
    command += [argument.replace("{connections}", str(settings.connections)) for argument in scenario.arguments]
    if settings.load_core is not None:
        command += ["--core", str(settings.load_core)]
    return command + list(settings.load_arguments)


def await_word(process: subprocess.Popen[str], word: str) -> None:
    """Read the load generator's messages up to the word that it says at the edge of the measured phase."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        if line.strip() == word:
            return
        said = line.strip()
    raise BenchmarkError(f"the load generator ended early: {said or 'no message'}")


def measure(broker: Broker, scenario: Scenario, repetition: int, settings: Settings) -> Measurement:
    """Run one scenario against a broker started for it alone."""
    result = Measurement(broker.name, scenario.name, repetition)
    try:
        with running(broker, settings) as (pid, port):
            process = subprocess.Popen(
                load_command(scenario, settings, port),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=child_set_up(None),
                start_new_session=True,
            )
            timer = threading.Timer(settings.seconds + LOAD_MARGIN_SECONDS, process.kill)
            timer.start()
            try:
                assert process.stdin is not None
                await_word(process, "ready")
                before = tree_usage(pid)
                process.stdin.write("go\n")
                process.stdin.flush()
                await_word(process, "finished")
                after = tree_usage(pid)
                process.stdin.write("go\n")
                output, _ = process.communicate()
            finally:
                timer.cancel()
                stop(process)
            result.load = json.loads(output)
            account(result, scenario, before, after)
    except (BenchmarkError, OSError, ValueError) as error:
        result.error = str(error)
    return result


def account(result: Measurement, scenario: Scenario, before: Usage, after: Usage) -> None:
    """Turn the counts and the accounting into the figures of the report."""
    load = result.load
    cpu = after.cpu - before.cpu
    units = {
        "message": load["sent"] + load["received"],
        "visit": load["visits"],
        "connection": load["connections"],
    }[scenario.unit]
    result.error = str(load["errors"]["first"])
    if units == 0 or load["seconds"] <= 0:
        result.error = result.error or "nothing was carried"
        return
    if scenario.unit == "connection":
        result.cost = (after.resident - before.resident) / 1024 / units
    else:
        result.cost = cpu * 1e6 / units
    result.rate = units / load["seconds"]
    result.busy = cpu / load["seconds"]
    result.waited = (after.waiting - before.waiting) / load["seconds"]
    result.generator_cost = load["generator_cpu_seconds"] * 1e6 / units


# ---- report ---------------------------------------------------------------------------------------------------------


def short(value: float) -> str:
    """Write a figure with about three digits."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def spread(values: list[float]) -> str:
    """Write the median and, if there is more than one value, the least and the greatest."""
    if not values:
        return "-"
    text = short(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({short(min(values))} to {short(max(values))})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines] + [""]


def cost_table(results: list[Measurement], scenarios: tuple[Scenario, ...], brokers: list[str]) -> list[str]:
    """Write the first table: what a message costs the broker."""
    others = [name for name in brokers if name != REFERENCE] if REFERENCE in brokers else []
    head = ["work", "unit", *brokers, *(f"{REFERENCE} ÷ {name}" for name in others)]
    units = {"message": "CPU µs / message", "visit": "CPU µs / visit", "connection": "resident KB / connection"}
    rows = []
    for scenario in scenarios:
        costs = {
            name: [r.cost for r in results if r.broker == name and r.scenario == scenario.name and not r.error]
            for name in brokers
        }
        row = [scenario.title, units[scenario.unit], *(spread(costs[name]) for name in brokers)]
        for name in others:
            usable = costs[name] and costs[REFERENCE] and statistics.median(costs[name]) > 0
            ratio = statistics.median(costs[REFERENCE]) / statistics.median(costs[name]) if usable else 0.0
            row.append(f"{short(ratio)}x" if usable else "-")
        rows.append(row)
    return table(head, rows)


def detail_table(results: list[Measurement], scenarios: tuple[Scenario, ...], brokers: list[str]) -> list[str]:
    """Write the second table: how much was carried, what was lost, and how long it took."""
    head = ["work", "broker", "per second", "carried", "lost", "repeated", "broker busy", "generator µs"]
    head += ["p50 µs", "p99 µs", "p99.9 µs", "runs"]
    rows = []
    for scenario in scenarios:
        for name in brokers:
            every = [r for r in results if r.broker == name and r.scenario == scenario.name]
            good = [r for r in every if not r.error]
            if not every:
                continue
            carried = sum(r.load["sent"] + r.load["received"] + r.load["visits"] for r in good)
            row = [scenario.title, name, spread([r.rate for r in good]), f"{carried:,}"]
            row += [f"{sum(r.load['lost'] for r in good):,}", f"{sum(r.load['duplicates'] for r in good):,}"]
            row += [f"{statistics.median(r.busy for r in good):.0%}" if good else "-"]
            row += [spread([r.generator_cost for r in good])]
            for percentile in ("p50", "p99", "p999"):
                values = [float(r.load["latency_microseconds"][percentile]) for r in good]
                row.append(spread(values) if scenario.latency else "")
            rows.append([*row, f"{len(good)} of {len(every)}"])
    return table(head, rows)


def report(results: list[Measurement], settings: Settings, facts: dict[str, Any]) -> str:
    """Write the whole report as Markdown."""
    brokers = [name for name in settings.brokers if any(r.broker == name for r in results)]
    lines = [f"# Benchmark of {facts['date']}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if name not in ("date", "command")]
    lines += ["", "    " + facts["command"], ""]
    lines += [
        "Median (least to greatest) of the repetitions; lower is better; the ratio says how many times cheaper.",
        "",
    ]
    lines += cost_table(results, settings.scenarios, brokers)
    lines += ["Messages per second are those that went in and those that came out, added.", ""]
    lines += detail_table(results, settings.scenarios, brokers)
    failures = [f"- {r.broker}, {r.scenario}, repetition {r.repetition + 1}: {r.error}" for r in results if r.error]
    if failures:
        lines += ["Runs that failed and are left out above:", "", *failures, ""]
    waits = [r.waited for r in results if not r.error]
    if waits and max(waits) > 0.1:
        lines += [
            f"Other programs took up to {max(waits):.0%} of the brokers' time on their core: read the ratios.",
            "",
        ]
    return "\n".join(lines)


def machine_facts(brokers: list[Broker], settings: Settings) -> dict[str, Any]:
    """Collect what a reader needs to know about the machine and the programs."""
    processor = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    facts: dict[str, Any] = {
        "date": datetime.datetime.now().isoformat(sep=" ", timespec="minutes"),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "cores": f"broker {settings.broker_core}, load generator {settings.load_core}",
        "each run": f"{settings.seconds:g} s of publishing, {settings.repetitions} repetitions, interleaved",
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
    }
    for broker in brokers:
        if not broker.version:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = [fill(part, {}) for part in broker.version]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            facts[broker.name] = (answer.stdout.strip().splitlines() or ["version unknown"])[0][:100]
    return facts


# ---- set-up ---------------------------------------------------------------------------------------------------------


def build() -> None:
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
        command = [*compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(target), *map(str, files)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise BenchmarkError(f"cannot compile {name}:\n{finished.stderr[:2000]}")


def read_brokers(settings: Settings) -> list[Broker]:
    """Read the definitions of the brokers that are asked for, without those that are not installed."""
    with (HERE / "brokers.toml").open("rb") as file:
        known = tomllib.load(file)
    brokers = []
    for name in settings.brokers:
        if name not in known:
            raise BenchmarkError(f"no broker '{name}' in brokers.toml, which has: {', '.join(known)}")
        entry = known[name]
        command = tuple(entry["command"])
        if name == "noctule" and settings.noctule:
            command = settings.noctule
        if shutil.which(fill(command[0], {})) is None:
            say(f"{name} is left out: no program '{fill(command[0], {})}' on this machine")
            continue
        scenarios = entry.get("scenarios")
        broker = Broker(
            name,
            command,
            tuple(entry.get("version", ())),
            dict(entry.get("environment", {})),
            dict(entry.get("files", {})),
            None if scenarios is None else tuple(scenarios),
        )
        try:
            with running(broker, settings):
                brokers.append(broker)
        except BenchmarkError as error:
            say(f"{name} is left out: it {error}")
    if not brokers:
        raise BenchmarkError("no broker to measure")
    return brokers


def say(text: str) -> None:
    """Tell the user how things go, apart from the report on standard output."""
    print(text, file=sys.stderr, flush=True)


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


def parse_arguments() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default=DEFAULT_BROKERS, help=f"names in brokers.toml ({DEFAULT_BROKERS})")
    parser.add_argument("--scenarios", default="default", help="names, 'default' or 'all': " + ", ".join(SCENARIOS))
    parser.add_argument("--repetitions", type=int, help="runs of each scenario and broker (5, quick 2)")
    parser.add_argument("--seconds", type=float, help="publishing time of one run (3, quick 0.8)")
    parser.add_argument("--connections", type=int, help="idle connections (5000, quick 2000)")
    parser.add_argument("--quick", action="store_true", help="end within two minutes; figures are rougher")
    parser.add_argument("--noctule", metavar="CMD", help="start Noctule with this command; {port}, {dir}, {python}")
    parser.add_argument("--payload", type=int, help="payload bytes in all scenarios (64)")
    parser.add_argument("--window", type=int, help="undelivered messages of one publisher (chosen by size)")
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), help="QoS in all scenarios")
    parser.add_argument(
        "--mqtt-version", type=int, choices=(4, 5), help="4 for MQTT 3.1.1, 5 for 5.0, in all scenarios"
    )
    parser.add_argument("--properties", action="store_true", help="version 5: properties on every message")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the report")
    given = parser.parse_args()
    names = {"default": [s.name for s in DEFAULT_SCENARIOS], "all": list(SCENARIOS)}.get(
        given.scenarios, given.scenarios.split(",")
    )
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenario: {', '.join(unknown)}")
    more: list[str] = []
    given_options = {
        "payload": given.payload,
        "window": given.window,
        "qos": given.qos,
        "version": given.mqtt_version,
    }
    for option, value in given_options.items():
        if value is not None:
            more += [f"--{option}", str(value)]
    if given.properties:
        more += ["--version", "5", "--properties"]
    broker_core, load_core = choose_cores()
    return Settings(
        brokers=tuple(dict.fromkeys(given.brokers.split(","))),
        scenarios=tuple(SCENARIOS[name] for name in names),
        repetitions=given.repetitions or (2 if given.quick else 5),
        seconds=given.seconds or (0.8 if given.quick else 3.0),
        connections=raise_file_limit(given.connections or (2000 if given.quick else 5000)),
        noctule=tuple(shlex.split(given.noctule)) if given.noctule else None,
        load_arguments=tuple(more),
        results=given.results,
        broker_core=broker_core,
        load_core=load_core,
    )


def run_all(brokers: list[Broker], settings: Settings) -> list[Measurement]:
    """Run everything, the brokers in turn within each repetition so that a disturbance meets them all."""
    results: list[Measurement] = []
    for scenario in settings.scenarios:
        for repetition in range(settings.repetitions):
            for broker in brokers:
                if not broker.can_do(scenario):
                    continue
                result = measure(broker, scenario, repetition, settings)
                results.append(result)
                figure = f"FAILED: {result.error}" if result.error else f"{result.cost:.3f}"
                say(f"{scenario.name} {repetition + 1}/{settings.repetitions} {broker.name}: {figure}")
    return results


def write_results(results: list[Measurement], settings: Settings, facts: dict[str, Any]) -> None:
    """Print the report and keep it, with every single run beside it as JSON."""
    text = report(results, settings, facts)
    print(text)
    settings.results.mkdir(parents=True, exist_ok=True)
    name = str(facts["date"]).replace(" ", "-").replace(":", "")
    (settings.results / f"{name}.md").write_text(text)
    everything = {"facts": facts, "runs": [vars(result) for result in results]}
    (settings.results / f"{name}.json").write_text(json.dumps(everything, indent=1) + "\n")
    say(f"written: {settings.results / name}.md and .json")


def end(number: int, _frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that everything started is stopped on the way out."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the benchmark from the command line."""
    signal.signal(signal.SIGTERM, end)
    settings = parse_arguments()
    try:
        build()
        brokers = read_brokers(settings)
        facts = machine_facts(brokers, settings)
        results = run_all(brokers, settings)
        write_results(results, settings, facts)
    except BenchmarkError as error:
        say(f"benchmark: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 1 if any(result.error for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
