"""Runs a client's command: help, version, the packets that ``-d`` prints; every trouble is a line and an exit code."""

import logging
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import trio
from noctule._version import __version__
from noctule.cli.connection_options import ConnectionOptions, read_command_line
from noctule.cli.option_reading import HelpAskedError, OptionTable, VersionAskedError
from noctule.cli.outcome import EXIT_DONE, EXIT_FAILED, UsageError, tell
from noctule.client import ClientError, RefusedError
from noctule.protocol import describe

OptionsT = TypeVar("OptionsT", bound=ConnectionOptions)


def run_tool(
    words: Sequence[str],
    options: OptionsT,
    table: OptionTable[OptionsT],
    usage: str,
    command: Callable[[OptionsT], Awaitable[int]],
) -> int:
    """Read the command line into ``options`` and run the command in trio; its exit code."""
    name = f"noctule {options.tool}"
    try:
        read_command_line(table, words, options)
    except HelpAskedError:
        print(f"usage: {name} {usage}\n")
        for line in table.help_lines():
            print(line)
        print(f"The options are those of mosquitto_{options.tool}: docs/command-line.md.")
        return EXIT_DONE
    except VersionAskedError:
        print(f"{name} version {__version__}")
        return EXIT_DONE
    except UsageError as error:
        tell(f"Error: {error}")
        return EXIT_FAILED
    return run_command(command, options)


def run_command(command: Callable[[OptionsT], Awaitable[int]], options: OptionsT) -> int:
    """Run a command in trio; its exit code, and whatever goes wrong as one line on standard error."""
    complain = (lambda _line: None) if options.is_quiet else tell
    try:
        with packets_printed() if options.is_debug else nullcontext():
            return _run_in_trio(command, options)
    except RefusedError as error:
        why = "" if error.reason_string is None else f" ({error.reason_string})"
        complain(f"Connection error: {describe(error.reason_code)}{why}")
        return error.code
    except UsageError as error:
        tell(f"Error: {error}")
    except ClientError as error:
        complain(f"Error: {error}")
    except ValueError as error:  # a packet that cannot be: an identifier with a control character, say
        tell(f"Error: Invalid input: {error}")
    except ssl.SSLError as error:
        complain(f"Error: {error.reason or error}")
    return EXIT_FAILED


def _run_in_trio(command: Callable[[OptionsT], Awaitable[int]], options: OptionsT) -> int:
    """Run it; of several tasks' troubles the first comes out, by itself and not in a group."""
    try:
        return trio.run(command, options)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that counts: Ctrl-C where it is one of them, else the first."""
    interrupts = group.subgroup(KeyboardInterrupt)
    error: BaseException = group if interrupts is None else interrupts
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def packets_printed() -> Iterator[None]:
    """Print what the client logs of its packets on standard output, as Mosquitto's clients do."""
    logger = logging.getLogger("noctule.client")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
