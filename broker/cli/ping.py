"""``noctule ping``: whether a broker answers, and how fast; for people and for health checks."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
from noctule.cli.client_command import run_tool
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS, set_qos
from noctule.cli.connection_options import ConnectionOptions, with_url_first
from noctule.cli.option_reading import OptionTable, flag, strict_integer, valued
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, EXIT_TIMED_OUT, UsageError, tell
from noctule.client import Client, PublishRefusedError
from noctule.protocol import FIRST_FAILURE, describe

SUMMARY: Final = "see whether a broker answers"
_USAGE: Final = "[URL] [options]"

_TIMEOUT_S: Final = 5.0
_INTERVAL_S: Final = 1.0


@dataclass(slots=True)
class PingOptions(ConnectionOptions):
    """The options of ``noctule ping``."""

    repeat_count: int = 1
    interval_s: float = _INTERVAL_S
    timeout_s: float = _TIMEOUT_S
    makes_round_trip: bool = False
    topic: str | None = None


def _set_repeat(options: PingOptions, text: str) -> None:
    number = strict_integer(text)
    if number is None or number < 1:
        raise UsageError(f"'{text}' where a number from 1 up was expected.")
    options.repeat_count = number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"'{text}' where a number of seconds was expected.")
    return seconds


def _set_interval(options: PingOptions, text: str) -> None:
    options.interval_s = _seconds(text)


def _set_timeout(options: PingOptions, text: str) -> None:
    options.timeout_s = _seconds(text)


def _round_trip(options: PingOptions) -> None:
    options.makes_round_trip = True


def _set_topic(options: PingOptions, topic: str) -> None:
    options.add_topic(topic)
    options.topic = topic
    options.makes_round_trip = True


OPTIONS: Final = OptionTable[PingOptions](
    (
        (
            "what is tried",
            (
                flag("--round-trip", "publish a message to ourselves and wait for it", _round_trip),
                valued("-t --topic", "topic", "by this topic (one that nobody else has)", _set_topic),
                valued("-q --qos", "qos", "at this quality of service (0)", set_qos, "QoS"),
                valued("-n --count", "count", "this many times (1)", _set_repeat),
                valued("--interval", "seconds", "with so long between them (1)", _set_interval),
                valued("-W", "seconds", "give up after so long, with code 27 (5)", _set_timeout, "timeout"),
            ),
        ),
        ("connection", CONNECTION_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Try. 0: all went well; 27: no answer in time; 1: no connection, or no message back; else the code of CONNACK."""
    return run_tool(with_url_first(words), PingOptions("ping"), OPTIONS, _USAGE, _ping)


async def _ping(options: PingOptions) -> int:
    code = EXIT_DONE
    for number in range(options.repeat_count):
        if number:
            await trio.sleep(options.interval_s)
        with trio.move_on_after(options.timeout_s) as deadline:
            code = max(code, await _once(options))
        if deadline.cancelled_caught:
            if not options.is_quiet:
                tell(f"{options.address()}: no answer within {options.timeout_s:g} s")
            code = EXIT_TIMED_OUT
    return code


async def _once(options: PingOptions) -> int:
    """One try; its exit code. A failure to connect comes out as an exception."""
    began_at = time.perf_counter()
    async with options.connect() as client:
        parts = [f"{options.address()}: connected in {_milliseconds(began_at)}"]
        if options.makes_round_trip:
            asked_at = time.perf_counter()
            complaint = await _round_trip_of(client, options)
            if complaint is not None:
                tell(f"{options.address()}: {complaint}")
                return EXIT_FAILED
            parts.append(f"message there and back in {_milliseconds(asked_at)}")
        if not options.is_quiet:
            print(", ".join(parts), flush=True)
    return EXIT_DONE


async def _round_trip_of(client: Client, options: PingOptions) -> str | None:
    """Publish to ourselves and wait for the message; what was wrong, None if nothing."""
    nonce = secrets.token_hex(8)
    topic = options.topic or f"noctule/ping/{nonce}"
    (code,) = await client.subscribe(topic, options.qos)
    if code >= FIRST_FAILURE:
        return f"the subscription to {topic} is refused: {describe(code)}"
    try:
        await client.publish(topic, nonce.encode(), options.qos)
    except PublishRefusedError as error:
        return str(error)
    async for message in client:
        if message.payload == nonce.encode():
            return None
    return "the message did not come back"


def _milliseconds(since: float) -> str:
    return f"{(time.perf_counter() - since) * 1000:.1f} ms"
