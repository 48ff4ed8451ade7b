"""Messages that docs/troubleshooting.md quotes are in the source, word for word but for what is filled in.

The source's strings are taken from its syntax: f-strings, ``%s`` and ``%d`` become patterns. What is filled in is a
name or a number; one of several words, as a reason behind ``noctule: not started: ``, has to be in the source itself.
"""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from docs.pages import ROOT, blocks_of, text_of

PAGE = "docs/troubleshooting.md"
FOLDERS = ("broker", "plugins")

#: What is put in front of a message, or behind it, with next to no words of its own.
PREFIXES = (r"plugin \w+: ", r"[\w.]+\.toml:\d+: error: ", r"listeners\[0\](?:\.\w+)?: ", r"\w+_file \S+: ")
SUFFIXES = (r" \[MQTT-[\d.-]+\]", r" \((?:no user name|user \w+)\)")

#: So much of a message has to be the string's own: `%s` alone would be like everything.
OWN_MINIMUM = 8

#: What stands for something filled in, and what that may be if it is nowhere in the source: a name, two words.
GAP = "(?#filled in)"
SHORT = r"(\S+ \S+|\S*)"

#: The system's own words.
OF_THE_SYSTEM = {os.strerror(number) for number in range(1, 134)}


def pattern_of_text(text: str) -> str:
    """A string as a pattern: what % fills in may be anything."""
    return "".join(
        GAP if re.fullmatch(r"%[\d.]*[sdgrf]", part) else re.escape(part.replace("%%", "%"))
        for part in re.split(r"(%[\d.]*[sdgrf])", text)
    )


def strings_of(path: Path) -> Iterator[tuple[str, int]]:
    """Each string of a module as a pattern, and how many characters of it are its own."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".pyx":
        for found in re.findall(r'b?"((?:[^"\\\n]|\\.)*)"', text):
            yield pattern_of_text(found), len(found)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value if isinstance(node.value, str) else node.value.decode("utf-8", "replace")
            yield pattern_of_text(value), len(re.sub(r"%[\d.]*[sdgrf]", "", value))
        elif isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
            yield (
                "".join(GAP if part is None else re.escape(part) for part in parts),
                sum(len(part) for part in parts if part is not None),
            )


@cache
def patterns() -> tuple[re.Pattern[str], ...]:
    """Every string of the source that has something of its own to say."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    files += sorted((ROOT / "_speedups").glob("*.pyx"))
    found = {pattern for path in files for pattern, own in strings_of(path) if own >= OWN_MINIMUM}
    return tuple(re.compile(variant, re.DOTALL) for pattern in found for variant in variants_of(pattern))


def variants_of(pattern: str) -> Iterator[str]:
    """The pattern with at most one gap that is longer than two words: each of them in turn."""
    parts = re.split(rf"(?:{re.escape(GAP)})+", pattern)
    for free in range(max(1, len(parts) - 1)):
        gaps = ["(.*)" if index == free else SHORT for index in range(len(parts) - 1)]
        yield "".join(part + gap for part, gap in zip(parts, [*gaps, ""], strict=True))


@cache
def is_in_the_source(message: str) -> bool:
    """Whether the source has this message, with nothing filled in that would have to be in the source itself."""
    for pattern in patterns():
        found = pattern.fullmatch(message)
        if found is not None and all(may_be_filled_in(part) for part in found.groups()):
            return True
    shorter = [re.sub(rf"\A{prefix}", "", message) for prefix in PREFIXES]
    shorter += [re.sub(rf"{suffix}(\.?)\Z", r"\1", message) for suffix in SUFFIXES]
    return any(one != message and is_in_the_source(one) for one in shorter)


def may_be_filled_in(part: str) -> bool:
    words = part.strip(" ()")
    if re.fullmatch(SHORT, words) or words in OF_THE_SYSTEM:
        return True
    if is_in_the_source(part) or is_in_the_source(words):
        return True
    with_reason = re.fullmatch(r"(\S.*) \(([^()]*)\)", part)
    return with_reason is not None and all(map(may_be_filled_in, with_reason.groups()))


def quoted() -> list[str]:
    """The lines of the blocks of text, and the first cells of the tables of what the broker says."""
    lines = [line for block in blocks_of(PAGE) if block.language == "text" for line in block.text.splitlines()]
    tables = re.findall(r"^\| the (?:log|broker) says \|.*\n\|---.*\n((?:\|.*\n)+)", text_of(PAGE), re.MULTILINE)
    cells = [cell for table in tables for cell in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)]
    return [*lines, *cells]


def test_there_are_messages_of_all_kinds() -> None:
    assert len(quoted()) >= 35


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_of_the_brokers(message: str) -> None:
    assert is_in_the_source(message)


@pytest.mark.parametrize(
    "message",
    [
        "Closed the connection of 192.0.2.7:41850: a wrong pasword (user ann).",
        "noctule: not started: cannot listen on 127.0.0.1:1883: somebody else is there",
        "Something that the broker does not say.",
        "Turned away 192.0.2.7:51234 at *:1883: there are too many of them.",
    ],
)
def test_what_the_broker_does_not_say_is_noticed(message: str) -> None:
    assert not is_in_the_source(message)
