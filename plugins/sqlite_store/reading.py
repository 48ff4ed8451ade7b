"""Reading back what the SQLite store keeps, with every row and every reference checked."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from noctule.api import (
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.plugins.sqlite_store.schema import CHECKSUMS, MESSAGE, QUEUED, SESSION, TABLES, Table


class Loss(NamedTuple):
    """A row that cannot be given back."""

    table: Table
    key: tuple[Any, ...]
    why: str

    #: Whether the row itself is damaged; False: what it refers to is not there.
    is_damage: bool


def _message(row: tuple[Any, ...]) -> PutMessage:
    return PutMessage(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])


def _queued(row: tuple[Any, ...]) -> PutQueued:
    return PutQueued(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7], row[8])


def _will(row: tuple[Any, ...]) -> PutWill:
    return PutWill(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], row[7], row[8])


#: How a row becomes an operation, by the name of its table.
_MAKERS: Final[dict[str, Callable[[tuple[Any, ...]], Any]]] = {
    "message": _message,
    "session": lambda row: PutSession(*row[:5]),
    "subscription": lambda row: PutSubscription(*row[:6]),
    "queued": _queued,
    "received": lambda row: PutReceived(*row[:3]),
    "retained": lambda row: PutRetained(*row[:2]),
    "will": _will,
}


def _query(table: Table) -> str:
    """The statement that reads a table in the order of its key: the columns, the checksum, what is referred to."""
    columns = [f"t.{column}" for column in (*table.columns, "checksum")]
    joins = ""
    if table.refers_to_message:
        # What is queued may be about no message any more: that is a reference to nothing that is as it should be.
        columns.append("CASE t.message_id WHEN 0 THEN 0 ELSE m.message_id END" if table is QUEUED else "m.message_id")
        joins += " LEFT JOIN message AS m ON m.message_id = t.message_id"
    if table.belongs_to_session:
        columns.append("s.session_id")
        joins += " LEFT JOIN session AS s ON s.session_id = t.session_id"
    order = ", ".join(f"t.{column}" for column in table.key)
    return f"SELECT {', '.join(columns)} FROM {table.name} AS t{joins} ORDER BY {order}"  # noqa: S608


def read_table(rows: Iterator[tuple[Any, ...]], table: Table, lose: Callable[[Loss], None]) -> Iterator[Operation]:
    """Make operations of the rows of a table; what cannot be one is given to ``lose``.

    Columns beyond the checksum are references: None says that what is referred to is not there.
    """
    make, checksum_of = _MAKERS[table.name], CHECKSUMS[table.name]
    checksum_at = len(table.columns)
    refers = table.refers_to_message or table.belongs_to_session
    key_columns = len(table.key)
    for row in rows:
        try:
            operation = make(row)
            is_whole = checksum_of(operation) == row[checksum_at]
        except (TypeError, ValueError, AttributeError):  # a value of another type, text that is none
            is_whole = False
        if not is_whole:
            lose(Loss(table, row[:key_columns], "damaged", True))
        elif refers and None in row[checksum_at + 1 :]:
            missing = "message" if table.refers_to_message and row[checksum_at + 1] is None else "session"
            lose(Loss(table, row[:key_columns], f"whose {missing} is missing", False))
        else:
            yield operation


def read_rows(connection: sqlite3.Connection, lose: Callable[[Loss], None]) -> Iterator[Operation]:
    """Everything, in the order of ``Store.restore``. sqlite3.Error where the file cannot be read."""
    lost: dict[Table, set[int]] = {MESSAGE: set(), SESSION: set()}

    def note(loss: Loss) -> None:
        lose(loss)
        if loss.table in lost:
            lost[loss.table].add(loss.key[0])

    for table in TABLES:
        rows: Iterator[tuple[Any, ...]] = connection.execute(_query(table))
        if lost[MESSAGE] or lost[SESSION]:
            rows = _without(rows, table, lost)
        yield from read_table(rows, table, note)


def _without(rows: Iterator[tuple[Any, ...]], table: Table, lost: dict[Table, set[int]]) -> Iterator[tuple[Any, ...]]:
    """Rows in which a reference to what has just been found to be damaged is a reference to nothing."""
    own = len(table.columns) + 1
    kinds = [MESSAGE] * table.refers_to_message + [SESSION] * table.belongs_to_session
    for row in rows:
        references = zip(kinds, row[own:], strict=True)
        yield (*row[:own], *(None if number in lost[kind] else number for kind, number in references))


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]  # noqa: S608
        for table in TABLES
    }


def summarise(losses: list[Loss], shown_max: int = 3) -> list[str]:
    """Lines that say what has been lost, by table and reason."""
    by_kind: dict[tuple[str, str], list[Loss]] = {}
    for loss in losses:
        by_kind.setdefault((loss.table.name, loss.why), []).append(loss)
    lines = []
    for (name, why), those in by_kind.items():
        keys = ", ".join("/".join(_shown(part) for part in loss.key) for loss in those[:shown_max])
        more = ", ..." if len(those) > shown_max else ""
        rows = "row" if len(those) == 1 else "rows"
        lines.append(f"{len(those)} {rows} of {name} {why} ({keys}{more})")
    return lines


def _shown(part: object) -> str:
    return repr(part.decode("utf-8", "replace")) if isinstance(part, bytes) else str(part)
