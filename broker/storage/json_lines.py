"""What a store keeps as JSON lines, for people and their tools: one operation a line, between a first and a last line.

The first line says what it is, the last how many there are, so that half a file is not taken for a whole one. Topics
are text, other bytes base64.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Any, Final, TextIO, get_args, get_type_hints

from noctule.storage.operations import (
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)

#: The key of the first line, and the version of the form.
FORMAT_KEY: Final = "noctule_store"
FORMAT_VERSION: Final = 1

#: What a line is about, by the name that it has there.
KINDS: Final[dict[str, type[Any]]] = {
    "message": PutMessage,
    "session": PutSession,
    "subscription": PutSubscription,
    "queued": PutQueued,
    "received": PutReceived,
    "retained": PutRetained,
    "will": PutWill,
}
_NAMES: Final = {kind: name for name, kind in KINDS.items()}

#: Bytes that are UTF-8.
_TEXTS: Final = frozenset({"topic", "topic_filter", "share_name"})


class LineError(Exception):
    """A line is not as it must be; the text says which, and what was expected."""


def write(operations: Iterable[Operation], file: TextIO) -> int:
    """Write operations as they come; how many comes back."""
    file.write(json.dumps({FORMAT_KEY: FORMAT_VERSION}) + "\n")
    count = 0
    for operation in operations:
        file.write(json.dumps(_as_object(operation), ensure_ascii=False) + "\n")
        count += 1
    file.write(json.dumps({"end": count}) + "\n")
    return count


def _as_object(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": _NAMES[type(operation)]}
    for name, value in operation._asdict().items():
        if isinstance(value, bytes):
            found[name] = value.decode() if name in _TEXTS else b64encode(value).decode()
        else:
            found[name] = value
    return found


def read(file: TextIO) -> Iterator[Operation]:
    """The operations of a file. LineError with the number of the line where it is not as ``write`` makes it."""
    fields = {name: get_type_hints(kind) for name, kind in KINDS.items()}
    count = 0
    ended = False
    number = 0
    for number, line in enumerate(file, 1):
        if ended:
            raise LineError(f"line {number}: there is more behind the last line")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise LineError(f"line {number}: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise LineError(f"line {number}: expected an object")
        if number == 1:
            if found != {FORMAT_KEY: FORMAT_VERSION}:
                raise LineError(
                    f'line 1: expected {{"{FORMAT_KEY}": {FORMAT_VERSION}}}; this is no export of this version'
                )
        elif "end" in found:
            ended = True
            if found["end"] != count:
                raise LineError(f"line {number}: there are {count} lines, not {found['end']}: some are missing")
        else:
            yield _as_operation(found, fields, f"line {number}")
            count += 1
    if not ended:
        raise LineError(f"line {number + 1}: the last line is missing: the file is not whole")


def _as_operation(found: dict[str, Any], fields: dict[str, dict[str, Any]], place: str) -> Operation:
    kind = found.pop("kind", None)
    if not isinstance(kind, str) or kind not in fields:
        raise LineError(f"{place}: kind must be one of {', '.join(fields)}, not {kind!r}")
    types = fields[kind]
    if found.keys() != types.keys():
        missing = ", ".join(types.keys() - found.keys()) or "none"
        unknown = ", ".join(found.keys() - types.keys()) or "none"
        raise LineError(f"{place}: the fields of a {kind}: missing are {missing}, unknown are {unknown}")
    values = {name: _value(found[name], types[name], name, place) for name in types}
    operation: Operation = KINDS[kind](**values)
    return operation


def _value(value: Any, wanted: Any, name: str, place: str) -> Any:
    allowed = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    if value is None and NoneType in allowed:
        return None
    if bytes in allowed and isinstance(value, str):
        try:
            return value.encode() if name in _TEXTS else b64decode(value, validate=True)
        except ValueError as error:
            raise LineError(f"{place}: {name}: {error}") from None
    if float in allowed and type(value) in (int, float):
        return float(value)
    if type(value) in allowed and bytes not in allowed and (type(value) is not int or 0 <= value < 2**63):
        return value
    raise LineError(f"{place}: {name}: {value!r:.40} is not what is expected there")
