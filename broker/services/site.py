"""All that the HTTP port answers: metrics, health, the interface for programs; and who may ask."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

import trio
from noctule.handlers.connection import escaped
from noctule.services.api.answers import Problem
from noctule.services.api.json_types import json_bytes
from noctule.services.api.openapi import description
from noctule.services.api.requests import Parameter, parameters_of, segments_of, split_target
from noctule.services.api.routes import Call, Route, find_route
from noctule.services.api.view import View
from noctule.services.http import Answer, Request, RequestError, text_answer
from noctule.services.metrics import broker_families, mosquitto_families, plugin_families
from noctule.services.prometheus import CONTENT_TYPE, exposition

_JSON: Final = "application/json"

#: How long the answer to a wrong password takes.
_REFUSAL_S: Final = 1.0

#: For who scrapes: our own names, or those of sapcc/mosquitto-exporter.
_METRICS_PARAMETERS: Final = (Parameter("names", str, "noctule or mosquitto.", default="noctule"),)

_logger = logging.getLogger("noctule.http")


class Site:
    """Answers the requests to one broker."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._description: bytes | None = None
        self._host_name = socket.gethostname().lower()

    async def answer(self, request: Request) -> Answer:
        """The answer to a request, whatever it is."""
        try:
            return await self._answer(request)
        except RequestError as error:
            more = (("Allow", "GET, HEAD, PUT"),) if error.status == 405 else ()
            return Answer(error.status, _JSON, json_bytes(Problem(error.status, str(error))), more)

    async def _answer(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD", "PUT"):
            raise RequestError(405, "only GET, HEAD and PUT here")
        path, query = split_target(request.target)
        self._check_host(request)
        if path in ("/healthz", "/readyz"):
            _check_reads(request)
            return self._health(path)
        is_known = await self._is_known(request)
        if is_known is False:
            challenge = ("WWW-Authenticate", 'Basic realm="Noctule", charset="UTF-8"')
            return Answer(401, _JSON, json_bytes(Problem(401, "a login is needed")), (challenge,))
        if path == "/metrics":
            _check_reads(request)
            return await self._metrics(query)
        if path == "/api/v1/openapi.json":
            _check_reads(request)
            if self._description is None:
                self._description = json.dumps(description()).encode()
            return Answer(200, _JSON, self._description)
        if path == "/":
            _check_reads(request)
            return text_answer(200, "Noctule: /metrics, /healthz, /readyz, /api/v1/openapi.json")
        route, path_values = find_route(request.method, segments_of(path))
        self._check_may(route, request, is_known=is_known is True)
        values = parameters_of(query, route.parameters)
        result = await route.run(Call(self._view, path_values, values, request.body))
        return Answer(200, _JSON, result if isinstance(result, AsyncIterator) else json_bytes(result))

    def _health(self, path: str) -> Answer:
        """Whether it runs; whether clients should be sent here."""
        why = self._view.unready_because if path == "/readyz" else ""
        return text_answer(503, why) if why else text_answer(200, "ok")

    async def _metrics(self, query: str) -> Answer:
        view = self._view
        names = parameters_of(query, _METRICS_PARAMETERS)["names"]
        readings = await view.observer.read()
        if names == "mosquitto":
            families = mosquitto_families(view.sys_topics.values(readings).items())
        elif names == "noctule":
            families = broker_families(readings, view.observer.started_at) + plugin_families(view.metrics)
        else:
            raise RequestError(400, "names: expected noctule or mosquitto")
        return Answer(200, CONTENT_TYPE, exposition(families).encode())

    # Who may ask

    def _check_host(self, request: Request) -> None:
        """Refuse names that are not ours: a page of somebody else's could have its own name lead here."""
        text = request.headers.get("host", "")
        try:
            name = urlsplit(f"//{text}").hostname or ""
        except ValueError:
            name = ""
        name = name.rstrip(".")
        http = self._view.settings.http
        if text and name and (_is_address(name) or name in self._names(http.host, http.host_names)):
            return
        raise RequestError(421, "not a name of this broker's; http.host_names lists those that are")

    def _names(self, host: str, more: tuple[str, ...]) -> set[str]:
        return {"localhost", self._host_name, host.lower(), *(name.lower() for name in more)}

    async def _is_known(self, request: Request) -> bool | None:
        """Whether the login is right; None where there is none in the configuration."""
        http = self._view.settings.http
        if http.password is None:
            return None
        shown = request.headers.get("authorization")
        if shown is None:
            return False
        if _is_same(_credentials(shown), f"{http.user}:{http.password.reveal()}".encode()):
            return True
        _logger.warning("A login over HTTP from %s was not right.", escaped(request.peer), extra={"peer": request.peer})
        await trio.sleep(_REFUSAL_S)  # who guesses waits; the connections are few
        return False

    def _check_may(self, route: Route, request: Request, *, is_known: bool) -> None:
        """RequestError 403 where this is not for everybody, and everybody may ask."""
        if route.changes:
            if not is_known:
                raise RequestError(403, "nothing is changed without a login: set password in [http]")
            _check_is_no_page(request)
        if route.is_private and not is_known and not self._view.is_open:
            raise RequestError(403, "not shown to everybody on this machine: set password in [http]")


def _check_reads(request: Request) -> None:
    if request.method == "PUT":
        raise RequestError(405, "only GET and HEAD here")


def _check_is_no_page(request: Request) -> None:
    """Refuse what a page of another site could send in the name of who is logged in."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise RequestError(415, f"expected Content-Type: {_JSON}")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise RequestError(403, "not from pages of other sites")


def _is_address(name: str) -> bool:
    """Whether it is an address: no page can make one lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _credentials(header: str) -> bytes:
    """User and password of HTTP Basic with their colon; empty where it is something else."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_same(shown: bytes, wanted: bytes) -> bool:
    """Compare in a time that tells nothing, neither of the texts nor of their lengths."""
    return hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(wanted).digest())
