"""The description of the interface, as OpenAPI 3.1, made from the routes and the types of their answers."""

from typing import Any, Final

from noctule._version import __version__
from noctule.services.api.answers import Problem
from noctule.services.api.json_types import schema_of
from noctule.services.api.requests import Parameter
from noctule.services.api.routes import ROUTES, Route

_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}

#: What may come in place of an answer.
_PROBLEMS: Final = {
    "400": "The request cannot be read.",
    "401": "A login is needed, or was not right.",
    "403": "Not shown or done without a password in the configuration.",
    "404": "There is no such thing.",
    "421": "This name is not one of this broker's.",
}


def description() -> dict[str, Any]:
    """The whole description, as what ``json.dumps`` takes."""
    groups: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, groups)
    schema_of(Problem, groups)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Noctule",
            "version": __version__,
            "description": "What the MQTT broker Noctule does at this moment. Times are ISO 8601 in UTC.",
        },
        "paths": paths,
        "components": {
            "schemas": groups,
            "securitySchemes": {"login": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(route: Route, groups: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    parameters += [_parameter(one) for one in route.parameters]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.text,
        "security": [{"login": []}] if route.changes else [{"login": []}, {}],
        "responses": {"200": _response("The answer.", route.answer, groups)}
        | {status: _response(text, Problem, groups) for status, text in _PROBLEMS.items()},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of(route.body, groups)}},
        }
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[parameter.type]}
    if parameter.minimum is not None:
        schema["minimum"] = parameter.minimum
    if parameter.maximum is not None:
        schema["maximum"] = parameter.maximum
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {"name": parameter.name, "in": "query", "description": parameter.text, "schema": schema}


def _response(text: str, answer: type, groups: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema_of(answer, groups)}}}
