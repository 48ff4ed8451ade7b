"""The line of every key: by a document with everything in it, and by random ones."""

from pathlib import Path
from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st
from noctule.config.problems import KeyPath, key_text
from noctule.config.toml_places import places_of
from noctule.config.toml_text import toml_value

EVERYTHING = r'''# line 1
plain = 1
dotted.key = "a # b" # comment
"quoted \" key" = 'C:\new'
spaced . "out" = true

long = """
[not.a.table]
key = 1 \" """"
literal = """x"""
raw = \'\'\'
"[x]" # = \'\'\'
array = [
    1, # one
    [2, 3],
    { inline = "}", deep.er = [4] },
]
inline = { a = 1, b = { c = "," } }
[table]
key = 1979-05-27T07:32:00Z
[table.sub]
key = -1.5e3
[[list]]
key = 1
[[list.inner]]
key = 2
[[list.inner]]
key = 3
[list.table]
key = 4
[[list]]
key = 5
[[list.inner]]
key = 6
[ table . "other one" ]
'''.replace("\\'", "'")


def lines_of(text: str) -> dict[str, int]:
    return {key_text(path): place.line for path, place in places_of(text, "x.toml", Path()).items() if path}


def test_everything() -> None:
    tomli.loads(EVERYTHING)
    lines = lines_of(EVERYTHING)
    expected = {
        "plain": 2,
        "dotted": 3,
        "dotted.key": 3,
        '"quoted \\" key"': 4,
        "spaced": 5,
        "spaced.out": 5,
        "long": 7,
        "literal": 10,
        "raw": 11,
        "array": 13,
        "array[0]": 14,
        "array[1]": 15,
        "array[1][0]": 15,
        "array[1][1]": 15,
        "array[2]": 16,
        "array[2].inline": 16,
        "array[2].deep": 16,
        "array[2].deep.er": 16,
        "array[2].deep.er[0]": 16,
        "inline": 18,
        "inline.a": 18,
        "inline.b": 18,
        "inline.b.c": 18,
        "table": 19,
        "table.key": 20,
        "table.sub": 21,
        "table.sub.key": 22,
        "list": 23,
        "list[0]": 23,
        "list[0].key": 24,
        "list[0].inner": 25,
        "list[0].inner[0]": 25,
        "list[0].inner[0].key": 26,
        "list[0].inner[1]": 27,
        "list[0].inner[1].key": 28,
        "list[0].table": 29,
        "list[0].table.key": 30,
        "list[1]": 31,
        "list[1].key": 32,
        "list[1].inner": 33,
        "list[1].inner[0]": 33,
        "list[1].inner[0].key": 34,
        'table."other one"': 35,
    }
    assert lines == expected


def test_line_ends_of_windows() -> None:
    assert lines_of("a = 1\r\n\r\nb = '''\r\n'''\r\nc = [\r\n1]\r\n") == {"a": 1, "b": 3, "c": 5, "c[0]": 6}


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    found = {path}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= paths_of(item, (*path, key))
    return found


VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-(10**9), 10**9), st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('ab.# "=', min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc_-.", min_size=1, max_size=4), VALUES, max_size=5))
def test_every_key_of_a_random_document_has_its_line(document: dict[str, Any]) -> None:
    """One pair a line, so that the line of everything is known; the same document through [tables]."""
    text = "\n".join(f"{key_text((key,))} = {toml_value(value)}" for key, value in document.items())
    assert tomli.loads(text) == document
    places = places_of(text, "x.toml", Path())
    assert set(places) == paths_of(document)
    for number, key in enumerate(document, 1):
        assert {place.line for path, place in places.items() if path[:1] == (key,)} == {number}


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), min_size=1, max_size=4))
def test_every_key_of_random_tables_has_its_place(tables: list[dict[str, Any]]) -> None:
    text = ""
    for table in tables:
        text += "[[list]]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())
        text += "[[list.inner]]\nx = 1\n"
    read = tomli.loads(text)
    assert set(places_of(text, "x.toml", Path())) == paths_of(read)
