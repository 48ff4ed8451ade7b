"""Reads the YAML of the pages: tables, lists and scalars in block style, which is all that settings of programs need.

Anything else is an error, so a page cannot show what this does not understand.
"""

import re
from typing import Any

_ENTRY = re.compile(r"([A-Za-z_][\w.-]*):(?: +(.*))?")


class YamlError(Exception):
    """A line that is none of what is read here."""


def read_yaml(text: str) -> Any:
    """The value of a document."""
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(?:^|\s)#(?=\s|$).*", "", raw).rstrip()
        if "\t" in line:
            raise YamlError(f"line {number}: a tab")
        if line:
            lines.append((number, len(line) - len(line.lstrip()), line.strip()))
    value, rest = _value(lines, 0)
    if rest != len(lines):
        raise YamlError(f"line {lines[rest][0]}: wrong indentation")
    return value


_Lines = list[tuple[int, int, str]]


def _value(lines: _Lines, at: int) -> tuple[Any, int]:
    return _list(lines, at) if lines[at][2].startswith("- ") else _table(lines, at)


def _table(lines: _Lines, at: int) -> tuple[dict[str, Any], int]:
    indent = lines[at][1]
    table: dict[str, Any] = {}
    while at < len(lines) and lines[at][1] == indent and not lines[at][2].startswith("- "):
        number, _, line = lines[at]
        entry = _ENTRY.fullmatch(line)
        if entry is None or entry[1] in table:
            raise YamlError(f"line {number}: {line}")
        at += 1
        if entry[2]:
            table[entry[1]] = _scalar(entry[2], number)
        elif at < len(lines) and (lines[at][1] > indent or (lines[at][1] == indent and lines[at][2].startswith("- "))):
            table[entry[1]], at = _value(lines, at)
        else:
            table[entry[1]] = None
    return table, at


def _list(lines: _Lines, at: int) -> tuple[list[Any], int]:
    indent = lines[at][1]
    found: list[Any] = []
    while at < len(lines) and lines[at][1] == indent and lines[at][2].startswith("- "):
        number, _, line = lines[at]
        inner = line[2:]
        if _ENTRY.fullmatch(inner):
            lines[at] = (number, indent + 2, inner)
            item, at = _table(lines, at)
            found.append(item)
        else:
            found.append(_scalar(inner, number))
            at += 1
    return found, at


def _scalar(text: str, number: int) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if text[0] in "\"'":
        if len(text) < 2 or text[-1] != text[0]:
            raise YamlError(f"line {number}: {text}")
        return text[1:-1]
    if text[0] == "[" and text[-1] == "]":
        return [_scalar(part.strip(), number) for part in text[1:-1].split(",") if part.strip()]
    if text[0] in "{[&*!|>%@`" or ": " in text:
        raise YamlError(f"line {number}: {text}")
    return text
