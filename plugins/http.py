"""Http: asks a server over HTTP whether a client is let in, and what it may do."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import trio
from noctule.api import (
    Access,
    AccessRules,
    Action,
    Allow,
    Broker,
    Client,
    Credentials,
    Deny,
    Duration,
    Option,
    PluginError,
    Service,
    Settings,
    Size,
    Verdict,
    hookimpl,
)
from noctule.plugins.web.asker import Asker, AskerSettings, BodyForm, Endpoint, Fields
from noctule.plugins.web.client import Header, WebClient, WebError, check_url
from noctule.plugins.web.decision import AnswerForm, Decision, Outcome

if TYPE_CHECKING:
    import httpx

_logger: Final = logging.getLogger("noctule.http")

#: How long the broker remembers a refusal that no server has spoken, in seconds. Each message of a client's would
#: ask anew otherwise; "as long as the connection lasts" would make a hiccup a verdict.
_FAILURE_REMEMBERED_S: Final = 1.0

#: What mosquitto-go-auth calls the actions.
_ACC: Final = {Action.RECEIVE: 1, Action.PUBLISH: 2, Action.SUBSCRIBE: 4}


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """``[plugins.http]``."""

    authenticate_url: Annotated[
        str | None,
        Option("Asked whether a client is let in.", example='"https://auth.example/mqtt/user"'),
    ] = None
    authorize_url: Annotated[
        str | None,
        Option(
            "Asked for each topic that a client publishes to and each topic filter that it subscribes to, where no"
            " rules are known for it.",
            needs_restart=True,
            example='"https://auth.example/mqtt/acl"',
        ),
    ] = None
    access_url: Annotated[
        str | None,
        Option(
            "Asked once at each connect for all rules of the client.",
            needs_restart=True,
            example='"https://auth.example/mqtt/rules"',
        ),
    ] = None
    body: Annotated[BodyForm, Option("How requests are written.")] = BodyForm.JSON
    answers: Annotated[
        AnswerForm,
        Option("Where an answer is: in the status, in a JSON object, in a word; auto understands all of them."),
    ] = AnswerForm.AUTO
    headers: Annotated[
        tuple[Header, ...],
        Option(
            "Headers of every request, each with name and value (or value_file).",
            example='[{ name = "Authorization", value_file = "/etc/noctule/http-token" }]',
        ),
    ] = ()
    incomplete_credentials: Annotated[
        bool, Option("Whether the server is asked about clients too that bring no user name or no password.")
    ] = False
    allow_plain_http: Annotated[
        bool, Option("Whether http:// is allowed to other machines: passwords can be read on the way.")
    ] = False
    ca_file: Annotated[
        Path | None,
        Option("Certificates (PEM) that the server's must lead to; without it those of the system."),
    ] = None
    timeout: Annotated[Duration, Option("The longest wait for an answer.", minimum=0.01, unsafe_above=30)] = 3.0
    connections: Annotated[int, Option("Requests at the same time.", minimum=1, maximum=1_000)] = 20
    waiting: Annotated[
        int, Option("Requests that wait for a connection; those beyond are refused.", minimum=0, maximum=100_000)
    ] = 1_000
    answer_size: Annotated[Size, Option("The largest answer.", minimum=16, unsafe_above=10_000_000)] = 65_536
    cache_size: Annotated[int, Option("Answers that are kept; 0 keeps none.", minimum=0, unsafe_above=1_000_000)] = (
        10_000
    )
    cache_allowed: Annotated[
        Duration, Option("How long a yes is kept, unless it says so itself.", unsafe_above=3_600)
    ] = 30.0
    cache_denied: Annotated[
        Duration, Option("How long a no is kept, unless it says so itself.", unsafe_above=3_600)
    ] = 5.0

    def __post_init__(self) -> None:
        urls = {
            "authenticate_url": self.authenticate_url,
            "authorize_url": self.authorize_url,
            "access_url": self.access_url,
        }
        if not any(urls.values()):
            raise ValueError('expected at least one of "authenticate_url", "authorize_url" and "access_url"')
        for name, url in urls.items():
            if url is not None:
                try:
                    check_url(url, name, allow_plain_http=self.allow_plain_http)
                except ValueError as error:
                    hint = ", or allow_plain_http = true" if "http:// is for" in str(error) else ""
                    raise ValueError(f"{error}{hint}") from None


class Http:
    """The plugin. ``transport`` and ``wall_clock`` (seconds since 1970) are for tests."""

    Config = HttpConfig

    def __init__(
        self,
        config: HttpConfig,
        *,
        transport: "httpx.AsyncBaseTransport | None" = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._wall_clock = wall_clock
        self._current = _Current(config, transport, wall_clock)
        # A plugin that has one of these hooks is one that knows about access: where nobody knows a client, it may do
        # nothing. So there is none without its URL.
        if config.authorize_url is not None:

            @hookimpl
            async def authorize(client: Client, action: Action, topic: str) -> Verdict | None:
                return await self._current.authorize(client, action, topic)

            self.authorize = authorize
        if config.access_url is not None:

            @hookimpl
            async def load_access(client: Client) -> Access | None:
                return await self._current.load_access(client)

            self.load_access = load_access

    @hookimpl
    def add_services(self, broker: Broker) -> Sequence[Service]:  # noqa: ARG002
        """The task that carries the requests."""
        return (Service("http", self._serve),)

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        """What the server says; no where it says nothing that can be used."""
        return await self._current.authenticate(client, credentials)

    @hookimpl
    async def prepare_reload(self, config: HttpConfig, settings: Settings) -> Callable[[], None]:  # noqa: ARG002
        """Another server, other bounds. What was remembered is forgotten; requests under way are finished."""
        before = self._current.config
        for name in ("authorize_url", "access_url"):
            if (getattr(before, name) is None) != (getattr(config, name) is None):
                raise PluginError(f'http: to add or remove "{name}" needs a restart')
        prepared = await trio.to_thread.run_sync(_Current, config, self._transport, self._wall_clock)

        def apply() -> None:
            replaced, self._current = self._current, prepared
            replaced.asker.retire()

        return apply

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                asker = self._current.asker
                await nursery.start(asker.serve)
                await asker.retired()


class _Current:
    """The plugin as it is configured now."""

    def __init__(
        self,
        config: HttpConfig,
        transport: "httpx.AsyncBaseTransport | None",
        wall_clock: Callable[[], float],
    ) -> None:
        self.config = config
        self._wall_clock = wall_clock
        client = WebClient(
            extra="http",
            timeout_s=config.timeout,
            connections_max=config.connections,
            body_max_bytes=config.answer_size,
            ca_file=config.ca_file,
            headers={header.name: header.value.reveal() for header in config.headers},
            transport=transport,
        )
        settings = AskerSettings(
            config.body,
            config.answers,
            config.timeout,
            config.connections,
            config.waiting,
            config.cache_size,
            config.cache_allowed,
            config.cache_denied,
        )
        self.asker = Asker(client, settings, _logger, wall_clock)
        self._authenticate = _endpoint(config.authenticate_url)
        self._authorize = _endpoint(config.authorize_url)
        self._access = _endpoint(config.access_url)

    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        user_name, password = credentials.user_name, credentials.password
        if self._authenticate is None:
            return None
        if (user_name is None or password is None) and not self.config.incomplete_credentials:
            return None
        try:
            text = None if password is None else password.decode()
        except UnicodeDecodeError:
            return Deny("http: the password is not UTF-8")
        fields: Fields = {"username": user_name, "password": text, "clientid": client.client_id}
        try:
            decision, _ = await self.asker.ask(self._authenticate, fields)
        except WebError as error:
            return Deny(f"http: {error}")
        if decision.outcome is Outcome.IGNORE:
            return None
        if decision.outcome is Outcome.DENY:
            return Deny("http: the server says no")
        if decision.expires_at is not None and decision.expires_at <= self._wall_clock():
            return Deny("http: the server's yes has expired")
        name = decision.user_name if decision.user_name is not None else user_name
        return Allow(
            user_name=decision.user_name,
            access=_access_of(decision, replace(client, user_name=name)),
            expires_at=decision.expires_at,
        )

    async def authorize(self, client: Client, action: Action, topic: str) -> Verdict | None:
        if self._authorize is None:
            return None
        fields: Fields = {
            "username": client.user_name,
            "clientid": client.client_id,
            "topic": topic,
            "acc": _ACC[action],
            "action": action.value,
        }
        try:
            decision, kept_s = await self.asker.ask(self._authorize, fields)
        except WebError as error:
            return Deny(f"http: {error}", remember_s=_FAILURE_REMEMBERED_S)
        if decision.outcome is Outcome.IGNORE:
            return None
        if decision.outcome is Outcome.DENY:
            return Deny("http: the server says no", remember_s=kept_s)
        if decision.expires_at is not None and decision.expires_at <= self._wall_clock():
            return Deny("http: the server's yes has expired", remember_s=kept_s)
        return Allow(remember_s=kept_s, qos_max=decision.qos_max, retain=decision.retain)

    async def load_access(self, client: Client) -> Access | None:
        if self._access is None:
            return None
        fields: Fields = {"username": client.user_name, "clientid": client.client_id}
        try:
            decision, _ = await self.asker.ask(self._access, fields)
        except WebError as error:
            # No rules for the length of a connection would be the wrong refusal: this one is refused, and comes again.
            raise PluginError(f"http: no rules of the client: {error}") from None
        if decision.outcome is Outcome.IGNORE:
            return None
        if decision.outcome is Outcome.DENY:
            return AccessRules(()).for_client(client)
        access = _access_of(decision, client)
        if access is None:
            raise PluginError('http: the answer of "access_url" has no "rules"')
        return access


def _endpoint(url: str | None) -> Endpoint | None:
    return None if url is None else Endpoint(url)


def _access_of(decision: Decision, client: Client) -> Access | None:
    return None if decision.rules is None else decision.rules.for_client(client)
