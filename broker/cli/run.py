"""``noctule run``: the broker as a process."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio
from noctule._version import __version__
from noctule.app import HAS_REACTOR, Broker, QuietCollector
from noctule.bridges.remote import BridgeError
from noctule.cli.config_file import EXIT_BAD_CONFIG, add_config_option, counted, print_problems
from noctule.cli.log_output import open_log, reopen_log_files
from noctule.cli.notify import ServiceManager, service_manager
from noctule.config.differences import Change
from noctule.config.loading import Loaded, load
from noctule.config.log import LogLevel
from noctule.config.problems import ConfigError, Place, Positions
from noctule.config.safety import closed_listeners, undurable_listeners
from noctule.config.settings import Carrier, Durability, ListenerSettings, Settings
from noctule.hooks.answers import PluginError
from noctule.hooks.loading import authenticates, config_of_plugin, store_directory, with_store
from noctule.net.listeners import ListenError

#: What has the configuration read again.
_RELOADING: Final = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()

#: What has the files of the log opened again; so does a reload.
_REOPENING: Final = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()

_logger = logging.getLogger("noctule")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "run",
        help="run the broker",
        description="Run the broker. Without options it listens on 127.0.0.1:1883, for this machine alone, and lets "
        "everybody on it in.",
    )
    add_config_option(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        type=_address,
        help="listen there, in place of what is configured or 127.0.0.1:1883; may be given more than once; port 0: "
        "the system chooses",
    )
    parser.add_argument(
        "--data",
        metavar="DIRECTORY",
        type=Path,
        help="keep state there, in place of what is configured; a directory belongs to one broker at a time",
    )
    parser.add_argument(
        "--durability",
        choices=[level.value for level in Durability],
        help="where state must be before it is acknowledged: on disk (default), handed to the system (os), or nowhere",
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
    """Serve until SIGTERM or SIGINT.

    0: stopped as asked; 1: could not start, or stopped at once by a second signal; 2: this system cannot do it;
    3: the configuration cannot be used.
    """
    try:
        loaded = load(arguments.config, config_of_plugin=config_of_plugin, authenticates=authenticates)
        settings = _with_arguments(loaded, arguments)
    except ConfigError as error:
        print_problems(error.warnings, "warning")
        print_problems(error.problems, "error")
        count = counted(len(error.problems), "error")
        print(f"noctule: not started: {count} in the configuration", file=sys.stderr)
        return EXIT_BAD_CONFIG
    if settings.carrier is Carrier.REACTOR and not HAS_REACTOR:
        print(
            "noctule: the reactor needs epoll, which this system does not have; use --carrier streams", file=sys.stderr
        )
        return 2
    open_log(settings.log)
    for warning in loaded.warnings:
        _logger.warning("%s: %s", warning.place, warning)
    try:
        settings = with_store(settings)
        broker = Broker(settings, http_by_default=True)
    except PluginError as error:
        print(f"noctule: not started: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    try:
        with QuietCollector(), _pid_file(settings.pid_file):
            stopped_gracefully = trio.run(_serve, broker, loaded.sources, arguments)
    except ExceptionGroup as group:
        mine, others = group.split((ListenError, PluginError, BridgeError))
        if others is not None or mine is None:
            raise
        for refusal in _flattened(mine):
            print(f"noctule: not started: {refusal}", file=sys.stderr)
        return 1
    return 0 if stopped_gracefully else 1


def _with_arguments(loaded: Loaded, arguments: argparse.Namespace) -> Settings:
    """The settings with what the command line says in place of what they said. ConfigError where that cannot be."""
    settings = loaded.settings
    if arguments.carrier:
        settings = replace(settings, carrier=Carrier(arguments.carrier))
    if arguments.data is not None:
        settings = replace(settings, data_directory=arguments.data)
    if arguments.durability:
        settings = replace(settings, durability=Durability(arguments.durability))
    if arguments.verbose:
        settings = replace(settings, log=replace(settings.log, level=LogLevel.DEBUG))
    if arguments.listen:
        settings = replace(settings, listeners=tuple(arguments.listen))
        if arguments.config is None and settings.allow_anonymous is None and not settings.plugins:
            # There is nobody to say more than this one word on the command line, and it was said.
            settings = replace(settings, allow_anonymous=True)
        problems = closed_listeners(settings, Positions({(): Place("--listen")}))
        if problems:
            raise ConfigError(problems)
    problems = undurable_listeners(settings, loaded.positions, said_by="--durability")
    if problems:
        raise ConfigError(problems)
    return settings


@contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    """While it is entered the file has our process number; where it cannot be written, a warning is all."""
    if path is None:
        yield
        return
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        _logger.warning("Cannot write the process number to %s: %s", path, error.strerror or error)
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _flattened(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flattened(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _serve(broker: Broker, sources: tuple[Path, ...], arguments: argparse.Namespace) -> bool:
    """Run the broker until it has stopped; True unless it was cut short by a second signal."""
    stopped_gracefully = False
    manager = service_manager(os.environ, os.getpid())
    stopping = (signal.SIGTERM, signal.SIGINT)
    with (
        trio.open_signal_receiver(*stopping) as stops,
        trio.open_signal_receiver(*_RELOADING) as reloads,
        trio.open_signal_receiver(*_REOPENING) as reopenings,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, broker, stops, nursery.cancel_scope, manager)
            nursery.start_soon(_reload_on_signal, broker, reloads, arguments, manager)
            nursery.start_soon(_reopen_on_signal, reopenings)
            nursery.start_soon(manager.keep_alive)
            async with trio.open_nursery() as running:
                await running.start(broker.run)
                _announce(broker, sources)
                manager.ready(_status(broker))
            stopped_gracefully = True
            nursery.cancel_scope.cancel()
    _logger.info("Stopped" if stopped_gracefully else "Stopped at once; some clients may not have been told")
    return stopped_gracefully


async def _stop_on_signal(
    broker: Broker, signals: AsyncIterator[int], scope: trio.CancelScope, manager: ServiceManager
) -> None:
    """The first signal stops gracefully, the second at once."""
    stopping = False
    async for number in signals:
        if stopping:
            scope.cancel()
            return
        stopping = True
        manager.stopping()
        _logger.info("Stopping (%s); a second signal stops at once.", signal.Signals(number).name)
        broker.stop()


async def _reload_on_signal(
    broker: Broker, signals: AsyncIterator[int], arguments: argparse.Namespace, manager: ServiceManager
) -> None:
    """Each SIGHUP reads the configuration again."""
    async for _ in signals:
        reopen_log_files()
        manager.reloading()
        await reload(broker, arguments)
        manager.ready(_status(broker))


def _status(broker: Broker) -> str:
    """What ``systemctl status`` shows."""
    return f"Listening on {', '.join(broker.urls)}"


async def _reopen_on_signal(signals: AsyncIterator[int]) -> None:
    """Each SIGUSR1 opens the files of the log again."""
    async for _ in signals:
        reopen_log_files()
        _logger.info("The files of the log are open again.")


async def reload(broker: Broker, arguments: argparse.Namespace) -> None:
    """Read the configuration again and put it into effect, as a whole or not at all; the log says which, and why."""
    _logger.info("Reading the configuration again.")
    try:
        loaded = load(arguments.config, config_of_plugin=config_of_plugin, authenticates=authenticates)
        settings = with_store(_with_arguments(loaded, arguments))
        before = broker.settings.log
        changes = await broker.reload(settings)
    except ConfigError as error:
        for problem in (*error.warnings, *error.problems):
            _logger.error("%s: %s", problem.place, problem)
        _logger.error("Nothing has changed: %s in the configuration", counted(len(error.problems), "error"))
        return
    except (ListenError, PluginError, BridgeError) as error:
        _logger.error("Nothing has changed: %s", error)
        return
    except Exception:
        _logger.exception("The configuration is not, or not wholly, in effect, by an error of the broker's")
        return
    open_log(settings.log, before)
    for warning in loaded.warnings:
        _logger.warning("%s: %s", warning.place, warning)
    for change in changes:
        _logger.info("Changed: %s", change)
    _logger.info("The configuration is in effect%s", _how_far(changes))


def _how_far(changes: Sequence[Change]) -> str:
    """How far a new configuration is in effect."""
    if not changes:
        return "; no option has changed"
    waiting = sum(change.needs_restart for change in changes)
    if not waiting:
        return ""
    return f", but for {counted(waiting, 'change')} that {'needs' if waiting == 1 else 'need'} a restart"


def _announce(broker: Broker, sources: tuple[Path, ...]) -> None:
    """Say what a newcomer has to know: version, configuration, addresses, who gets in, where state is."""
    settings = broker.settings
    _logger.info("Noctule %s (process %d, %s)", __version__, os.getpid(), broker.carrier.value)
    if sources:
        more = f" and {counted(len(sources) - 1, 'file')} that it includes" if len(sources) > 1 else ""
        _logger.info("Configured by %s%s", sources[0].absolute(), more)
    else:
        _logger.info("No configuration file has been named (noctule run -c FILE)")
    anonymous = [broker.hooks.admit_anonymous(settings, listener) for listener in settings.listeners]
    for url, listener in broker.listening:
        is_open = broker.hooks.admit_anonymous(settings, listener)
        who = "open to anybody who can reach it (anonymous)" if is_open else "open to users that are known"
        _logger.info("Listening on %s, %s", url, who)
    for gateway in broker.gateways:
        _logger.info("Listening on %s, for devices", gateway.url)
    if broker.http_url is not None:
        _logger.info("Metrics, health and the state of the broker: %s", broker.http_url)
    elif broker.no_http_because:
        _logger.warning("There is no HTTP (metrics, health): %s", broker.no_http_because)
    if broker.is_durable:
        directory = store_directory(settings) or "the store of a plugin"
        _logger.info("State is kept in %s (durability %s)", directory, settings.durability.value)
    else:
        _logger.info("State is in memory: sessions and retained messages end with this process")
    gateways = tuple(ListenerSettings(gateway.address) for gateway in settings.mqtt_sn)
    if all(listener.is_local for listener in settings.listeners + gateways):
        _logger.info("Only this machine can connect. To let others in: noctule run --listen 0.0.0.0:1883")
    elif any(anonymous):
        _logger.warning("Other machines can connect, and there is no password: keep this to a network that you trust")
