"""The line of every key and array item of a TOML document, which tomli does not tell.

The text must have been read by tomli before: what is scanned here is known to be valid.
"""

import re
from pathlib import Path
from typing import Final

import tomli
from noctule.config.problems import KeyPath, Place

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_BASIC: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL: Final = re.compile(r"'[^']*'")
_LONG_BASIC: Final = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2}(?!"))', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''.*?'''(?:'{0,2}(?!'))", re.DOTALL)
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]+")


def places_of(text: str, source: str, folder: Path) -> dict[KeyPath, Place]:
    """Where each key of a valid TOML text is said: the line of the value's key, or of the item."""
    return _Scanner(text.replace("\r\n", "\n"), source, folder).scan()


class _Scanner:
    """Walks the text once, key by key."""

    def __init__(self, text: str, source: str, folder: Path) -> None:
        self._text = text
        self._source = source
        self._folder = folder
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._places: dict[KeyPath, Place] = {}
        #: How many items each array of tables has so far.
        self._tables: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, Place]:
        self._note(())
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return self._places
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> KeyPath:
        """A table's header; its path, with the number of each array item on the way, comes back."""
        self._at += brackets
        keys = self._key()
        path = self._resolve(keys[:-1])
        if brackets == 2:
            path = (*path, keys[-1])
            self._note(path, keep=True)
            index = self._tables.get(path, -1) + 1
            self._tables[path] = index
            path = (*path, index)
        else:
            path = self._resolve(keys)
        self._note(path)
        self._skip(_SPACE)
        self._at += brackets
        return path

    def _resolve(self, keys: list[str]) -> KeyPath:
        """The path below the last item of every array of tables that it goes through."""
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            self._note(path, keep=True)
            if path in self._tables:
                path = (*path, self._tables[path])
        return path

    def _pair(self, table: KeyPath) -> None:
        """``key = value``."""
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path, keep=True)
        self._at += 1  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, up to the first character that is not part of it."""
        keys = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at] in "\"'":
                quoted = self._take(_BASIC if self._text[self._at] == '"' else _LITERAL)
                keys.append(str(tomli.loads(f"v = {quoted}")["v"]))
            else:
                keys.append(self._take(_BARE))
            self._skip(_SPACE)
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip(_SPACE)
        text = self._text
        first = text[self._at]
        if text.startswith('"""', self._at):
            self._skip(_LONG_BASIC)
        elif text.startswith("'''", self._at):
            self._skip(_LONG_LITERAL)
        elif first == '"':
            self._skip(_BASIC)
        elif first == "'":
            self._skip(_LITERAL)
        elif first == "[":
            self._items(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_PLAIN)

    def _items(self, path: KeyPath) -> None:
        """``[value, value]``, over as many lines as it takes."""
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        """``{key = value, key = value}``."""
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "tomli has read it"  # noqa: S101
        self._at = match.end()
        return match[0]

    def _note(self, path: KeyPath, *, keep: bool = False) -> None:
        """The path is said here; with ``keep``, unless it was before."""
        if keep and path in self._places:
            return
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        self._places[path] = Place(self._source, self._line, folder=self._folder)
