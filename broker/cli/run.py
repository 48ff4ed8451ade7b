"""``noctule run``: the broker as a process."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator

import trio
from noctule._version import __version__
from noctule.app import HAS_REACTOR, Broker, QuietCollector
from noctule.config.settings import Carrier, ListenerSettings, Settings
from noctule.net.listeners import ListenError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_logger = logging.getLogger("noctule")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "run",
        help="run the broker",
        description="Run the broker. Without options it listens on 127.0.0.1:1883, for this machine alone, and lets "
        "everybody on it in.",
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        type=_address,
        help="listen there, in place of 127.0.0.1:1883; may be given more than once; port 0: the system chooses",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log each connection too")
    parser.add_argument(
        "--carrier",
        choices=[carrier.value for carrier in Carrier],
        help="how plain TCP is carried: by one epoll set (reactor; the default on Linux) or a task each (streams)",
    )
    parser.set_defaults(run=run)


def _address(text: str) -> ListenerSettings:
    """HOST:PORT, [IPV6]:PORT, :PORT or PORT."""
    host, _, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port_text.isdecimal() or int(port_text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT with a port from 0 to 65535")
    return ListenerSettings(host or "127.0.0.1", int(port_text))


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. 0: stopped as asked; 1: could not start, or stopped at once by a second signal."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    carrier = Carrier(arguments.carrier) if arguments.carrier else None
    if carrier is Carrier.REACTOR and not HAS_REACTOR:
        print(
            "noctule: the reactor needs epoll, which this system does not have; use --carrier streams", file=sys.stderr
        )
        return 2
    settings = Settings(carrier=carrier)
    if arguments.listen:
        settings = Settings(listeners=tuple(arguments.listen), carrier=carrier)
    broker = Broker(settings)
    try:
        with QuietCollector():
            stopped_gracefully = trio.run(_serve, broker)
    except ExceptionGroup as group:
        mine, others = group.split(ListenError)
        if others is not None or mine is None:
            raise
        for error in _flattened(mine):
            print(f"noctule: {error}", file=sys.stderr)
        return 1
    return 0 if stopped_gracefully else 1


def _flattened(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flattened(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _serve(broker: Broker) -> bool:
    """Run the broker until it has stopped; True unless it was cut short by a second signal."""
    stopped_gracefully = False
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, broker, signals, nursery.cancel_scope)
            async with trio.open_nursery() as running:
                _announce(broker, await running.start(broker.run))
            stopped_gracefully = True
            nursery.cancel_scope.cancel()
    _logger.info("Stopped" if stopped_gracefully else "Stopped at once; clients were not told")
    return stopped_gracefully


async def _stop_on_signal(broker: Broker, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """The first signal stops gracefully, the second at once."""
    stopping = False
    async for number in signals:
        if stopping:
            scope.cancel()
            return
        stopping = True
        _logger.info("Stopping (%s); a second signal stops at once.", signal.Signals(number).name)
        broker.stop()


def _announce(broker: Broker, urls: tuple[str, ...]) -> None:
    """Say what a newcomer has to know: version, addresses, who gets in, where state is."""
    _logger.info("Noctule %s (process %d, %s)", __version__, os.getpid(), broker.carrier.value)
    for url in urls:
        _logger.info("Listening on %s, open to anybody who can reach it (anonymous)", url)
    _logger.info("State is in memory: sessions and retained messages end with this process")
    if all(listener.host in _LOOPBACK for listener in broker.settings.listeners):
        _logger.info("Only this machine can connect. To let others in: noctule run --listen 0.0.0.0:1883")
    else:
        _logger.warning("Other machines can connect, and there is no password: keep this to a network that you trust")
