"""The command ``noctule``: finds the sub-command and runs it."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from noctule._version import __version__
from noctule.cli import bench, check, completion, config, convert, passwd, ping, pub, rr, run, store, sub, top
from noctule.cli.command_tree import Command, CommandOption, TableOption, command_of_options, command_of_parser
from noctule.cli.standard_output import OutputError, checked_output


@dataclass(frozen=True, slots=True)
class _Tool:
    """A command that reads its own command line, which is that of one of Mosquitto's tools or like it."""

    main: Callable[[Sequence[str]], int]
    summary: str
    options: Iterable[TableOption]

    #: What stands without dashes, for completion.
    arguments: tuple[CommandOption, ...] = ()


_TOOLS: Final = {
    "pub": _Tool(pub.main, pub.SUMMARY, pub.OPTIONS.options),
    "sub": _Tool(sub.main, sub.SUMMARY, sub.OPTIONS.options),
    "rr": _Tool(rr.main, rr.SUMMARY, rr.OPTIONS.options),
    "ping": _Tool(ping.main, ping.SUMMARY, ping.OPTIONS.options),
    "top": _Tool(top.main, top.SUMMARY, top.OPTIONS.options),
    "bench": _Tool(bench.main, bench.SUMMARY, bench.OPTIONS.options, (bench.SCENARIO,)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit code comes back: 0 done, 1 failed, 2 wrong usage, others as a command says."""
    try:
        with checked_output():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return 130
    except OutputError as error:
        if not error.is_reader_gone:
            print(f"noctule: {error}", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    parser, subparsers = _parser()
    before = 0
    if words and words[0].startswith(("-c", "--config")):
        from noctule.cli.plugin_commands import add_plugin_commands

        refused = add_plugin_commands(subparsers, words)
        if refused is not None:
            return refused
        before = 2 if words[0] in ("-c", "--config") else 1
    asked = _TOOLS.get(words[before]) if len(words) > before else None
    if asked is not None:
        return asked.main(words[before + 1 :])
    parsed = parser.parse_args(words)
    code: int = parsed.run(parsed)
    return code


def whole_command() -> Command:
    """All that the command line can say without a plugin, for completion and the manual."""
    parser, _ = _parser()
    return _command_of(parser)


def _command_of(parser: argparse.ArgumentParser) -> Command:
    tools = {
        name: command_of_options(name, tool.summary, tool.options, tool.arguments) for name, tool in _TOOLS.items()
    }
    return command_of_parser(parser, parser.prog, "", tools)


def _parser() -> tuple[argparse.ArgumentParser, "argparse._SubParsersAction[argparse.ArgumentParser]"]:
    """What reads the command line, and what plugins add their commands to."""
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
    for name, tool in _TOOLS.items():
        subparsers.add_parser(name, add_help=False, help=tool.summary)
    # With the commands of plugins, where a configuration was named before it.
    completion.add_parser(subparsers, lambda: _command_of(parser))
    return parser, subparsers
