"""The same command lines given to mosquitto_pub, _sub, _rr and to noctule pub, sub, rr: output, exit code, effect.

All of them run in one go, several at a time, before the first test looks at its own.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from e2e.process import BrokerProcess
from e2e.tool_cases import EVERY_CASE, PUB, RR, SUB, Case
from noctule.client import Client, Message, connect

TOGETHER = 6
DEADLINE_S = 30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="needs mosquitto-clients"),
]

#: What differs between two runs of one and the same tool.
UNSTEADY = (
    (re.compile(rb'"tst":(\t?)"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?[+-]\d{4}"'), rb'"tst":\1"..."'),
    (re.compile(rb"\b8999\d\b"), b"90000"),  # seconds of a message's life
)


@dataclass
class Outcome:
    """What one command did."""

    code: int = -1
    output: bytes = b""
    errors: bytes = b""
    published: list[tuple[object, ...]] = field(default_factory=list)
    retained: list[tuple[object, ...]] = field(default_factory=list)


@dataclass
class Bench:
    """A broker, and what was found out with it."""

    port: int
    folder: Path
    outcomes: dict[tuple[str, Case], Outcome] = field(default_factory=dict)


def seen(message: Message, topic: str) -> tuple[object, ...]:
    """A message for comparison, whoever's topic it has."""
    shown = message.topic.removeprefix(topic)
    properties = {name.name: value for name, value in message.properties.items()}
    if "RESPONSE_TOPIC" in properties:
        properties["RESPONSE_TOPIC"] = properties["RESPONSE_TOPIC"].removeprefix(topic)
    properties.pop("SUBSCRIPTION_IDENTIFIER", None)
    if "MESSAGE_EXPIRY_INTERVAL" in properties:
        assert 89_900 <= properties["MESSAGE_EXPIRY_INTERVAL"] <= 90_000
        properties["MESSAGE_EXPIRY_INTERVAL"] = 90_000
    return (shown, message.payload, message.qos, message.retain, sorted(properties.items(), key=str))


async def prepare(client: Client, topic: str) -> None:
    """The retained messages that subscriptions find."""
    await client.publish(f"{topic}/a", b"one", 1, True)
    await client.publish(
        f"{topic}/json", b'{"b": [1,2.50,"x",{"c":[]}],"a":1e3,"d":{},"n":null,"t":true,"u":"\\u00fc"}', 1, True
    )
    await client.publish(f"{topic}/utf8", 'grüße "x" \\ \t'.encode(), 1, True)
    await client.publish(f"{topic}/cut", b"remove me", 1, True)
    await client.publish(
        f"{topic}/v5",
        b"properties",
        1,
        True,
        payload_is_text=True,
        message_expiry_interval_s=90_000,
        content_type="type",
        response_topic="r/t",
        correlation_data=b"data",
        user_properties=[("a", "b"), ("a", "c")],
    )


async def answer_requests(url: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer every request with its payload the other way round."""
    async with connect(url) as client, client.subscription("+/+/+/request", 2) as requests:
        task_status.started()
        async for request in requests:
            response_topic = request.response_topic or request.topic.replace("request", "response")
            await client.publish(
                response_topic,
                request.payload[::-1],
                request.qos,
                correlation_data=request.correlation_data,
                content_type="answer",
            )


async def run_one(bench: Bench, which: str, case: Case, number: int) -> None:
    """Run one command line and keep what it did."""
    topic = f"run/{which}/{number}"
    outcome = bench.outcomes[which, case] = Outcome()
    url = f"mqtt://127.0.0.1:{bench.port}"
    places = {"{T}": topic, "{P}": str(bench.port), "{D}": str(bench.folder)}

    def filled(word: str) -> str:
        for name, value in places.items():
            word = word.replace(name, value)
        return word

    async with connect(url) as client:
        if case.tool == "sub":
            await prepare(client, topic)
        if case.queued:
            version = 5 if "-V 5" in case.words else 4
            durable = {"client_id": topic, "clean_start": False, "version": version}
            async with connect(url, session_expiry_interval_s=1_000, **durable) as owner:  # type: ignore[arg-type]
                await owner.subscribe(f"{topic}/live", 2)
            for payload in case.queued:
                await client.publish(f"{topic}/live", payload, 2)
        words = [filled(word) for word in (*case.words.split(), *case.more)]
        if not case.has_address:
            words = ["-h", "127.0.0.1", "-p", str(bench.port), *words]
        tool = [f"mosquitto_{case.tool}"] if which == "ref" else [sys.executable, "-m", "noctule", case.tool]
        environment = {**os.environ, "XDG_CONFIG_HOME": str(bench.folder / "nothing"), "TZ": "UTC"}
        async with client.subscription(f"{topic}/#", 2) as observed:
            with trio.move_on_after(DEADLINE_S) as deadline:
                done = await trio.run_process(
                    [*tool, *words],
                    stdin=case.stdin,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=environment,
                )
            if deadline.cancelled_caught:
                outcome.errors = b"it did not come to an end"
                return
            await client.publish(f"{topic}/end", b"", 2)
            async for message in observed:
                if message.topic.endswith("/end"):
                    break
                if not message.retain:
                    outcome.published.append(seen(message, topic))
        async with client.subscription(f"{topic}/#", 2) as kept:
            await client.publish(f"{topic}/end", b"", 2)
            async for message in kept:
                if message.topic.endswith("/end"):
                    break
                outcome.retained.append(seen(message, topic))
            outcome.retained.sort(key=str)
    outcome.code, outcome.errors = done.returncode, done.stderr
    output = done.stdout.replace(topic.encode(), b"{T}")
    for pattern, steady in UNSTEADY:
        output = pattern.sub(steady, output)
    outcome.output = output


async def run_all(bench: Bench, cases: list[Case]) -> None:
    """Run every command line with both tools, several at a time."""
    limiter = trio.CapacityLimiter(TOGETHER)

    async def limited(which: str, case: Case, number: int) -> None:
        async with limiter:
            await run_one(bench, which, case, number)

    async with trio.open_nursery() as responder:
        await responder.start(answer_requests, f"mqtt://127.0.0.1:{bench.port}")
        async with trio.open_nursery() as nursery:
            for number, case in enumerate(cases):
                nursery.start_soon(limited, "ref", case, number)
                nursery.start_soon(limited, "our", case, number)
        responder.cancel_scope.cancel()


def compare(bench: Bench, case: Case) -> None:
    """Both did the same; where mosquitto's tool prints how it is used, ours says in a line what is wrong."""
    theirs, mine = bench.outcomes["ref", case], bench.outcomes["our", case]
    if b"Usage:" in theirs.output:
        theirs.output = b""
    told = f"\ntheirs: {theirs}\nmine: {mine}"
    assert mine.code >= 0, told
    assert mine.output == theirs.output, told
    assert mine.code == theirs.code, told
    assert mine.published == theirs.published, told
    assert mine.retained == theirs.retained, told
    assert b"Traceback" not in mine.errors, told
    if theirs.code and b"--quiet" not in str(case).encode():
        assert mine.errors, told


def files_in(folder: Path) -> Path:
    (folder / "file").write_bytes(b"in\na file\x00\xff")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def against_noctule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    broker = BrokerProcess().wait_until_listening()
    bench = Bench(broker.port, files_in(tmp_path_factory.mktemp("tools")))
    trio.run(run_all, bench, EVERY_CASE)
    yield bench
    broker.stop()


@pytest.mark.parametrize("case", EVERY_CASE, ids=str)
def test_against_noctule(case: Case, against_noctule: Bench) -> None:
    compare(against_noctule, case)


SAMPLE = [*SUB[::3], *PUB[::3], *RR[::3]]


@pytest.fixture(scope="module")
def against_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = files_in(tmp_path_factory.mktemp("tools"))
    with subprocess.Popen(
        ["mosquitto", "-c", str(configuration(folder))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if found := re.search(r"Opening ipv4 listen socket on port (\d+)", line):
                port = int(found[1])
            if "running" in line:
                break
        bench = Bench(port, folder)
        trio.run(run_all, bench, SAMPLE)
        yield bench
        process.terminate()


def configuration(folder: Path) -> Path:
    with_port = folder / "mosquitto.conf"
    with socket.socket() as probe:  # mosquitto cannot have the system choose
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with_port.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    return with_port


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_against_mosquitto(case: Case, against_mosquitto: Bench) -> None:
    compare(against_mosquitto, case)


def test_there_are_enough() -> None:
    assert len(EVERY_CASE) >= 60
    assert len(set(EVERY_CASE)) == len(EVERY_CASE)
