"""``noctule pub``: publishes a message, or one for each line of its input, as mosquitto_pub does."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import trio
from noctule.cli.client_command import run_tool
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS, WILL_OPTIONS, set_qos
from noctule.cli.option_reading import OptionTable, c_integer, flag, valued
from noctule.cli.outcome import EXIT_DONE, UsageError, tell
from noctule.cli.payloads import LINE_OPTION, PAYLOAD_OPTIONS, PayloadOptions, PayloadSource, lines, payload_of
from noctule.client import Client, PublishRefusedError
from noctule.protocol import PacketType, PropertyId, describe

SUMMARY: Final = "publish a message"
_USAGE: Final = "-t TOPIC {-m TEXT | -f FILE | -n | -s | -l} [options]"


@dataclass(slots=True)
class PubOptions(PayloadOptions):
    """The options of ``noctule pub``."""

    repeat_count: int = 1
    repeat_delay_s: float = 0.0


def _set_repeat(options: PubOptions, text: str) -> None:
    options.repeat_count = c_integer(text)
    if options.repeat_count < 1:
        raise UsageError("--repeat argument must be >0.")


def _set_repeat_delay(options: PubOptions, text: str) -> None:
    try:
        options.repeat_delay_s = float(text)
    except ValueError:
        raise UsageError(f"--repeat-delay argument must be a number of seconds, not '{text}'.") from None
    if not 0 <= options.repeat_delay_s < float("inf"):
        raise UsageError("--repeat-delay argument must be >=0.0.")


def _set_retain(options: PubOptions) -> None:
    options.retain = True


OPTIONS: Final = OptionTable[PubOptions](
    (
        (
            "message",
            (
                valued("-t --topic", "topic", "topic to publish to", lambda options, text: options.add_topic(text)),
                *PAYLOAD_OPTIONS,
                LINE_OPTION,
                valued("-q --qos", "qos", "quality of service: 0, 1 or 2 (0)", set_qos, "QoS"),
                flag("-r --retain", "have the server keep the message for the topic", _set_retain),
                valued("--repeat", "count", "publish it this many times (1)", _set_repeat),
                valued("--repeat-delay", "seconds", "wait between them (0)", _set_repeat_delay, "time"),
            ),
        ),
        ("connection", CONNECTION_OPTIONS),
        ("Will", WILL_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Publish. 0: the server has all of it (at QoS 0: it was sent); 1: it could not be; else the code of CONNACK.

    A message that the server refuses is a warning, and the exit code stays 0, as with mosquitto_pub.
    """
    return run_tool(words, PubOptions("pub"), OPTIONS, _USAGE, _publish)


async def _publish(options: PubOptions) -> int:
    if not options.topics or options.source is None:
        raise UsageError("Both topic and message must be supplied.")
    if options.source is PayloadSource.LINES:
        # Lines may come for days; a single message is better reported lost than late.
        options.reconnects = True
        messages = lines()
    else:
        messages = _repeated(await payload_of(options), options)
    async with options.connect() as client:
        client.goodbye = options.goodbye()
        number = 0
        async for payload in messages:
            number += 1
            await _publish_one(client, options, payload, number)
    return EXIT_DONE


async def _repeated(payload: bytes, options: PubOptions) -> AsyncIterator[bytes]:
    for number in range(options.repeat_count):
        if number:
            await trio.sleep(options.repeat_delay_s)
        yield payload


async def _publish_one(client: Client, options: PubOptions, payload: bytes, number: int) -> None:
    properties = dict(options.properties.of(PacketType.PUBLISH))
    topic_alias = properties.pop(PropertyId.TOPIC_ALIAS, None)
    try:
        await client.publish(
            options.topics[0], payload, options.qos, options.retain, topic_alias=topic_alias, properties=properties
        )
    except PublishRefusedError as error:
        if not options.is_quiet:
            tell(f"Warning: Publish {number} failed: {error.reason_string or describe(error.reason_code)}.")
