"""A damaged file: set aside under a dated name, and what can still be read from it taken over."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noctule.plugins.sqlite_store.database import COMPANIONS, READ_ERRORS, connect
from noctule.plugins.sqlite_store.reading import Loss, read_table
from noctule.plugins.sqlite_store.schema import CHECKSUMS, SEGMENT, TABLES, Table
from noctule.plugins.sqlite_store.segment_bodies import MESSAGES, Kind
from noctule.plugins.sqlite_store.segment_tables import (
    KINDS,
    PUT,
    PUT_BODY,
    SegmentTables,
    make_segment,
    read_body,
    read_directory,
    row_of,
)
from noctule.plugins.sqlite_store.segments import ROWS_MAX, Segment, SegmentDamageError, Segments


def name_aside(path: Path) -> Path:
    """A name beside a file that says what became of it and when, and that nothing has yet."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    candidate = path.with_name(f"{path.name}.corrupt-{moment}")
    number = 1
    while any(os.path.lexists(f"{candidate}{companion}") for companion in ("", *COMPANIONS)):
        number += 1
        candidate = path.with_name(f"{path.name}.corrupt-{moment}-{number}")
    return candidate


def set_aside(path: Path) -> Path:
    """Rename a database with all that SQLite has beside it; its new name comes back. OSError where that fails.

    The log goes first: a database without its log is an older state, and must not be taken for the current one.
    """
    aside = name_aside(path)
    for companion in (*COMPANIONS, ""):
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(aside.with_name(aside.name + companion))
    return aside


def salvage(aside: Path, target: sqlite3.Connection) -> list[str]:
    """Copy every row that is whole from a damaged file into an empty store; lines that say what came of it.

    sqlite3.Error where the target fails. Of the damaged file nothing is expected.
    """
    if not aside.exists():
        return ["nothing could be salvaged: there is no database"]
    lines, counts = [], []
    target.execute("BEGIN IMMEDIATE")
    with closing(connect(aside, read_only=True)) as source:
        for table in TABLES:
            losses: list[Loss] = []
            stops: list[str] = []
            before = target.total_changes
            target.executemany(table.put, _rows(source, table, losses, stops))
            counts.append(f"{target.total_changes - before} of {table.name}")
            if losses:
                lines.append(f"{len(losses)} rows of {table.name} were damaged and are lost")
            if stops:
                lines.append(f"{table.name} could not be read whole ({stops[0]}); an unknown number of rows is lost")
        taken = _take_segments(source, target, lines)
    target.execute("COMMIT")
    counts += [f"{rows} of {kind.table.name} in segments" for kind, rows in taken.items() if rows]
    return [f"rows salvaged: {', '.join(counts)}", *lines]


def _rows(source: sqlite3.Connection, table: Table, losses: list[Loss], stops: list[str]) -> Iterator[tuple[Any, ...]]:
    """The whole rows of a table, from its begin to where it cannot be read on, then from its end."""
    checksum_of = CHECKSUMS[table.name]
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{column} {direction}" for column in table.key)
        query = f"SELECT {', '.join(table.columns)}, checksum FROM {table.name} ORDER BY {order}"  # noqa: S608
        try:
            for operation in read_table(source.execute(query), table, losses.append):
                yield (*operation, checksum_of(operation))
        except READ_ERRORS as error:
            stops.append(str(error))
        else:
            return


def _take_segments(source: sqlite3.Connection, target: sqlite3.Connection, lines: list[str]) -> dict[Kind, int]:
    """Copy every segment that is whole; how many rows of which kind comes back. What is lost is added to ``lines``."""
    tables = SegmentTables(target)
    taken = dict.fromkeys(KINDS.values(), 0)
    seen: set[int] = set()
    found: list[tuple[Kind, Segment]] = []
    lost = 0
    for direction in ("ASC", "DESC"):
        try:
            if not source.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (SEGMENT.name,)).fetchone():
                return taken  # it is of version 1
            for row in read_directory(source, direction):
                if row[0] not in seen:
                    seen.add(row[0])
                    try:
                        found.append(make_segment(row))
                    except SegmentDamageError:
                        lost += 1
        except READ_ERRORS as error:
            if direction == "ASC":
                lines.append(f"segment could not be read whole ({error}); an unknown number of rows is lost")
        else:
            break
    for kind, segment in sorted(found, key=lambda one: one[1].first):
        segments = tables.messages if kind is MESSAGES else tables.queued
        try:
            body = read_body(source, segment.number)
            Segments(kind, lambda _, body=body: body).rows_of(segment)  # type: ignore[misc]
            segments.add(segment)
        except (*READ_ERRORS, SegmentDamageError):
            lost += 1
            continue
        target.execute(PUT, row_of(kind, segment, segment.gone))
        target.execute(PUT_BODY, (segment.number, body))
        taken[kind] += segment.live
    if lost:
        lines.append(f"{lost} segments were damaged, and up to {ROWS_MAX} rows in each are lost")
    return taken
