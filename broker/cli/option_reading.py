"""Reads a command line as Mosquitto's tools do: every option a word of its own, its value the next word, the last wins.

Not with argparse, which would take ``-t -q`` for two options, ``-1`` for an option and ``--retain`` for one of three.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from noctule.cli.outcome import UsageError

T = TypeVar("T", contravariant=True)


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One option."""

    #: As it is written, the short name first.
    names: tuple[str, ...]

    #: What it is for, for ``--help``.
    summary: str

    #: Writes what was given into the options; the values are as many as ``values`` names.
    apply: Callable[[T, Sequence[str]], None]

    #: What follows it, for ``--help``; one word for each value.
    values: tuple[str, ...] = ()

    #: What is missing when the command line ends here, as Mosquitto's tools say it.
    missing: str = "value"

    #: How many values there are, where that depends on the first of them.
    count: Callable[[Sequence[str]], int] | None = None


def flag(names: str, summary: str, apply: Callable[[T], None]) -> Option[T]:
    """An option without value; ``names`` with blanks between them."""
    return Option(tuple(names.split()), summary, lambda target, _values: apply(target))


def valued(names: str, value: str, summary: str, apply: Callable[[T, str], None], missing: str = "") -> Option[T]:
    """An option with one value."""
    return Option(
        tuple(names.split()), summary, lambda target, values: apply(target, values[0]), (value,), missing or value
    )


class HelpAskedError(Exception):
    """``--help`` was given."""


class VersionAskedError(Exception):
    """``--version`` was given."""


class OptionTable(Generic[T]):
    """The options of one tool, by sections."""

    def __init__(self, sections: Sequence[tuple[str, Sequence[Option[T]]]]) -> None:
        self._sections = sections
        self._by_name = {name: option for _, options in sections for option in options for name in option.names}

    @property
    def names(self) -> frozenset[str]:
        """Every name of every option."""
        return frozenset(self._by_name)

    @property
    def options(self) -> tuple[Option[T], ...]:
        """Every option, in the order of ``--help``."""
        return tuple(option for _, options in self._sections for option in options)

    def read(self, words: Sequence[str], target: T) -> None:
        """Apply the options in their order. UsageError for what is none or lacks its value."""
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--help":
                raise HelpAskedError
            if word == "--version":
                raise VersionAskedError
            option = self._by_name.get(word)
            if option is None:
                raise UsageError(f"Unknown option '{word}'.")
            count = len(option.values) if option.count is None else option.count(words[position:])
            if position + count > len(words):
                raise UsageError(f"{word} argument given but no {option.missing} specified.")
            option.apply(target, words[position : position + count])
            position += count

    def read_file(self, path: Path, target: T, required: bool = False) -> None:
        """Apply the options of a defaults file: one a line, its value the rest of the line, ``#`` begins a comment.

        UsageError with file and line for what is wrong in it; without ``required`` a file that is not there, or in a
        folder that we may not enter (HOME is another user's, after ``su`` or ``sudo``), is none.
        """
        try:
            lines = path.read_bytes().decode(errors="surrogateescape").splitlines()
        except FileNotFoundError:
            if required:
                raise UsageError(f'Unable to open file "{path}": No such file or directory') from None
            return
        except OSError as error:
            if isinstance(error, PermissionError) and not required and not os.access(path.parent, os.X_OK):
                return
            raise UsageError(f'Unable to open file "{path}": {error.strerror}') from None
        for number, line in enumerate(lines, 1):
            if line.startswith("#") or not line.strip():
                continue
            name, _, value = line.strip().partition(" ")
            option = self._by_name.get(name)
            several = option is not None and len(option.values) > 1
            words = [name, *value.split()] if several else [name, *([value] if value else [])]
            try:
                self.read(words, target)
            except UsageError as error:
                raise UsageError(f"{path}:{number}: {error}") from None

    def help_lines(self) -> Iterator[str]:
        """The options with what they are for."""
        for title, options in self._sections:
            yield f"{title}:"
            for option in options:
                head = "  " + " ".join((", ".join(option.names), *(value.upper() for value in option.values)))
                if len(head) < 32:
                    yield f"{head:<32}{option.summary}"
                else:
                    yield head
                    yield " " * 32 + option.summary
            yield ""


def defaults_files(tool: str) -> Iterable[Path]:
    """Where the defaults of a tool are looked for: Mosquitto's file, then ours, which so has the last word."""
    base = os.environ.get("XDG_CONFIG_HOME")
    if base:
        folder = Path(base)
    elif home := os.environ.get("HOME"):
        folder = Path(home) / ".config"
    else:
        return ()
    return folder / f"mosquitto_{tool}", folder / f"noctule_{tool}"


def c_integer(text: str) -> int:
    """The number that a text begins with, as C's atoi has it: 0 where it begins with none."""
    stripped = text.strip()
    sign = -1 if stripped.startswith("-") else 1
    digits = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    count = 0
    while count < len(digits) and digits[count] in "0123456789":
        count += 1
    return sign * int(digits[:count]) if count else 0


def strict_integer(text: str) -> int | None:
    """The number that the whole text is: decimal, ``0x`` or with a leading 0 octal, as C's strtol; None for others."""
    stripped = text.strip()
    sign = -1 if stripped.startswith("-") else 1
    digits = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    if not digits.isascii() or "_" in digits:
        return None
    try:
        if digits[:1] == "0" and digits[1:2] not in ("", "x", "X"):
            return sign * int(digits, 8)
        return sign * int(digits, 16 if digits[:2].lower() == "0x" else 10)
    except ValueError:
        return None
