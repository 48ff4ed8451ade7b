"""The JSON schema of a configuration file, for editors: names, types, bounds, defaults and documentation."""

from enum import Enum
from pathlib import Path
from typing import Any

from noctule.config.checking import SECRET_FILE_SUFFIX
from noctule.config.options import (
    Field,
    Quantity,
    Secret,
    alternatives_of,
    base_of,
    fields_of,
    is_group,
    item_of_list,
    item_of_mapping,
)
from noctule.config.quantities import DURATION_PATTERN, SIZE_PATTERN
from noctule.config.settings import Settings


def schema() -> dict[str, Any]:
    """The schema, as what ``json.dumps`` takes; draft 7, which editors of TOML know."""
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Noctule",
        "description": "The configuration of the MQTT broker Noctule.",
        **group_schema(Settings),
    }
    whole["properties"]["include"] = {
        "type": "string",
        "description": "A directory whose files (*.toml) are read too, sorted by name.",
    }
    whole["properties"]["plugins"] = {
        "description": "The plugins that are loaded: their names, or a table of options for each.",
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {"type": "object"}},
        ],
    }
    return whole


def group_schema(group: type) -> dict[str, Any]:
    """The schema of one table."""
    properties: dict[str, Any] = {}
    required = []
    for field in fields_of(group):
        if Secret in alternatives_of(field.type):
            properties[field.key + SECRET_FILE_SUFFIX] = {
                "type": "string",
                "description": f'A file that has "{field.key}".',
            }
        elif field.is_required:
            required.append(field.key)
        properties[field.key] = _field_schema(field)
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found["required"] = required
    return found


def _field_schema(field: Field) -> dict[str, Any]:
    kinds = [_kind_schema(base_of(kind), field) for kind in alternatives_of(field.type)]
    found: dict[str, Any] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    text = field.option.doc
    if field.option.later:
        text += " Not available in this version yet."
    if text:
        found = {"description": text, **found}
    default = _plain(field.default)
    if not field.is_required and default is not None:
        found["default"] = default
    return found


def _plain(value: object) -> Any:
    """A default as JSON has it; None for what it does not, and for tables, whose fields have their own."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        items = [_plain(one) for one in value]
        return None if None in items else items
    return value if isinstance(value, bool | int | float | str) else None


def _kind_schema(kind: Any, field: Field) -> dict[str, Any]:
    if is_group(kind):
        return group_schema(kind)
    if (item := item_of_list(kind)) is not None:
        inner = [_kind_schema(base_of(one), field) for one in alternatives_of(item)]
        return {"type": "array", "items": inner[0] if len(inner) == 1 else {"anyOf": inner}}
    if (item := item_of_mapping(kind)) is not None:
        return {"type": "object", "additionalProperties": _kind_schema(base_of(item), field)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if kind is bool:
        return {"type": "boolean"}
    if kind is int or kind is float:
        return _number_schema(kind, field)
    if kind in (str, Path, Secret):
        return {"type": "string"}
    return {}


def _number_schema(kind: type, field: Field) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "integer" if kind is int else "number"}
    minimum = 0 if field.option.minimum is None and field.quantity is not None else field.option.minimum
    if minimum is not None:
        number["minimum"] = minimum
    if field.option.maximum is not None:
        number["maximum"] = field.option.maximum
    if field.quantity is None:
        return number
    pattern = SIZE_PATTERN if field.quantity is Quantity.SIZE else DURATION_PATTERN
    return {"anyOf": [number, {"type": "string", "pattern": pattern}]}
