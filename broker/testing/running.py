"""A broker in a thread of its own, on a port that the system chooses: for tests with clients that block."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio
from noctule.app import Broker as WholeBroker
from noctule.config.settings import Settings
from noctule.core.clients import Client
from noctule.testing.settings import plugins_of, settings_for

_T = TypeVar("_T")

#: How long a broker may take to start, and to stop, before the test fails.
_PATIENCE_S: Final = 30.0


class RunningBroker:
    """A broker that runs while it is entered. ``host``, ``port`` and ``url`` say where.

    ``plugins``: instances, classes without options, or ``noctule.hooks.table.Plugin`` for one with a name.
    ``config``: a file to read, as ``noctule run -c`` does, but for its listeners: there is one, on a free port of
    127.0.0.1. ``settings``: the same as an object. ``allow_anonymous``: by default everybody is let in, unless a
    plugin authenticates or a file or settings say who is. ``limits``: those of ``noctule.api.Settings.limits``.

    Entering it raises what keeps the broker from starting (PluginError, ConfigError, ...), leaving it what has ended
    it, so that a test does not pass over a broker that has failed.
    """

    def __init__(
        self,
        *plugins: object,
        config: Path | None = None,
        settings: Settings | None = None,
        allow_anonymous: bool | None = None,
        **limits: Any,
    ) -> None:
        made = plugins_of(plugins)
        found = settings_for(made, config, settings, allow_anonymous, limits)
        self._broker = WholeBroker(found, plugins=made)
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="noctule", daemon=True)

    @property
    def host(self) -> str:
        """The address to connect to."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port to connect to. RuntimeError where the broker does not run."""
        if not self._broker.urls:
            raise RuntimeError("the broker does not run")
        return int(self._broker.urls[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        """``mqtt://127.0.0.1:PORT``."""
        return f"mqtt://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_PATIENCE_S):
            raise TimeoutError(f"the broker has not started within {_PATIENCE_S:g} s")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop, and wait for it; nothing happens where it has stopped. Raises what has ended the broker, if anything
        has, and TimeoutError where it does not end."""
        if self._thread.is_alive() and self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._broker.stop)
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the broker has not stopped within {_PATIENCE_S:g} s")
        error, self._error = self._error, None
        if error is not None:
            raise error

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call a function in the broker's thread, where plugins are called, and give back its result."""
        if self._token is None:
            raise RuntimeError("the broker does not run")
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def publish(self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False) -> int:
        """Publish as a plugin would; how many sessions it reached."""
        return self.call(lambda: self._broker.for_plugins.publish(topic, payload, qos=qos, retain=retain))

    def clients(self) -> list[Client]:
        """Who is connected now."""
        return self.call(self._broker.for_plugins.clients)

    def disconnect(self, client_id: str) -> bool:
        """End a client's connection; False where it has none."""
        return self.call(self._broker.for_plugins.disconnect, client_id)

    def reload(self, settings: Settings) -> None:
        """Put other settings into effect, but for listeners. Raises as the broker does where they cannot be used."""
        if self._token is None:
            raise RuntimeError("the broker does not run")
        trio.from_thread.run(self._broker.reload, settings, trio_token=self._token)

    @property
    def settings(self) -> Settings:
        """What is in effect."""
        return self._broker.settings

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self._error = _alone(error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._broker.run)
            self._ready.set()


def _alone(error: BaseException) -> BaseException:
    """The exception without the groups that nurseries put around a single one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
