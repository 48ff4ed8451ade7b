"""The command ``noctule``: finds the sub-command and runs it."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from noctule._version import __version__
from noctule.cli import bench, check, config, convert, passwd, ping, pub, rr, run, store, sub, top
from noctule.cli.standard_output import OutputError, checked_output

#: Read their own command lines, which are those of Mosquitto's tools.
_TOOLS: Final = {
    "pub": (pub.main, pub.SUMMARY),
    "sub": (sub.main, sub.SUMMARY),
    "rr": (rr.main, rr.SUMMARY),
    "ping": (ping.main, ping.SUMMARY),
    "top": (top.main, top.SUMMARY),
    "bench": (bench.main, bench.SUMMARY),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code comes back: 0 done, 1 failed, 2 wrong usage, others as a command says."""
    try:
        with checked_output():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return 130
    except OutputError as error:
        print(f"noctule: {error}", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="noctule", description="An MQTT broker, and the tools to talk to one.")
    parser.add_argument("--version", action="version", version=f"noctule {__version__}")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        dest="plugins_of",
        help="before the command: offer the commands of the plugins that this configuration names, too",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, passwd, check, config, convert, store):
        command.add_parser(subparsers)
    for name, (_, summary) in _TOOLS.items():
        subparsers.add_parser(name, add_help=False, help=summary)
    if words and words[0].startswith(("-c", "--config")):
        from noctule.cli.plugin_commands import add_plugin_commands

        refused = add_plugin_commands(subparsers, words)
        if refused is not None:
            return refused
    asked = _TOOLS.get(words[0]) if words else None
    if asked is not None:
        return asked[0](words[1:])
    parsed = parser.parse_args(words)
    code: int = parsed.run(parsed)
    return code
