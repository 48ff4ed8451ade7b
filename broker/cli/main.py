"""The command ``noctule``: finds the sub-command and runs it."""

import argparse
import sys
from collections.abc import Sequence

from noctule._version import __version__
from noctule.cli import check, config, convert, passwd, pub, run, store, sub


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code comes back: 0 done, 1 failed, 2 wrong usage, others as a command says."""
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
    for command in (run, pub, sub, passwd, check, config, convert, store):
        command.add_parser(subparsers)
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0].startswith(("-c", "--config")):
        from noctule.cli.plugin_commands import add_plugin_commands

        refused = add_plugin_commands(subparsers, given)
        if refused is not None:
            return refused
    parsed = parser.parse_args(given)
    try:
        code: int = parsed.run(parsed)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (``noctule sub ... | head``); there is nobody to tell.
        sys.stderr.close()
        return 1
    return code
