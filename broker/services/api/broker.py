"""What is about the broker as a whole: version, listeners, plugins, what has gone wrong lately, log levels."""

import json
import logging
import platform
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import trio
from noctule._version import __version__
from noctule.config.log import LogLevel
from noctule.hooks.table import HOOK_NAMES
from noctule.services.api import answers
from noctule.services.api.view import View
from noctule.services.http import RequestError
from noctule.services.log_format import LEVEL_NUMBERS
from noctule.services.readings import dropped_by_reason

#: Of this interface.
API_VERSION: Final = 1

_LOGGER_NAME: Final = re.compile(r"noctule(\.[A-Za-z0-9_]{1,64}){0,8}", re.ASCII)

_logger = logging.getLogger("noctule.http")


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def version(view: View) -> answers.Version:
    """What runs here."""
    return answers.Version(
        name="noctule",
        version=__version__,
        python=platform.python_version(),
        api=API_VERSION,
        started_at=timestamp(view.observer.started_at),
        uptime_s=round(view.observer.uptime_s, 3),
    )


async def listeners(view: View) -> answers.Listeners:
    """Where clients connect, and how many do."""
    counts: Counter[str] = Counter()
    for index, link in enumerate(list(view.state.links)):
        if index % 1_000 == 999:
            await trio.lowlevel.checkpoint()
        if link.origin is not None:
            counts[link.origin.listener.name] += 1
    settings = view.settings
    items = [
        answers.Listener(
            name=listener.name,
            protocol=listener.protocol.value,
            has_tls=listener.tls is not None,
            allows_anonymous=settings.admits_anonymous(listener),
            connections=counts[listener.name],
        )
        for listener in settings.listeners
    ]
    return answers.Listeners(list(view.urls()), items)


def plugins(view: View) -> answers.Plugins:
    """The plugins, with the hooks that they implement."""
    hooks = view.means.hooks
    return answers.Plugins(
        [
            answers.Plugin(
                plugin.name,
                plugin.origin,
                [name for name in HOOK_NAMES if any(hook.plugin == plugin.name for hook in getattr(hooks, name))],
            )
            for plugin in hooks.plugins
        ]
    )


async def events(view: View) -> answers.Events:
    """Denials, faults and drops of late."""
    means = view.means
    await view.observer.look_for_drops()
    return answers.Events(
        denials=[
            answers.Denial(
                timestamp(one.at),
                one.client.client_id,
                one.client.user_name,
                one.client.peer,
                one.action,
                one.topic,
                one.rule,
            )
            for one in reversed(means.denial_log.recent)
        ],
        faults=[
            answers.Fault(timestamp(one.at), one.peer, one.who.strip(" ()"), one.text, one.rule)
            for one in reversed(means.fault_log.recent)
        ],
        drops=[
            answers.Drops(timestamp(one.at), one.client_id, one.count) for one in reversed(view.observer.recent_drops)
        ],
        dropped=dropped_by_reason(view.state.plane.counts),
    )


def log_levels() -> answers.LogLevels:
    """The level of everything, and of each logger of ours."""
    names = sorted(
        name
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and _LOGGER_NAME.fullmatch(name)
    )
    return answers.LogLevels([_log_level(name) for name in ("", *names)])


def _log_level(name: str) -> answers.LogLevel:
    logger = logging.getLogger(name or None)
    own = None if logger.level == logging.NOTSET else _level_name(logger.level)
    return answers.LogLevel(name, own, _level_name(logger.getEffectiveLevel()))


def _level_name(number: int) -> str:
    """The first of our levels that is not below."""
    return next((level.value for level, least in LEVEL_NUMBERS.items() if number <= least), LogLevel.NONE.value)


def set_log_level(name: str, body: bytes) -> answers.LogLevel:
    """Another level for one logger of ours. RequestError where it is none, or the body does not say a level."""
    if not _LOGGER_NAME.fullmatch(name):
        raise RequestError(404, "no logger of the broker has this name; they begin with noctule")
    try:
        asked = json.loads(body)
        text = asked["level"]
        number = logging.NOTSET if text is None else LEVEL_NUMBERS[LogLevel(text)]
    except (ValueError, KeyError, TypeError, RecursionError):
        levels = ", ".join(f'"{level.value}"' for level in LogLevel)
        raise RequestError(400, f'expected {{"level": LEVEL}} with one of {levels}, or null') from None
    logging.getLogger(name).setLevel(number)
    _logger.info("The level of the logger %s is now %s, as asked over HTTP.", name, text or "that of the one above")
    return _log_level(name)
