"""``noctule sub``: prints the messages of its subscriptions, as mosquitto_sub does."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio
from noctule.cli.client_command import run_tool
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS, WILL_OPTIONS, set_qos
from noctule.cli.connection_options import check_filter
from noctule.cli.message_output import Printer
from noctule.cli.option_reading import OptionTable, c_integer, flag, valued
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TIMED_OUT, UsageError, tell
from noctule.cli.output_options import OUTPUT_OPTIONS, PrintingOptions, subscription_options
from noctule.client import Client, Message, filter_matches
from noctule.protocol import (
    FIRST_FAILURE,
    PacketType,
    PropertyId,
    ReasonCode,
    describe,
)

SUMMARY: Final = "print the messages of subscriptions"
_USAGE: Final = "-t TOPIC [-t TOPIC ...] [options]"


@dataclass(slots=True)
class SubOptions(PrintingOptions):
    """The options of ``noctule sub``."""

    filters_out: list[str] = field(default_factory=list)
    unsubscribe: list[str] = field(default_factory=list)
    exits_after_subscribing: bool = False
    retained_only: bool = False
    removes_retained: bool = False
    shows_rate: bool = False


def _set_count(options: SubOptions, text: str) -> None:
    options.count = c_integer(text)
    if options.count < 1:
        raise UsageError(f'Invalid message count "{text}".')


def _set_random(options: SubOptions, text: str) -> None:
    try:
        percent = float(text)
    except ValueError:
        percent = 0.0
    if not 0.1 <= percent <= 100:
        raise UsageError("--random-filter chance must be between 0.1-100.0")
    options.output.random_percent = percent


def _add_filter_out(options: SubOptions, topic: str) -> None:
    check_filter(topic, "filter")
    options.filters_out.append(topic)


def _add_unsubscribe(options: SubOptions, topic: str) -> None:
    check_filter(topic, "unsubscribe")
    options.unsubscribe.append(topic)


def _exit_after_subscribing(options: SubOptions) -> None:
    options.exits_after_subscribing = True


def _retained_only(options: SubOptions) -> None:
    options.retained_only = True


def _remove_retained(options: SubOptions) -> None:
    options.removes_retained = True


def _show_rate(options: SubOptions) -> None:
    options.shows_rate = True


def _watch(options: SubOptions) -> None:
    options.output.is_watch = True


OPTIONS: Final = OptionTable[SubOptions](
    (
        (
            "subscriptions",
            (
                valued(
                    "-t --topic", "filter", "subscribe to it", lambda options, text: options.add_topic(text), "topic"
                ),
                valued("-T --filter-out", "filter", "do not print its messages", _add_filter_out, "topic filter"),
                valued("-U --unsubscribe", "filter", "unsubscribe from it", _add_unsubscribe, "unsubscribe topic"),
                valued("-q --qos", "qos", "highest quality of service wanted: 0, 1 or 2 (0)", set_qos, "QoS"),
                valued("-C", "count", "exit after this many messages", _set_count),
                flag("-E", "exit when the server has answered to the subscriptions", _exit_after_subscribing),
                flag("--retained-only", "exit at the first message that is not retained", _retained_only),
                flag("--remove-retained", "clear each retained message that comes", _remove_retained),
            ),
        ),
        (
            "output",
            (
                *OUTPUT_OPTIONS,
                valued("--random-filter", "percent", "print this share of the messages", _set_random, "chance"),
                flag("--message-rate", "print how many messages come in a second, not the messages", _show_rate),
                flag("-w --watch", "on a terminal, print each topic on a line of its own", _watch),
            ),
        ),
        ("connection", CONNECTION_OPTIONS),
        ("Will", WILL_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Print messages. 0: as many as were asked for; 27: the time was up before; 1: trouble; else CONNACK's code."""
    return run_tool(words, SubOptions("sub", reconnects=True), OPTIONS, _USAGE, _subscribe)


async def _subscribe(options: SubOptions) -> int:
    if not options.topics and not options.unsubscribe:
        raise UsageError("You must specify a topic to subscribe to (-t) or unsubscribe from (-U).")
    if options.output_retained_hidden and options.retained_only:
        raise UsageError("Combining '-R' and '--retained-only' makes no sense.")
    printer = Printer(options.output, options.host)
    deadline = float("inf") if options.timeout_s is None else trio.current_time() + options.timeout_s
    with trio.CancelScope(deadline=deadline):
        async with options.connect() as client:
            # Whoever is stopped from outside has not left of its own will: the Will is published (version 5).
            client.goodbye = options.goodbye(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
            code = EXIT_DONE
            async with _stopped_by_signal() as stop:
                code = await _Subscriber(client, options, printer).run()
            if stop.number is None:
                client.goodbye = options.goodbye()
            elif stop.number == signal.SIGINT:
                code = EXIT_INTERRUPTED
        return code
    if not options.is_quiet:
        tell("Timed out")
    return EXIT_TIMED_OUT


@dataclass(slots=True)
class _Stop:
    """Which signal has ended the command; None: none has."""

    number: int | None = None


@asynccontextmanager
async def _stopped_by_signal() -> AsyncIterator[_Stop]:
    """Cancel the block at SIGTERM and SIGINT, wherever it is just then, so that the goodbye is said."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield stop
        return
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for number in signals:
                    stop.number = number
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            yield stop
            nursery.cancel_scope.cancel()


class _Subscriber:
    """Subscribes, and acts on what comes."""

    def __init__(self, client: Client, options: SubOptions, printer: Printer) -> None:
        self._client = client
        self._options = options
        self._printer = printer
        self._left = options.count
        self._arrived = 0

    async def run(self) -> int:
        """Until there is nothing more to do; the exit code.

        Where no subscription is granted it is 1: mosquitto_sub has 0 there, as if all had been printed.
        """
        options = self._options
        if options.topics and not await self._subscribe_all():
            return EXIT_FAILED
        user_properties = options.properties.user_properties(PacketType.UNSUBSCRIBE)
        for topic in options.unsubscribe:
            await self._client.unsubscribe(topic, user_properties=user_properties)
        if options.exits_after_subscribing:
            return EXIT_DONE
        if not options.shows_rate:
            await self._print_all()
            return EXIT_DONE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count_all)
            while True:
                await trio.sleep(1)
                print(f"{self._arrived} msgs/s", flush=True)
                self._arrived = 0

    async def _subscribe_all(self) -> bool:
        """Whether at least one subscription was granted."""
        options = self._options
        given = options.properties.of(PacketType.SUBSCRIBE)
        entries = [subscription_options(options, topic) for topic in options.topics]
        codes = await self._client.subscribe(
            entries,
            subscription_identifier=given.get(PropertyId.SUBSCRIPTION_IDENTIFIER),
            user_properties=options.properties.user_properties(PacketType.SUBSCRIBE),
        )
        refused = [(topic, code) for topic, code in zip(options.topics, codes, strict=True) if code >= FIRST_FAILURE]
        if options.is_quiet:
            return len(refused) < len(codes)
        if len(refused) == len(codes):
            tell("All subscription requests were denied.")
            return False
        for topic, code in refused:
            tell(f"Warning: Subscription to '{topic}' failed: {describe(code)}.")
        return True

    async def _count_all(self) -> None:
        async for _ in self._client:
            self._arrived += 1

    async def _print_all(self) -> None:
        async for message in self._client:
            if self._options.retained_only and not message.retain:
                return
            if await self._take(message) and self._left is not None:
                self._left -= 1
                if self._left == 0:
                    return

    async def _take(self, message: Message) -> bool:
        """Print the message if it is wanted; whether it counts."""
        options = self._options
        if message.retain and options.output_retained_hidden:
            return False
        if any(filter_matches(one, message.topic) for one in options.filters_out):
            return False
        if options.removes_retained and message.retain:
            await self._client.publish(message.topic, b"", 1, retain=True)
        self._printer.print(message)
        return True
