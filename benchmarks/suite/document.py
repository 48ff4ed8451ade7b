"""Puts figures into docs/performance.md, between markers, so that no figure there is written by hand.

A place for a table looks like this, and what stands between the two lines is replaced:

    <!-- results: targets -->
    <!-- end -->
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from suite.places import BenchmarkError
from suite.report import cost_table, detail_table, facts_lines, growth_table, make_charts, targets_table
from suite.results import Results

_PLACE: Final = re.compile(r"(<!-- results: ([a-z0-9., -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _table(results: Results, name: str) -> list[str]:
    single: dict[str, Callable[[Results], list[str]]] = {
        "facts": facts_lines,
        "targets": targets_table,
        "growth": growth_table,
    }
    if name in single:
        return single[name](results)
    kind, _, group = name.partition(" ")
    tables = {"costs": cost_table, "details": detail_table}
    if kind not in tables or not group:
        raise BenchmarkError(f"there is no table '{name}'; there are {', '.join(single)}, costs GROUP, details GROUP")
    return tables[kind](results, [row for one in group.split(",") for row in results.rows_of(one.strip())])


def put(text: str, name: str, lines: Sequence[str]) -> str:
    """The text with these lines at the place ``<!-- name -->``. BenchmarkError if it has no such place."""
    place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    filled, count = place.subn(lambda found: found[1] + "\n" + "\n".join(lines).strip() + "\n\n" + found[2], text)
    if count == 0:
        raise BenchmarkError(f"there is no place '{name}' in the page")
    return filled


def filled_text(text: str, results: Results) -> str:
    """The text with every place filled. BenchmarkError for a place of which there is no table."""

    def fill(found: re.Match[str]) -> str:
        return found[1] + "\n" + "\n".join(_table(results, found[2])).strip() + "\n\n" + found[3]

    return _PLACE.sub(fill, text)


def fill_document(document: Path, results: Results, folder: Path) -> None:
    """Fill the document, and put the charts that it names beside it (in the folder performance)."""
    text = filled_text(document.read_text(encoding="utf-8"), results)
    pictures = document.parent / document.stem
    pictures.mkdir(exist_ok=True)
    for name in make_charts(results):
        if f"{document.stem}/{name}" in text:
            shutil.copyfile(folder / name, pictures / name)
    document.write_text(text, encoding="utf-8")
