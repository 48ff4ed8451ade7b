"""``noctule rr``: publishes a request and prints the response, as mosquitto_rr does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
from noctule.cli.client_command import run_tool
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS, WILL_OPTIONS, set_qos
from noctule.cli.connection_options import check_name
from noctule.cli.message_output import Printer
from noctule.cli.option_reading import OptionTable, flag, valued
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, EXIT_TIMED_OUT, UsageError, tell
from noctule.cli.output_options import OUTPUT_OPTIONS, PrintingOptions, subscription_options
from noctule.cli.payloads import PAYLOAD_OPTIONS, payload_of
from noctule.client import Client, Message
from noctule.protocol import FIRST_FAILURE, PacketType, PropertyId, ProtocolVersion, ReasonCode, describe

SUMMARY: Final = "publish a request and print the response"
_USAGE: Final = "-t TOPIC -e RESPONSE-TOPIC {-m TEXT | -f FILE | -n | -s} [options]"


@dataclass(slots=True)
class RrOptions(PrintingOptions):
    """The options of ``noctule rr``."""

    response_topic: str | None = None
    shows_latency: bool = False


def _set_response_topic(options: RrOptions, topic: str) -> None:
    check_name(topic, "response")
    options.response_topic = topic


def _show_latency(options: RrOptions) -> None:
    options.shows_latency = True


OPTIONS: Final = OptionTable[RrOptions](
    (
        (
            "request",
            (
                valued("-t --topic", "topic", "topic of the request", lambda options, text: options.add_topic(text)),
                valued("-e", "topic", "topic that the response comes to", _set_response_topic, "response topic"),
                *PAYLOAD_OPTIONS,
                valued("-q --qos", "qos", "quality of service: 0, 1 or 2 (0)", set_qos, "QoS"),
                flag("--latency", "print how long the response took", _show_latency),
            ),
        ),
        ("output", OUTPUT_OPTIONS),
        ("connection", CONNECTION_OPTIONS),
        ("Will", WILL_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Ask. 0: there was a response; 27: the time was up before; 1: trouble; else the code of CONNACK."""
    options = RrOptions("rr", version=ProtocolVersion.V5, count=1)
    return run_tool(words, options, OPTIONS, _USAGE, _ask)


async def _ask(options: RrOptions) -> int:
    if not options.topics or options.source is None or options.response_topic is None:
        raise UsageError("All of topic, message, and response topic must be supplied.")
    if PropertyId.RESPONSE_TOPIC in options.properties.of(PacketType.PUBLISH):
        raise UsageError("Error in PUBLISH properties: Duplicate response topic.")
    payload = await payload_of(options)
    printer = Printer(options.output, options.host)
    deadline = float("inf") if options.timeout_s is None else trio.current_time() + options.timeout_s
    with trio.CancelScope(deadline=deadline):
        async with options.connect() as client:
            client.goodbye = options.goodbye(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
            (code,) = await client.subscribe(
                subscription_options(options, options.response_topic),
                user_properties=options.properties.user_properties(PacketType.SUBSCRIBE),
            )
            if code >= FIRST_FAILURE:
                tell(f"Error: {describe(code)}")
                return EXIT_FAILED
            began_at = trio.current_time()
            message = await _response(client, options, options.response_topic, payload)
            latency_s = trio.current_time() - began_at
            client.goodbye = options.goodbye()
            printer.print(message)
            if options.shows_latency:
                print(f"Latency: {_readable(latency_s)}", flush=True)
        return EXIT_DONE
    if not options.is_quiet:
        tell("Timed out")
    return EXIT_TIMED_OUT


async def _response(client: Client, options: RrOptions, response_topic: str, payload: bytes) -> Message:
    properties = dict(options.properties.of(PacketType.PUBLISH))
    properties[PropertyId.RESPONSE_TOPIC] = response_topic
    topic_alias = properties.pop(PropertyId.TOPIC_ALIAS, None)
    await client.publish(options.topics[0], payload, options.qos, topic_alias=topic_alias, properties=properties)
    while True:
        message = await client.receive()
        if not (message.retain and options.output_retained_hidden):
            return message


def _readable(seconds: float) -> str:
    """A span of time as mosquitto_rr prints it."""
    if seconds >= 1:
        return f"{seconds:.9f}"
    if seconds >= 0.001:
        return f"{seconds * 1e3:f}ms"
    return f"{seconds * 1e6:f}µs"
