"""JSON objects from strangers: read with one meaning or not at all."""

import json
import math
from typing import NoReturn


class JsonError(ValueError):
    """A JSON value that is not what was asked for; the text repeats nothing of it."""


def parse_object(data: bytes) -> dict[str, object]:
    """The object that ``data`` is, as UTF-8. JsonError, the writer's fault, for anything else.

    A name that comes twice in one object is refused (two readers could take two values), and so are NaN, infinity,
    numbers that have no finite value, and nesting that is too deep to read.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8") from None
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"it is not JSON ({error.msg}, at character {error.pos})") from None
    except ValueError as error:
        if isinstance(error, JsonError):
            raise
        raise JsonError("a number has too many digits") from None
    if not isinstance(value, dict):
        raise JsonError("it is not a JSON object")
    return value


def is_text(value: object) -> bool:
    """Whether the value is a text that MQTT can carry: not empty, without U+0000 and lone surrogates."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        return len(value.encode()) <= 65_535
    except UnicodeEncodeError:
        return False


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonError("a name comes twice in one object")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise JsonError("NaN and infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonError("a number is too large")
    return number
