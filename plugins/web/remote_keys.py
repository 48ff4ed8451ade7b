"""RemoteKeys: a set of keys that is fetched from a URL, again now and then, and when a token names one that is new."""

import logging
from typing import Final

import trio
from noctule.plugins.web.client import WebClient, WebError, shown_url
from noctule.plugins.web.limited_log import LimitedLog
from noctule.plugins.web.token_keys import KeySet, TokenKey, read_key_set

#: What is added to the wait for a refresh that somebody needs, in seconds, beside the client's own timeout.
_MARGIN_S: Final = 0.5

#: How often the rest after a failure is doubled.
_DOUBLINGS_MAX: Final = 4

_CLOSING_S: Final = 1.0


class RemoteKeys:
    """The last keys that could be fetched. ``serve`` is to run as long as they are used, and closes ``client``.

    There is at most one request in ``interval_s``, whatever tokens say.
    """

    def __init__(
        self,
        url: str,
        client: WebClient,
        *,
        refresh_s: float,
        interval_s: float,
        timeout_s: float,
        logger: logging.Logger,
    ) -> None:
        self._url = url
        self._client = client
        self._refresh_s = max(refresh_s, interval_s)
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._logger = logger
        self._log = LimitedLog(logger)
        self._keys = KeySet()
        self._problems: list[str] = []
        self._next_allowed_at = float("-inf")
        self._wanted = trio.Event()
        self._fetched = trio.Event()
        self._is_fetching = False
        self._retired = False

    def retire(self) -> None:
        """Let ``serve`` end."""
        self._retired = True
        self._wanted.set()

    def start_with(self, before: "RemoteKeys") -> None:
        """Until the first fetch, use the keys that another one has of the same URL; of another URL, none."""
        if before._url == self._url:
            self._keys = before._keys

    async def serve(self) -> None:
        """Fetch the keys, and again when it is time or a token asks for it."""
        try:
            failures = 0
            while not self._retired:
                self._next_allowed_at = trio.current_time() + self._interval_s
                self._wanted = trio.Event()
                failures = 0 if await self._fetch() else failures + 1
                done, self._fetched = self._fetched, trio.Event()
                done.set()
                await self._rest(failures)
        finally:
            with trio.move_on_after(_CLOSING_S, shield=True):
                await self._client.close()

    async def _rest(self, failures: int) -> None:
        """Until the next fetch. Without keys, or with old ones, it comes sooner, each time a bit less so."""
        wait_s = self._refresh_s
        if failures:
            wait_s = min(wait_s, self._interval_s * 2 ** min(failures - 1, _DOUBLINGS_MAX))
        with trio.move_on_after(wait_s):
            await self._wanted.wait()
        if not self._retired:
            await trio.sleep_until(self._next_allowed_at)

    async def find(self, kid: str | None, algorithm: str) -> TokenKey | None:
        """The key of this name for this algorithm; None where there is none, even after asking again."""
        key = self._keys.find(kid, algorithm)
        if key is not None:
            return key
        if not self._is_fetching and trio.current_time() < self._next_allowed_at:
            return None
        fetched = self._fetched
        if not self._is_fetching:
            self._wanted.set()
        with trio.move_on_after(self._timeout_s + _MARGIN_S):
            await fetched.wait()
        return self._keys.find(kid, algorithm)

    async def _fetch(self) -> bool:
        """Whether there are keys from now. Those that there were stay otherwise."""
        shown = shown_url(self._url)
        self._is_fetching = True
        try:
            answer = await self._client.request("GET", self._url)
            if answer.status != 200:
                self._log.warn(f"{shown}: status {answer.status}; {self._kept()}")
                return False
            keys, problems = read_key_set(answer.body)
        except (WebError, ValueError) as error:
            self._log.warn(f"{shown}: {error}; {self._kept()}")
            return False
        except Exception:
            self._logger.exception("%s: an error of the plugin's; %s", ascii(shown)[1:-1], self._kept())
            return False
        finally:
            self._is_fetching = False
        self._keys = keys
        if problems != self._problems:
            self._problems = problems
            for problem in problems:
                self._logger.info("%s: left out %s", ascii(shown)[1:-1], ascii(problem)[1:-1])
        return True

    def _kept(self) -> str:
        return f"the {len(self._keys)} keys of before are kept" if len(self._keys) else "there are no keys yet"
