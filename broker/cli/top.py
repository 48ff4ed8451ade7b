"""``noctule top``: what a running broker does, live, from its ``$SYS`` topics with Mosquitto's names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio
from noctule.cli.client_command import run_tool
from noctule.cli.connection_option_table import CONNECTION_OPTIONS, TLS_OPTIONS
from noctule.cli.connection_options import ConnectionOptions, with_url_first
from noctule.cli.message_output import terminal_is_coloured
from noctule.cli.option_reading import OptionTable, strict_integer, valued
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, UsageError, tell
from noctule.cli.sys_topics import FILTER, SysTopics
from noctule.client import Client
from noctule.protocol import FIRST_FAILURE, describe

SUMMARY: Final = "watch what a broker does"
_USAGE: Final = "[URL] [options]"

_INTERVAL_S: Final = 2.0

#: After this long without a word there will be none; brokers publish every 10 s where nothing is configured.
_SILENCE_S: Final = 15.0

_HOME: Final = "\x1b[H"
_CLEAR: Final = "\x1b[2J"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_OTHER_SCREEN: Final = "\x1b[?1049h\x1b[?25l"
_OWN_SCREEN: Final = "\x1b[?25h\x1b[?1049l"
_BOLD: Final = "\x1b[1m"
_PLAIN: Final = "\x1b[0m"

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(slots=True)
class TopOptions(ConnectionOptions):
    """The options of ``noctule top``."""

    frames: int | None = None
    interval_s: float = _INTERVAL_S


def _set_frames(options: TopOptions, text: str) -> None:
    options.frames = strict_integer(text)
    if options.frames is None or options.frames < 1:
        raise UsageError(f"'{text}' where a number from 1 up was expected.")


def _set_interval(options: TopOptions, text: str) -> None:
    try:
        options.interval_s = float(text)
    except ValueError:
        options.interval_s = 0.0
    if not 0.1 <= options.interval_s <= 3600:
        raise UsageError(f"'{text}' where a number of seconds from 0.1 to 3600 was expected.")


OPTIONS: Final = OptionTable[TopOptions](
    (
        (
            "view",
            (
                valued("-n --iterations", "count", "end after this many views (without end)", _set_frames),
                valued("--interval", "seconds", "a view every so many seconds (2)", _set_interval),
            ),
        ),
        ("connection", CONNECTION_OPTIONS),
        ("TLS", TLS_OPTIONS),
    )
)


def main(words: Sequence[str]) -> int:
    """Watch until Ctrl-C, or as often as asked. 1: the broker says nothing of itself, or hides it from us."""
    return run_tool(with_url_first(words), TopOptions("top", reconnects=True), OPTIONS, _USAGE, _top)


async def _top(options: TopOptions) -> int:
    topics = SysTopics()
    arrived = trio.Event()
    async with options.connect() as client:
        (code,) = await client.subscribe(FILTER)
        if code >= FIRST_FAILURE:
            tell(f"Error: The broker does not let us see {FILTER}: {describe(code)}")
            return EXIT_FAILED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_collect, client, topics, arrived)
            with trio.move_on_after(_SILENCE_S):
                await arrived.wait()
            if not arrived.is_set():
                tell(f"Error: Nothing came from {FILTER} for {_SILENCE_S:g} s: the broker does not publish it.")
                nursery.cancel_scope.cancel()
                return EXIT_FAILED
            await _show(options, client, topics)
            nursery.cancel_scope.cancel()
    return EXIT_DONE


async def _collect(client: Client, topics: SysTopics, arrived: trio.Event) -> None:
    async for message in client:
        topics.take(message.topic, message.payload, trio.current_time(), message.retain)
        arrived.set()


async def _show(options: TopOptions, client: Client, topics: SysTopics) -> None:
    """A view every interval: on a terminal in place of the one before, else one below the other."""
    is_terminal = sys.stdout.isatty()
    shown = 0
    lines: list[str] = []
    if is_terminal:
        _write(_OTHER_SCREEN + _CLEAR)
    try:
        # What is retained comes at once, but not all in one moment.
        await trio.sleep(min(options.interval_s, 0.3))
        while True:
            state = "" if client.is_connected else "  (the connection is lost; connecting again)"
            lines = view(topics, str(options.address()) + state, terminal_is_coloured())
            if is_terminal:
                _write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)
            else:
                _write("\n".join((*lines, "", "")))
            shown += 1
            if shown == options.frames:
                return
            await trio.sleep(options.interval_s)
    finally:
        if is_terminal:
            # The last view stays to be read.
            _write("\n".join((_OWN_SCREEN, *lines, "")))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def view(topics: SysTopics, server: str, is_coloured: bool = False) -> list[str]:
    """The lines of one view; what the broker does not tell is a dash."""
    number, rate = topics.number, topics.rate

    def title(text: str) -> str:
        return f"{_BOLD}{text}{_PLAIN}" if is_coloured else text

    uptime = number("uptime")
    return [
        title(f"{topics.values.get('version', 'a broker')}  {server}"),
        f"up {_duration(uptime)}",
        "",
        title("clients"),
        f"  connected {_count(number('clients/connected', 'clients/active')):>12}"
        f"   disconnected {_count(number('clients/disconnected', 'clients/inactive')):>12}"
        f"   in all {_count(number('clients/total')):>12}",
        f"  most ever {_count(number('clients/maximum')):>12}"
        f"   expired      {_count(number('clients/expired')):>12}"
        f"   sockets{_count(number('connections/socket/count')):>12}",
        "",
        title("a second                received          sent       dropped"),
        f"  messages (PUBLISH){_rate(rate('publish/messages/received')):>13}"
        f"{_rate(rate('publish/messages/sent')):>14}{_rate(rate('publish/messages/dropped')):>14}",
        f"  packets           {_rate(rate('messages/received')):>13}{_rate(rate('messages/sent')):>14}",
        f"  bytes             {_size(rate('bytes/received')):>13}{_size(rate('bytes/sent')):>14}",
        "",
        title("in all                  received          sent       dropped"),
        f"  messages (PUBLISH){_count(number('publish/messages/received')):>13}"
        f"{_count(number('publish/messages/sent')):>14}{_count(number('publish/messages/dropped')):>14}",
        f"  bytes             {_size(number('bytes/received')):>13}{_size(number('bytes/sent')):>14}",
        "",
        title("held"),
        f"  subscriptions {_count(number('subscriptions/count')):>8}"
        f"   shared {_count(number('shared_subscriptions/count')):>8}"
        f"   retained {_count(number('retained messages/count')):>8}",
        f"  stored        {_count(number('store/messages/count', 'messages/stored')):>8}"
        f"   of {_size(number('store/messages/bytes')):>12}"
        f"   to be sent {_count(number('packet/out/count')):>6} of {_size(number('packet/out/bytes'))}",
        f"  memory {_size(number('heap/current')):>15}   at most {_size(number('heap/maximum')):>12}",
    ]


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _size(value: float | None) -> str:
    if value is None:
        return "-"
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    clock = f"{hours}:{minutes:02}:{left:02}"
    return f"{days} d {clock}" if days else clock
