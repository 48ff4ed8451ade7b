"""WebClient: requests to a server that is not trusted to behave, each bounded in time and size."""

import ipaddress
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import trio
from noctule.api import Option, PluginError, Secret

try:
    import httpx
except ImportError:  # pragma: no cover - the tests have it
    httpx = None  # type: ignore[assignment]

#: How long a connection that is not used stays open, in seconds.
_KEPT_S: Final = 15.0

#: Headers that are ours to say, or the connection's.
_OWN_HEADERS: Final = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "cookie", "te")
)
_TOKEN_CHARACTERS: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class WebError(Exception):
    """No usable answer has come; the text is for the log and has neither secrets nor anything of the answer's body.

    ``is_down``: the server seems to be; otherwise it answers, and only this answer cannot be used.
    """

    def __init__(self, text: str, *, is_down: bool = False) -> None:
        super().__init__(text)
        self.is_down = is_down


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """What a server has answered."""

    status: int

    #: The media type alone, in lower case; empty where it has none.
    media_type: str

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """One header of requests."""

    name: str
    value: Annotated[Secret, Option("Its value; or value_file, the path of a file that has it.")]

    def __post_init__(self) -> None:
        if not self.name or not _TOKEN_CHARACTERS.issuperset(self.name):
            raise ValueError(f'{self.name!a} cannot be the name of a header: expected one such as "Authorization"')
        if self.name.lower() in _OWN_HEADERS:
            raise ValueError(f"the header {self.name} is the broker's own")
        value = self.value.reveal()
        if not value.isascii() or not value.isprintable():
            raise ValueError("the header's value has characters other than printable ASCII")


def check_url(url: str, name: str, *, allow_plain_http: bool = False) -> None:
    """Return if ``url`` may be asked: https, or http on this machine (anywhere with ``allow_plain_http``).

    ValueError, with what to write, otherwise; ``name`` is the option's.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f'"{name}" is not a URL: {error}') from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f'"{name}": expected a URL that begins with https:// or http://')
    if port == 0:
        raise ValueError(f'"{name}": there is no port 0')
    if parts.username is not None or parts.password is not None:
        raise ValueError(f'"{name}" has a user or a password in it: a header (Authorization) is for that')
    if parts.fragment:
        raise ValueError(f'"{name}": a URL that is asked has no part behind "#"')
    if parts.scheme == "http" and not allow_plain_http and not _is_loopback(host):
        raise ValueError(
            f'"{name}": expected https://; http:// is for servers on this machine (127.0.0.1, ::1, localhost)'
        )


def shown_url(url: str) -> str:
    """The URL for the log, without its query, which may have keys in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _reason(error: BaseException) -> str:
    """What an error says, or the one behind it: a refused certificate is three of them deep."""
    found: BaseException | None = error
    while found is not None:
        if str(found):
            return str(found)
        found = found.__cause__ or found.__context__
    return "no more is known"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebClient:
    """Connections to servers, at most ``connections_max``. Within trio only; ``close`` ends them.

    ``transport`` is for tests. PluginError where httpx is not installed or ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        *,
        extra: str,
        timeout_s: float,
        connections_max: int,
        body_max_bytes: int,
        ca_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        if httpx is None:
            raise PluginError(f"the package httpx is not installed: pip install noctule[{extra}]")
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise PluginError(f"cannot use the certificates of {ca_file}: {error}") from None
        for name in ("httpx", "httpcore"):
            # They log URLs with their queries at INFO, and headers at DEBUG.
            logger = logging.getLogger(name)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.WARNING)
        self._timeout_s = timeout_s
        self._body_max_bytes = body_max_bytes
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=tls,
            # Neither proxies nor netrc of the environment: passwords go where the configuration says, nowhere else.
            trust_env=False,
            follow_redirects=False,
            # What one user's request has set must not go along with another's.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=timeout_s,
            limits=httpx.Limits(
                max_connections=connections_max,
                max_keepalive_connections=connections_max,
                keepalive_expiry=_KEPT_S,
            ),
            # A compressed body could be a thousand times as large as what is received.
            headers={"User-Agent": "noctule", **(headers or {}), "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """End every connection."""
        await self._client.aclose()

    async def request(
        self, method: str, url: str, content: bytes | None = None, content_type: str | None = None
    ) -> WebAnswer:
        """What the server answers. WebError where that is nothing, too late, too large, a redirect, or not HTTP."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        try:
            # httpx bounds each step; a server that sends a byte now and then would go on for ever.
            with trio.fail_after(self._timeout_s):
                async with self._client.stream(method, url, content=content, headers=headers) as response:
                    return await self._read(response)
        except trio.TooSlowError:
            raise WebError(f"no answer within {self._timeout_s:g} s", is_down=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise WebError(f"{type(error).__name__}: {_reason(error)}", is_down=True) from None

    async def _read(self, response: "httpx.Response") -> WebAnswer:
        if 300 <= response.status_code < 400:
            raise WebError(f"status {response.status_code}: redirects are not followed")
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise WebError("the answer is compressed, which was not asked for")
        body = bytearray()
        is_too_large = False
        with trio.CancelScope() as scope:
            async for chunk in response.aiter_raw():
                is_too_large = is_too_large or len(body) + len(chunk) > self._body_max_bytes
                if is_too_large:
                    # Leaving the loop would leave the generators below it to the garbage collector, and with them the
                    # connection; cancelled, they end in order.
                    scope.cancel()
                else:
                    body += chunk
        if is_too_large:
            raise WebError(f"the answer is larger than {self._body_max_bytes} bytes")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return WebAnswer(response.status_code, media_type, bytes(body))
