"""The commands and options of ``noctule`` as plain data, taken from what reads the command line.

Shell completion and the manual page are made from this, so they say what the parsers say.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class ValueKind(Enum):
    """What a value is, as far as a shell can help with it."""

    #: Anything.
    TEXT = "text"

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class CommandOption:
    """An option of one command."""

    #: As it is written, dashes included.
    names: tuple[str, ...]
    summary: str

    #: How the value that follows is called; empty: none follows.
    value: str = ""
    kind: ValueKind = ValueKind.TEXT

    #: The only values there are; empty: others too.
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command, with the commands below it."""

    name: str
    summary: str

    #: More words about it, for the manual.
    description: str = ""
    options: tuple[CommandOption, ...] = ()

    #: What stands without dashes.
    arguments: tuple[CommandOption, ...] = ()
    commands: tuple["Command", ...] = ()

    def walk(self, above: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], "Command"]]:
        """This command and all below it, each with the words that lead to it."""
        path = (*above, self.name)
        yield path, self
        for command in self.commands:
            yield from command.walk(path)


class TableOption(Protocol):
    """An option of a tool that reads its command line without argparse."""

    @property
    def names(self) -> tuple[str, ...]:
        """As it is written, dashes included."""

    @property
    def summary(self) -> str:
        """What it is for."""

    @property
    def values(self) -> tuple[str, ...]:
        """How what follows is called."""


def command_of_options(
    name: str, summary: str, options: Iterable[TableOption], arguments: tuple[CommandOption, ...] = ()
) -> Command:
    """A command whose options are in a table."""
    found = []
    for option in options:
        value = " ".join(option.values).upper()
        found.append(CommandOption(option.names, option.summary, value, _kind_of(value)))
    # What every table answers to.
    found.append(CommandOption(("--help",), "show the options and exit"))
    found.append(CommandOption(("--version",), "show the version and exit"))
    return Command(name, summary, options=tuple(found), arguments=arguments)


def command_of_parser(
    parser: argparse.ArgumentParser, name: str, summary: str, known: Mapping[str, Command] | None = None
) -> Command:
    """The command that an argparse parser reads, with what is below it; ``known`` has those below it that read their
    own words."""
    options: list[CommandOption] = []
    arguments: list[CommandOption] = []
    commands: list[Command] = []
    # argparse has no public way to look into a parser; these two names have not changed since Python 2.7.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands += [
                (known or {}).get(word) or command_of_parser(below, word, summaries.get(word, ""))
                for word, below in action.choices.items()
            ]
        elif action.help is not argparse.SUPPRESS:
            (options if action.option_strings else arguments).append(_option_of(action))
        elif not action.option_strings and "FILE" in (parser.usage or ""):
            # It reads its words itself, and the usage alone says what they are.
            arguments.append(CommandOption((), "the file", "FILE", ValueKind.FILE))
    return Command(name, summary, parser.description or "", tuple(options), tuple(arguments), tuple(commands))


def _option_of(action: argparse.Action) -> CommandOption:
    choices = tuple(str(choice) for choice in action.choices) if action.choices is not None else ()
    value = ""
    if action.nargs != 0:
        value = "|".join(choices) if choices else str(action.metavar or action.dest).upper()
    # Help may say %(default)s and %%.
    summary = (action.help or "") % {"default": action.default, "prog": "noctule"}
    return CommandOption(tuple(action.option_strings), summary, value, _kind_of(value), choices)


def _kind_of(value: str) -> ValueKind:
    """By what the value is called: the parsers themselves do not say."""
    if value in ("FILE", "PATH"):
        return ValueKind.FILE
    return ValueKind.DIRECTORY if value in ("DIRECTORY", "FOLDER") else ValueKind.TEXT
