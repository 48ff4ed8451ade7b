"""Jwt: lets in clients that show a signed token (JSON Web Token, RFC 7519), which may say what they may do."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import trio
from noctule.api import (
    Access,
    AccessRules,
    Allow,
    Broker,
    Client,
    Credentials,
    Deny,
    Duration,
    Option,
    PluginError,
    Secret,
    Service,
    Settings,
    Size,
    Verdict,
    hookimpl,
)
from noctule.plugins.web.client import WebClient, check_url
from noctule.plugins.web.json_rules import read_rules
from noctule.plugins.web.remote_keys import RemoteKeys
from noctule.plugins.web.strict_json import is_text, parse_object
from noctule.plugins.web.token_keys import (
    Algorithm,
    KeySet,
    TokenKey,
    public_key,
    read_key_set,
    secret_key,
)

try:
    import jwt
except ImportError:  # pragma: no cover - the tests have it
    jwt = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import httpx

_logger: Final = logging.getLogger("noctule.jwt")

#: A base64url text whose bytes begin with "{", a dot, another text, a dot, and another that is empty where nothing is
#: signed. Passwords with two dots in them are not taken for tokens, but for one in 256.
_TOKEN: Final = re.compile(rb"e[w-z0-9_-][A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_TOKEN_START: Final = re.compile(rb"e[w-z0-9_-][A-Za-z0-9_-]*\.?")

#: Key files are small; beyond this something else was named.
_FILE_MAX_BYTES: Final = 1_000_000

#: The answer of a server with keys, in bytes.
_JWKS_MAX_BYTES: Final = 1_000_000

#: Verifications in threads at the same time.
_THREADS: Final = 2

#: 31 December 9999: an end beyond it was meant to be something else (milliseconds).
_EXPIRES_MAX: Final = 253_402_300_799


class TokenPlace(Enum):
    """Where in CONNECT the token is."""

    PASSWORD = "password"  # noqa: S105
    USER_NAME = "user_name"


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """``[plugins.jwt]``."""

    algorithms: Annotated[
        tuple[Algorithm, ...],
        Option("How tokens may be signed; what a token says of itself is only compared with it.", example='["RS256"]'),
    ]
    secret: Annotated[
        Secret | None, Option("The secret shared with the issuer, for HS256, HS384 and HS512; or secret_file.")
    ] = None
    public_key: Annotated[Path | None, Option("A file with the issuer's public key (PEM).")] = None
    jwks_file: Annotated[Path | None, Option("A file with the issuer's public keys (JWKS).")] = None
    jwks_url: Annotated[
        str | None,
        Option(
            "Where the issuer's public keys (JWKS) are fetched: https, or http on this machine.",
            example='"https://id.example/.well-known/jwks.json"',
        ),
    ] = None
    jwks_ca_file: Annotated[
        Path | None,
        Option("Certificates (PEM) that the one of jwks_url must lead to; without it those of the system."),
    ] = None
    jwks_refresh: Annotated[Duration, Option("How often the keys are fetched again.", minimum=1)] = 3_600.0
    jwks_interval: Annotated[
        Duration,
        Option("The shortest time between two fetches, also for tokens with an unknown key.", minimum=1),
    ] = 30.0
    jwks_timeout: Annotated[Duration, Option("The longest wait for the keys.", minimum=0.01, unsafe_above=30)] = 3.0
    token_in: Annotated[TokenPlace, Option("Where the client puts the token.")] = TokenPlace.PASSWORD
    issuer: Annotated[
        str | None, Option("What the claim iss must be; without it any.", example='"https://id.example/"')
    ] = None
    audience: Annotated[
        tuple[str, ...],
        Option(
            "One of these must be in the claim aud; where none is given, a token that has an aud is refused.",
            example='["mqtt"]',
        ),
    ] = ()
    leeway: Annotated[Duration, Option("How much the clocks of issuer and broker may differ.", unsafe_above=300)] = 10.0
    required_claims: Annotated[tuple[str, ...], Option("Claims that a token must have beside those checked.")] = ()
    require_expiry: Annotated[
        bool, Option("Whether a token must have an end (exp). One without is good for ever, also when it is stolen.")
    ] = True
    user_claim: Annotated[str, Option("The claim that has the user name.")] = "sub"
    match_user_name: Annotated[
        bool, Option("Whether a user name in CONNECT must be the one in the token; otherwise it does not matter.")
    ] = True
    client_id_claim: Annotated[
        str | None,
        Option("The claim with the client identifiers that may use the token, a text or an array.", example='"client"'),
    ] = None
    access_claim: Annotated[str, Option("The claim with the rules of access; empty: none is looked at.")] = "mqtt"
    token_size: Annotated[Size, Option("The largest token.", minimum=64, maximum=65_535)] = 8_192

    def __post_init__(self) -> None:
        keys = {
            "secret": self.secret,
            "public_key": self.public_key,
            "jwks_file": self.jwks_file,
            "jwks_url": self.jwks_url,
        }
        given = [name for name, value in keys.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of {', '.join(keys)}; got {', '.join(given) or 'none'}")
        if not self.algorithms:
            raise ValueError('"algorithms" is empty: expected for example ["RS256"]')
        for algorithm in self.algorithms:
            if algorithm.is_symmetric != (self.secret is not None):
                kind = "a secret" if algorithm.is_symmetric else "a public key"
                raise ValueError(f'the algorithm "{algorithm.value}" needs {kind}, not {given[0]}')
        if not self.user_claim:
            raise ValueError('"user_claim" is empty: expected the name of a claim, such as "sub"')
        if self.jwks_url is not None:
            check_url(self.jwks_url, "jwks_url")


class Jwt:
    """The plugin. ``transport`` and ``wall_clock`` (seconds since 1970) are for tests."""

    Config = JwtConfig

    def __init__(
        self,
        config: JwtConfig,
        *,
        transport: "httpx.AsyncBaseTransport | None" = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if jwt is None:
            raise PluginError("the package PyJWT is not installed: pip install noctule[jwt]")
        self._transport = transport
        self._wall_clock = wall_clock
        self._verifier = _Verifier(config, transport, wall_clock)
        self._changed = trio.Event()

    @hookimpl
    def add_services(self, broker: Broker) -> Sequence[Service]:  # noqa: ARG002
        """The task that fetches keys; it rests where they are in a file."""
        return (Service("jwt", self._serve),)

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        """Whether the token is good, and whose it is. None for clients that show something else."""
        return await self._verifier.authenticate(client, credentials)

    @hookimpl
    async def prepare_reload(self, config: JwtConfig, settings: Settings) -> Callable[[], None]:  # noqa: ARG002
        """Other keys, other claims; they count for connections from now on."""
        prepared = await trio.to_thread.run_sync(_Verifier, config, self._transport, self._wall_clock)
        before = self._verifier.remote_keys
        if before is not None and prepared.remote_keys is not None:
            prepared.remote_keys.start_with(before)

        def apply() -> None:
            replaced, self._verifier = self._verifier, prepared
            file = config.public_key or config.jwks_file
            if file is not None:
                _logger.info("Read %s again", file)
            if replaced.remote_keys is not None:
                replaced.remote_keys.retire()
            self._changed.set()

        return apply

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                if self._verifier.remote_keys is not None:
                    nursery.start_soon(self._verifier.remote_keys.serve)
                await self._changed.wait()


class _BadTokenError(Exception):
    """A token that lets nobody in; the text is for the log and repeats nothing that is not signed."""


class _Verifier:
    """The plugin as it is configured now. PluginError where its keys cannot be used."""

    def __init__(
        self,
        config: JwtConfig,
        transport: "httpx.AsyncBaseTransport | None",
        wall_clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._wall_clock = wall_clock
        self._algorithms = [algorithm.value for algorithm in config.algorithms]
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._reader = _StrictJwt()
        self.remote_keys: RemoteKeys | None = None
        self._keys = KeySet()
        if config.jwks_url is not None:
            self.remote_keys = _remote_keys(config, transport)
        else:
            self._keys = _local_keys(config)

    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        token = self._token(credentials)
        if token is None:
            return None
        if len(token) > self._config.token_size:
            return Deny(f"jwt: a token of {len(token)} bytes")
        try:
            claims = await self._claims(token)
            return self._answer(client, credentials, claims)
        except _BadTokenError as error:
            return Deny(f"jwt: {error}")

    def _token(self, credentials: Credentials) -> bytes | None:
        """What the client shows, where it looks like a token; None where it does not."""
        shown = credentials.password
        if self._config.token_in is TokenPlace.USER_NAME:
            # A lone surrogate cannot come from the wire; if it did, it is no token.
            shown = (credentials.user_name or "").encode(errors="replace")
        if not shown:
            return None
        if len(shown) > self._config.token_size:
            return shown if _TOKEN_START.match(shown) and shown.count(b".") == 2 else None
        return shown if _TOKEN.fullmatch(shown) else None

    async def _claims(self, token: bytes) -> dict[str, Any]:
        """What the token says, its signature, times, issuer and audience verified."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _BadTokenError(f"its header cannot be read ({type(error).__name__})") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _BadTokenError("it is signed in another way than configured")
        if kid is not None and not isinstance(kid, str):
            raise _BadTokenError("its kid is not a text")
        if "crit" in header or "b64" in header:
            raise _BadTokenError("its header wants something that is not supported")
        key = self._find_key(kid, algorithm)
        if key is None and self.remote_keys is not None:
            key = await self.remote_keys.find(kid, algorithm)
        if key is None or algorithm not in key.algorithms:
            raise _BadTokenError("no key for it is known")
        if key.is_slow:
            return await trio.to_thread.run_sync(
                self._verified, token, key, algorithm, limiter=self._limiter, abandon_on_cancel=True
            )
        await trio.lowlevel.checkpoint()
        return self._verified(token, key, algorithm)

    def _find_key(self, kid: str | None, algorithm: str) -> TokenKey | None:
        if self._config.secret is not None or self._config.public_key is not None:
            kid = None  # there is only one, whatever the issuer calls it
        return self._keys.find(kid, algorithm)

    def _verified(self, token: bytes, key: TokenKey, algorithm: str) -> dict[str, Any]:
        config = self._config
        required = list(config.required_claims)
        if config.require_expiry:
            required.append("exp")
        try:
            claims: dict[str, Any] = self._reader.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=config.issuer,
                audience=config.audience or None,
                options={"require": required, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.MissingRequiredClaimError as error:
            raise _BadTokenError(f"it lacks the claim {error.claim}") from None
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
            raise _BadTokenError(type(error).__name__) from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        # PyJWT takes texts for numbers and cuts fractions off; and it has no clock but the system's.
        now, leeway = self._wall_clock(), self._config.leeway
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if value is None and name not in claims:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _EXPIRES_MAX:
                raise _BadTokenError(f"its claim {name} is not a time in seconds since 1970")
            if name == "exp" and value <= now - leeway:
                raise _BadTokenError("it has expired")
            if name != "exp" and value > now + leeway:
                raise _BadTokenError(f"it is not valid yet ({name})")

    def _answer(self, client: Client, credentials: Credentials, claims: dict[str, Any]) -> Allow:
        config = self._config
        user_name = claims.get(config.user_claim)
        if not isinstance(user_name, str) or not is_text(user_name):
            _fail(f"its claim {config.user_claim} is no user name")
        # An empty user name is what clients of 3.1.1 send that have only a password.
        said = credentials.user_name if config.token_in is TokenPlace.PASSWORD else None
        if config.match_user_name and said and said != user_name:
            _fail("it is another user's")
        if config.client_id_claim is not None:
            self._check_client_id(client.client_id, claims.get(config.client_id_claim), config.client_id_claim)
        access = self._access(replace(client, user_name=user_name), claims)
        expires_at = float(claims["exp"]) + config.leeway if "exp" in claims else None
        return Allow(user_name=user_name, access=access, expires_at=expires_at)

    def _check_client_id(self, client_id: str, allowed: object, name: str) -> None:
        if isinstance(allowed, str):
            allowed = [allowed]
        if not isinstance(allowed, list) or not all(isinstance(one, str) for one in allowed):
            _fail(f"its claim {name} has no client identifiers")
        if not client_id or client_id not in allowed:
            _fail("it is not for this client identifier")

    def _access(self, client: Client, claims: dict[str, Any]) -> Access | None:
        name = self._config.access_claim
        if not name or name not in claims:
            return None
        try:
            return AccessRules(read_rules(claims[name], f"jwt:{name}")).for_client(client)
        except ValueError as error:
            raise _BadTokenError(f"its rules of access cannot be used: {error}") from None


def _fail(text: str) -> NoReturn:
    raise _BadTokenError(text)


if jwt is not None:

    class _StrictJwt(jwt.PyJWT):
        """Reads claims that have one meaning only."""

        def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
            try:
                return parse_object(decoded["payload"])
            except ValueError as error:
                raise jwt.DecodeError(str(error)) from None


def _local_keys(config: JwtConfig) -> KeySet:
    problems: list[str] = []
    file = config.public_key or config.jwks_file
    try:
        if config.secret is not None:
            keys = KeySet(nameless=(secret_key(config.secret.reveal().encode(), config.algorithms),))
        elif config.public_key is not None:
            keys = KeySet(nameless=(public_key(_content(config.public_key)),))
        else:
            assert config.jwks_file is not None  # noqa: S101
            keys, problems = read_key_set(_content(config.jwks_file))
    except OSError as error:
        raise PluginError(f"jwt: cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise PluginError(f"jwt: {f'{file}: ' if file else ''}{error}") from None
    for problem in problems:
        _logger.warning("%s: left out %s", file, ascii(problem)[1:-1])
    everything = (*keys.named.values(), *keys.nameless)
    for algorithm in config.algorithms:
        if not any(algorithm.value in key.algorithms for key in everything):
            raise PluginError(f'jwt: {file}: no key for the algorithm "{algorithm.value}"')
    return keys


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(_FILE_MAX_BYTES + 1)
    if len(content) > _FILE_MAX_BYTES:
        raise ValueError(f"it is larger than {_FILE_MAX_BYTES} bytes: not a key")
    return content


def _remote_keys(config: JwtConfig, transport: "httpx.AsyncBaseTransport | None") -> RemoteKeys:
    assert config.jwks_url is not None  # noqa: S101
    client = WebClient(
        extra="http,jwt",
        timeout_s=config.jwks_timeout,
        connections_max=1,
        body_max_bytes=_JWKS_MAX_BYTES,
        ca_file=config.jwks_ca_file,
        transport=transport,
    )
    return RemoteKeys(
        config.jwks_url,
        client,
        refresh_s=config.jwks_refresh,
        interval_s=config.jwks_interval,
        timeout_s=config.jwks_timeout,
        logger=_logger,
    )
