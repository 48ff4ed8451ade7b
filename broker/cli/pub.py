"""``noctule pub``: publishes one message, or one for each line of its input, as mosquitto_pub does."""

import argparse
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio
from noctule.cli.connection_options import (
    EXIT_DONE,
    UsageError,
    add_connection_options,
    read_connection_options,
    run_command,
    tell,
)
from noctule.client import Client, PublishRefusedError
from noctule.protocol import PacketError, check_topic_name, describe

_READ_BYTES = 65_536


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "pub",
        add_help=False,
        help="publish a message",
        description="Publish a message, or one for each line of standard input.",
    )
    parser.add_argument("-t", "--topic", help="topic to publish to")
    message = parser.add_argument_group("message (one of these)")
    message.add_argument("-m", "--message", action="append", default=[], help="this text")
    message.add_argument("-n", "--null-message", action="count", default=0, help="a message without payload")
    message.add_argument("-s", "--stdin-file", action="count", default=0, help="all of standard input")
    message.add_argument("-l", "--stdin-line", action="count", default=0, help="each line of standard input")
    message.add_argument("-f", "--file", action="append", default=[], help="the contents of this file")
    parser.add_argument("-q", "--qos", default="0", help="quality of service: 0, 1 or 2 (default: 0)")
    parser.add_argument("-r", "--retain", action="store_true", help="ask the server to keep the message for the topic")
    add_connection_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish. 0: the server has all of it (at QoS 0: it was sent); 1: it could not be; else the code of CONNACK.

    A message that the server refuses is a warning, and the exit code stays 0, as with mosquitto_pub.
    """
    return run_command(_publish, arguments)


async def _publish(arguments: argparse.Namespace) -> int:
    options = read_connection_options(arguments)
    _check(arguments)
    payload = await _payload_of(arguments)
    async with options.connect() as client:
        count = 0
        async for one in _lines() if payload is None else _once(payload):
            count += 1
            await _publish_one(client, arguments, options.qos, one, count)
    return EXIT_DONE


def _check(arguments: argparse.Namespace) -> None:
    given = len(arguments.message) + len(arguments.file)
    given += arguments.null_message + arguments.stdin_file + arguments.stdin_line
    if given > 1:
        raise UsageError("Only one type of message can be sent at once.")
    if given == 0 or arguments.topic is None:
        raise UsageError("Both topic and message must be supplied.")
    try:
        check_topic_name(arguments.topic)
    except PacketError:
        raise UsageError(f"Invalid publish topic '{arguments.topic}', does it contain '+' or '#'?") from None


async def _payload_of(arguments: argparse.Namespace) -> bytes | None:
    """The one payload; None if there is to be one for each line."""
    if arguments.stdin_line:
        return None
    if arguments.message:
        return os.fsencode(arguments.message[0])
    if arguments.file:
        try:
            return await trio.to_thread.run_sync(Path(arguments.file[0]).read_bytes)
        except OSError as error:
            raise UsageError(f'Unable to open file "{arguments.file[0]}": {error.strerror}') from None
    if not arguments.stdin_file:
        return b""
    parts = [part async for part in _standard_input()]
    if not parts:
        raise UsageError("Zero length input.")
    return b"".join(parts)


async def _publish_one(client: Client, arguments: argparse.Namespace, qos: int, payload: bytes, number: int) -> None:
    try:
        await client.publish(arguments.topic, payload, qos, arguments.retain)
    except PublishRefusedError as error:
        tell(f"Warning: Publish {number} failed: {error.reason_string or describe(error.reason_code)}.")


async def _once(payload: bytes) -> AsyncIterator[bytes]:
    yield payload


async def _lines() -> AsyncIterator[bytes]:
    """Each line of standard input without its end; the last one need not have an end."""
    rest = b""
    async for part in _standard_input():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def _standard_input() -> AsyncIterator[bytes]:
    # The thread is left behind when we are interrupted: nothing wakes a read of a terminal. And so it must not
    # hold the lock of a buffered file, which the interpreter would wait for at its end.
    file = sys.stdin.fileno()
    while part := await trio.to_thread.run_sync(os.read, file, _READ_BYTES, abandon_on_cancel=True):
        yield part
