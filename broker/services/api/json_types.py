"""Between types and JSON: an answer as plain values, and a type as a JSON schema (2020-12, as OpenAPI 3.1 has it)."""

import dataclasses
import json
import types
import typing
from typing import Annotated, Any, Final

#: Made once: ``json.dumps`` makes one for each call.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def plain(value: object) -> Any:
    """An answer as JSON's encoder takes it."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    names: dict[str, object] | None = getattr(type(value), "__dataclass_fields__", None)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value


def json_bytes(value: object) -> bytes:
    """An answer as JSON; what cannot be UTF-8 is escaped."""
    return _ENCODER.encode(plain(value)).encode(errors="backslashreplace")


def schema_of(annotation: Any, groups: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; dataclasses are put into ``groups`` by name and referred to."""
    if typing.get_origin(annotation) is Annotated:
        found = schema_of(annotation.__origin__, groups)
        return {**found, "description": annotation.__metadata__[0]}
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        if annotation.__name__ not in groups:
            groups[annotation.__name__] = {}
            groups[annotation.__name__] = _group_schema(annotation, groups)
        return {"$ref": f"#/components/schemas/{annotation.__name__}"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(one, groups) for one in arguments]}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], groups)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], groups)}
    if annotation is Any:
        return {}
    names = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}
    return {"type": names[annotation]}


def _group_schema(group: type, groups: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(group, include_extras=True)
    properties = {name: schema_of(annotation, groups) for name, annotation in hints.items()}
    return {
        "type": "object",
        "description": group.__doc__ or "",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
