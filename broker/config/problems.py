"""What is wrong with a configuration, and where it was said."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Keys and indices that lead to a value: ``("listeners", 1, "port")``.
KeyPath = tuple[str | int, ...]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def key_text(path: KeyPath) -> str:
    """How a path is written for people: ``listeners[1].port``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part if _BARE_KEY.fullmatch(part) else '"' + part.replace('"', '\\"') + '"'
            text += f".{bare}" if text else bare
    return text


def printable(text: str) -> str:
    """The text with what no terminal should be sent escaped, on one line."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was said: a line of a file, a file as a whole (line 0), or an environment variable."""

    source: str
    line: int = 0

    #: What it is called there, where that is not its key: a directive of Mosquitto's.
    name: str | None = None

    #: What relative paths said there start from.
    folder: Path = field(default=Path(), compare=False)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or unsafe, or not as its author may think."""

    place: Place

    #: The key, or the directive, that it is about; empty: about the place as a whole.
    about: str

    text: str

    def __str__(self) -> str:
        return printable(f"{self.about}: {self.text}" if self.about else self.text)

    def line(self, severity: str) -> str:
        """The line for people and editors: place, severity, what it is about, what is wrong."""
        return f"{printable(str(self.place))}: {severity}: {self}"


class ConfigError(Exception):
    """A configuration that cannot be used; ``problems`` has everything that is wrong with it, in order of place."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(problem.line("error") for problem in self.problems))


class Positions:
    """Where each key of a document was said; a view of it from one table on with ``below``."""

    __slots__ = ("_places", "_prefix")

    def __init__(self, places: Mapping[KeyPath, Place], prefix: KeyPath = ()) -> None:
        self._places = places
        self._prefix = prefix

    def below(self, *path: str | int) -> "Positions":
        """The same document seen from that table."""
        return Positions(self._places, (*self._prefix, *path))

    def place(self, path: KeyPath = ()) -> Place:
        """Where the key was said; for one that was not, where the nearest table around it was."""
        whole = (*self._prefix, *path)
        for length in range(len(whole), -1, -1):
            place = self._places.get(whole[:length])
            if place is not None:
                return place
        return Place("the configuration")

    def find(self, path: KeyPath) -> Place | None:
        """Where exactly that key was said; None where it was not."""
        return self._places.get((*self._prefix, *path))

    def key(self, path: KeyPath = ()) -> str:
        """The whole key, from the top of the document, for people."""
        return key_text((*self._prefix, *path))

    def problem(self, path: KeyPath, text: str) -> Problem:
        """That this is wrong with the value of this key, called by what it is called where it was said."""
        place = self.place(path)
        return Problem(place, place.name or self.key(path), text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean "..."?`` with the nearest known word; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
