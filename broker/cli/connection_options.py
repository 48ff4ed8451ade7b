"""What ``noctule pub`` and ``noctule sub`` have in common: the options for the connection, and how trouble is told."""

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import trio
from noctule.client import Client, ClientError, RefusedError, connect
from noctule.protocol import CAPABILITIES, SESSION_NEVER_EXPIRES, ProtocolVersion, describe

#: Exit codes, as Mosquitto's clients have them; a refused connection exits with the code of CONNACK.
EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_TIMED_OUT: Final = 27

_VERSIONS: Final = {
    "31": ProtocolVersion.V3_1,
    "mqttv31": ProtocolVersion.V3_1,
    "311": ProtocolVersion.V3_1_1,
    "mqttv311": ProtocolVersion.V3_1_1,
    "5": ProtocolVersion.V5,
    "mqttv5": ProtocolVersion.V5,
}

# Below 5 seconds a keep alive ends sound connections over slow networks; Mosquitto's clients refuse it as well.
_KEEP_ALIVE_MINIMUM_S: Final = 5
_KEEP_ALIVE_MAXIMUM_S: Final = 65_535
_PORT_MAXIMUM: Final = 65_535


class UsageError(Exception):
    """An option has a value that cannot be; the user's fault, told in one line."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The options of a connection, read and checked."""

    host: str
    port: int
    client_id: str
    version: ProtocolVersion
    clean_start: bool
    keep_alive_s: int
    user_name: str | None
    password: bytes | None
    qos: int

    def connect(self) -> AbstractAsyncContextManager[Client]:
        """The connection that the options ask for, not yet made."""
        return connect(
            self.host,
            self.port,
            client_id=self.client_id,
            version=self.version,
            clean_start=self.clean_start,
            keep_alive_s=self.keep_alive_s,
            user_name=self.user_name,
            password=self.password,
            session_expiry_interval_s=0 if self.clean_start else SESSION_NEVER_EXPIRES,
        )


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options; ``-h`` is the host, as in Mosquitto's clients, and so help is ``--help`` alone."""
    group = parser.add_argument_group("connection")
    group.add_argument("-h", "--host", default="localhost", help="host to connect to (default: localhost)")
    group.add_argument("-p", "--port", default="1883", help="port to connect to (default: 1883)")
    group.add_argument("-i", "--id", metavar="ID", help="client identifier (default: the server chooses)")
    group.add_argument("-u", "--username", metavar="NAME", help="user name")
    group.add_argument("-P", "--pw", metavar="PASSWORD", help="password")
    group.add_argument(
        "-V",
        "--protocol-version",
        metavar="VERSION",
        default="311",
        help="version of MQTT: 31, 311 or 5, also with mqttv in front (default: 311)",
    )
    group.add_argument("-k", "--keepalive", metavar="SECONDS", default="60", help="keep alive (default: 60)")
    group.add_argument(
        "-c",
        "--disable-clean-session",
        action="store_true",
        help="resume the session and keep it afterwards; needs -i",
    )
    group.add_argument("-d", "--debug", action="store_true", help="print every packet that is sent and received")
    group.add_argument("--help", action="help", help="show this message and exit")


def read_connection_options(arguments: argparse.Namespace) -> ConnectionOptions:
    """The options, checked. UsageError for a value that cannot be."""
    version = _VERSIONS.get(arguments.protocol_version)
    if version is None:
        raise UsageError("Invalid protocol version argument given.")
    keep_alive_s = whole_number(arguments.keepalive)
    if keep_alive_s is None or not _KEEP_ALIVE_MINIMUM_S <= keep_alive_s <= _KEEP_ALIVE_MAXIMUM_S:
        raise UsageError(
            "Invalid keepalive given, it must be between "
            f"{_KEEP_ALIVE_MINIMUM_S} and {_KEEP_ALIVE_MAXIMUM_S} inclusive."
        )
    port = whole_number(arguments.port)
    if port is None or not 1 <= port <= _PORT_MAXIMUM:
        raise UsageError(f"Invalid port given: {arguments.port}")
    qos = whole_number(arguments.qos)
    if qos is None or qos > 2:
        raise UsageError(f"Invalid QoS given: {arguments.qos}")
    if arguments.disable_clean_session and not arguments.id:
        raise UsageError("You must provide a client id if you are using the -c option.")
    password = None if arguments.pw is None else os.fsencode(arguments.pw)
    if password is not None and arguments.username is None:
        tell("Warning: Not using password since username not set.")
        password = None
    client_id = arguments.id or ""
    if not client_id and not CAPABILITIES[version].empty_client_id_allowed:
        client_id = f"noctule-{secrets.token_hex(6)}"
    return ConnectionOptions(
        host=arguments.host,
        port=port,
        client_id=client_id,
        version=version,
        clean_start=not arguments.disable_clean_session,
        keep_alive_s=keep_alive_s,
        user_name=arguments.username,
        password=password,
        qos=qos,
    )


def whole_number(text: str) -> int | None:
    """The number that ``text`` is, in ASCII digits alone; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() else None


def tell(line: str) -> None:
    """Say something to the user, beside the output."""
    print(line, file=sys.stderr, flush=True)


def run_command(command: Callable[[argparse.Namespace], Awaitable[int]], arguments: argparse.Namespace) -> int:
    """Run a command in trio; its exit code, and whatever goes wrong as one line on standard error."""
    try:
        with _packets_printed() if arguments.debug else nullcontext():
            return trio.run(command, arguments)
    except RefusedError as error:
        why = "" if error.reason_string is None else f" ({error.reason_string})"
        tell(f"Connection error: {describe(error.reason_code)}{why}")
        return error.code
    except UsageError as error:
        tell(f"Error: {error}")
    except ClientError as error:
        tell(f"Error: {error}")
    except ValueError as error:  # a packet that cannot be: an identifier with a control character, say
        tell(f"Error: Invalid input: {error}")
    return EXIT_FAILED


@contextmanager
def _packets_printed() -> Iterator[None]:
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
