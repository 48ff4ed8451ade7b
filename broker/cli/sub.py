"""``noctule sub``: prints the messages of its subscriptions, as mosquitto_sub does."""

import argparse
import sys

import trio
from noctule.cli.connection_options import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_TIMED_OUT,
    ConnectionOptions,
    UsageError,
    add_connection_options,
    read_connection_options,
    run_command,
    tell,
    whole_number,
)
from noctule.client import Client, Message
from noctule.protocol import FIRST_FAILURE, PacketError, describe, split_filter


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "sub",
        add_help=False,
        help="print the messages of subscriptions",
        description="Subscribe, and print the payload of each message that arrives on a line.",
    )
    parser.add_argument("-t", "--topic", action="append", default=[], help="topic filter; may be given more than once")
    parser.add_argument("-q", "--qos", default="0", help="highest quality of service wanted: 0, 1 or 2 (default: 0)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the topic before the payload")
    parser.add_argument("-C", dest="count", metavar="COUNT", help="exit after this many messages")
    parser.add_argument("-W", dest="timeout", metavar="SECONDS", help="exit after this long, with code 27")
    add_connection_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print messages. 0: as many as were asked for; 27: the time was up before; 1: trouble; else CONNACK's code."""
    return run_command(_subscribe, arguments)


async def _subscribe(arguments: argparse.Namespace) -> int:
    options = read_connection_options(arguments)
    if not arguments.topic:
        raise UsageError("You must specify a topic to subscribe to.")
    for topic in arguments.topic:
        try:
            split_filter(topic)
        except PacketError:
            text = f"Invalid subscription topic '{topic}', are all '+' and '#' wildcards correct?"
            raise UsageError(text) from None
    count = _at_least_one(arguments.count, "Invalid message count")
    timeout_s = _at_least_one(arguments.timeout, "Invalid timeout")
    with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
        return await _print_messages(options, arguments, count)
    tell("Timed out")
    return EXIT_TIMED_OUT


def _at_least_one(text: str | None, complaint: str) -> int | None:
    if text is None:
        return None
    number = whole_number(text)
    if not number:
        raise UsageError(f'{complaint} "{text}".')
    return number


async def _print_messages(options: ConnectionOptions, arguments: argparse.Namespace, count: int | None) -> int:
    async with options.connect() as client:
        if not await _subscribe_all(client, options, arguments):
            return EXIT_FAILED
        left = count
        async for message in client:
            _print(message, arguments.verbose)
            if left is not None:
                left -= 1
                if left == 0:
                    break
    return EXIT_DONE


async def _subscribe_all(client: Client, options: ConnectionOptions, arguments: argparse.Namespace) -> bool:
    """Whether at least one subscription was granted."""
    codes = await client.subscribe(arguments.topic, options.qos)
    if arguments.debug:
        print(f"Subscribed (mid: 1): {', '.join(f'{code:d}' for code in codes)}", flush=True)
    refused = [(topic, code) for topic, code in zip(arguments.topic, codes, strict=True) if code >= FIRST_FAILURE]
    if len(refused) == len(codes):
        tell("All subscription requests were denied.")
        return False
    for topic, code in refused:
        tell(f"Warning: Subscription to '{topic}' failed: {describe(code)}.")
    return True


def _print(message: Message, verbose: bool) -> None:
    """A payload is written as it came; an empty one is no line at all, unless the topic stands before it."""
    if verbose:
        line = message.topic.encode() + b" " + (message.payload or b"(null)") + b"\n"
    elif message.payload:
        line = message.payload + b"\n"
    else:
        return
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
