"""Asker: questions to one server, each asked once at a time, a bounded number of them, and answered from memory."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NoReturn
from urllib.parse import urlencode

import trio
from noctule.plugins.web.answer_cache import AnswerCache
from noctule.plugins.web.circuit import Circuit
from noctule.plugins.web.client import WebClient, WebError, shown_url
from noctule.plugins.web.decision import AnswerForm, Decision, Outcome, read_decision
from noctule.plugins.web.limited_log import LimitedLog

#: An answer that says itself how long it counts may say at most this, in seconds: a day.
REMEMBERED_MAX_S: Final = 86_400.0

#: Statuses that seldom mean the client: the whole request is not what is served there.
_WRONG_URL: Final = frozenset((404, 405, 415))

_CLOSING_S: Final = 1.0


class BodyForm(Enum):
    """How a question is written."""

    JSON = "json"
    FORM = "form"


#: Texts, whole numbers, and None for what there is not.
Fields = Mapping[str, str | int | None]


class Endpoint:
    """One URL, and whether its server is there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shown = shown_url(url)
        self.circuit = Circuit()


@dataclass(frozen=True, slots=True)
class AskerSettings:
    """Bounds of an ``Asker``."""

    body_form: BodyForm
    answer_form: AnswerForm
    timeout_s: float
    connections_max: int

    #: Questions that wait for a connection; what comes on top is refused.
    waiting_max: int

    cache_entries_max: int
    cache_allowed_s: float
    cache_denied_s: float


@dataclass(slots=True)
class _Flight:
    """A question under way, for all who ask the same meanwhile."""

    done: trio.Event = field(default_factory=trio.Event)
    answer: tuple[Decision, float] | None = None
    error: str = "it was given up"


class Asker:
    """Asks. ``serve`` is to run as long as there are questions, and closes ``client`` at its end.

    ``wall_clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        client: WebClient,
        settings: AskerSettings,
        logger: logging.Logger,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._settings = settings
        self._logger = logger
        self._log = LimitedLog(logger)
        self._wall_clock = wall_clock
        self._cache: AnswerCache[Decision] = AnswerCache(settings.cache_entries_max)
        self._flights: dict[bytes, _Flight] = {}
        self._connections: trio.CapacityLimiter | None = None
        self._nursery: trio.Nursery | None = None
        self._serves = trio.Event()
        self._retired = trio.Event()

    def __len__(self) -> int:
        """How many questions are under way or wait for a connection."""
        return len(self._flights)

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry the questions until ``retire``, then finish what is under way."""
        try:
            async with trio.open_nursery() as nursery:
                self._connections = trio.CapacityLimiter(self._settings.connections_max)
                self._nursery = nursery
                self._serves.set()
                task_status.started()
                await self._retired.wait()
        finally:
            self._nursery = None
            with trio.move_on_after(_CLOSING_S, shield=True):
                await self._client.close()

    def retire(self) -> None:
        """Take no more questions; another asker does."""
        self._retired.set()

    async def retired(self) -> None:
        """Return when ``retire`` has been called."""
        await self._retired.wait()

    async def ask(self, endpoint: Endpoint, fields: Fields) -> tuple[Decision, float]:
        """The answer, and for how many seconds it is kept. WebError where there is none: whoever asks must refuse.

        The request goes on where who has asked is cancelled: others may wait for it, and the next one finds it.
        """
        key = self._cache.key(
            endpoint.url, *(part if part is None else str(part) for pair in fields.items() for part in pair)
        )
        kept = self._cache.find(key, trio.current_time())
        if kept is not None:
            await trio.lowlevel.checkpoint()
            return kept
        flight = self._flights.get(key)
        if flight is None:
            if self._nursery is None and not self._retired.is_set():
                with trio.move_on_after(self._settings.timeout_s):
                    await self._serves.wait()
                flight = self._flights.get(key)
            if flight is None:
                flight = self._start(endpoint, key, fields)
        await flight.done.wait()
        if flight.answer is None:
            raise WebError(flight.error)
        return flight.answer

    def _start(self, endpoint: Endpoint, key: bytes, fields: Fields) -> _Flight:
        """A new question. WebError where none may be asked."""
        if self._nursery is None or self._retired.is_set():
            raise WebError("the broker starts or stops")
        if len(self._flights) >= self._settings.connections_max + self._settings.waiting_max:
            self._log.warn(f"{endpoint.shown}: refused, too many requests are waiting")
            raise WebError("too many requests are waiting")
        if not endpoint.circuit.may_ask(trio.current_time()):
            self._log.warn(f"{endpoint.shown}: refused, the server is left alone for a while")
            raise WebError("the server is left alone for a while")
        flight = self._flights[key] = _Flight()
        self._nursery.start_soon(self._fly, endpoint, key, fields, flight)
        return flight

    async def _fly(self, endpoint: Endpoint, key: bytes, fields: Fields, flight: _Flight) -> None:
        try:
            decision = await self._request(endpoint, fields)
        except WebError as error:
            flight.error = str(error)
            self._log.warn(f"{endpoint.shown}: refused, {error}")
        except Exception as error:
            flight.error = f"an error of the plugin's: {type(error).__name__}"
            self._logger.exception("%s: refused, an error of the plugin's", endpoint.shown)
        else:
            lifetime_s = self._lifetime_s(decision)
            flight.answer = decision, self._cache.store(key, decision, lifetime_s, trio.current_time())
        finally:
            del self._flights[key]
            flight.done.set()

    async def _request(self, endpoint: Endpoint, fields: Fields) -> Decision:
        """One request; its outcome is told to the circuit, whatever it is."""
        assert self._connections is not None  # noqa: S101
        asked = known = False
        try:
            with trio.move_on_after(self._settings.timeout_s) as wait:
                async with self._connections:
                    asked = True
                    answer = await self._client.request("POST", endpoint.url, *self._written(fields))
                decision = read_decision(answer, self._settings.answer_form)
                if answer.status in _WRONG_URL:
                    self._log.warn(f"{endpoint.shown}: status {answer.status} counts as no; is the URL right?")
            if wait.cancelled_caught:
                self._fail(f"no answer within {self._settings.timeout_s:g} s", is_down=asked)
            endpoint.circuit.succeed()
            known = True
        except WebError as error:
            if error.is_down:
                endpoint.circuit.fail(trio.current_time())
                known = True
            raise
        finally:
            if not known:
                endpoint.circuit.abandon()
        return decision

    def _fail(self, text: str, *, is_down: bool) -> NoReturn:
        raise WebError(text, is_down=is_down)

    def _written(self, fields: Fields) -> tuple[bytes, str]:
        """Body and its type. What is None is null in JSON, and not there in a form."""
        if self._settings.body_form is BodyForm.JSON:
            return json.dumps(dict(fields)).encode(), "application/json"
        there = {name: value for name, value in fields.items() if value is not None}
        return urlencode(there).encode(), "application/x-www-form-urlencoded"

    def _lifetime_s(self, decision: Decision) -> float:
        is_yes = decision.outcome is Outcome.ALLOW
        lifetime_s = self._settings.cache_allowed_s if is_yes else self._settings.cache_denied_s
        if decision.remember_s is not None:
            lifetime_s = min(decision.remember_s, REMEMBERED_MAX_S)
        if decision.expires_at is not None:
            lifetime_s = min(lifetime_s, decision.expires_at - self._wall_clock())
        return max(lifetime_s, 0.0)
