"""The table of hooks: for each specification the functions of the plugins that implement it, in their order.

pluggy finds, checks and orders them at the start; afterwards nothing is called through it.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final

import pluggy
from noctule.config.settings import ListenerSettings, Settings
from noctule.hooks import specs
from noctule.hooks.answers import PluginError


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that is loaded, under its name in the configuration."""

    name: str

    #: What has the hooks: an instance of the plugin's class, or a module.
    implementation: object

    #: Where it comes from, for people: a distribution with its version, a file, or "built in".
    origin: str = "built in"

    #: Its options, of its own type; None where it has none.
    config: object = None


@dataclass(frozen=True, slots=True)
class Hook:
    """One plugin's implementation of one hook."""

    plugin: str

    #: Takes the arguments of the specification by position, also where the plugin names fewer.
    call: Callable[..., Any]


Hooks = tuple[Hook, ...]


@dataclass(frozen=True, slots=True)
class HookTable:
    """Who implements what. Nobody: an empty tuple, and one test is all that it costs."""

    plugins: tuple[Plugin, ...] = ()

    broker_starting: Hooks = ()
    broker_started: Hooks = ()
    broker_stopping: Hooks = ()
    prepare_reload: Hooks = ()
    open_store: Hooks = ()
    add_authentication_methods: Hooks = ()
    add_transports: Hooks = ()
    add_services: Hooks = ()
    add_commands: Hooks = ()
    add_metrics: Hooks = ()
    authenticate: Hooks = ()
    load_access: Hooks = ()
    authorize: Hooks = ()
    rewrite_subscription: Hooks = ()
    recheck: Hooks = ()
    message_received: Hooks = ()
    client_connected: Hooks = ()
    client_disconnected: Hooks = ()
    session_created: Hooks = ()
    session_ended: Hooks = ()
    subscribed: Hooks = ()
    unsubscribed: Hooks = ()
    message_published: Hooks = ()
    message_delivered: Hooks = ()
    message_dropped: Hooks = ()
    retained_changed: Hooks = ()
    will_published: Hooks = ()
    packet_received: Hooks = ()
    packet_sent: Hooks = ()

    #: By name, whoever may be asked: what ``ListenerSettings.authentication`` chooses from.
    by_name: dict[str, Plugin] = field(default_factory=dict, compare=False)

    def admit_anonymous(self, settings: Settings, listener: ListenerSettings) -> bool:
        """Whether a client without a user name is let in there: as the settings say, but where they say nothing, not
        beside plugins that decide on who connects, also those that the settings do not name."""
        is_said = listener.allow_anonymous is not None or settings.allow_anonymous is not None
        decide = self.authenticate or self.add_authentication_methods
        return settings.admits_anonymous(listener) and (is_said or not decide)


#: The names of all hooks.
HOOK_NAMES: Final = tuple(one.name for one in fields(HookTable) if one.name not in ("plugins", "by_name"))


def make_table(plugins: Iterable[Plugin]) -> HookTable:
    """Check the plugins against the specifications and put their hooks in order, that of ``plugins``.

    A plugin that asks for it by ``hookimpl(tryfirst=True)`` or ``trylast`` goes before or behind the others.
    PluginError, the plugin author's fault, naming the plugin, the hook and the argument.
    """
    known = tuple(plugins)
    registry = pluggy.PluginManager(specs.PROJECT)
    registry.add_hookspecs(specs)
    # pluggy calls last what was registered first.
    for plugin in reversed(known):
        _check(plugin)
        if registry.has_plugin(plugin.name):
            raise PluginError(f"{_named(plugin)}: there is another plugin of this name")
        if registry.is_registered(plugin.implementation):
            raise PluginError(f"{_named(plugin)}: it is there already, and a module is there once; make it a class")
        try:
            registry.register(plugin.implementation, name=plugin.name)
        except Exception as error:  # pluggy reads every attribute, properties too
            raise PluginError(f"{_named(plugin)}: {error}") from error
    by_implementation = {id(plugin.implementation): plugin for plugin in known}
    table: dict[str, Hooks] = {}
    for name in HOOK_NAMES:
        caller: pluggy.HookCaller = getattr(registry.hook, name)
        specification = getattr(specs, name)
        found = []
        for implementation in reversed(caller.get_hookimpls()):
            plugin = by_implementation[id(implementation.plugin)]
            _check_kind(plugin, name, implementation.function, specification)
            found.append(
                Hook(
                    plugin.name,
                    _with_all_arguments(
                        implementation.function,
                        _arguments_of(plugin, name, implementation.function),
                        tuple(inspect.signature(specification).parameters),
                    ),
                )
            )
        table[name] = tuple(found)
    return HookTable(plugins=known, by_name={plugin.name: plugin for plugin in known}, **table)


def _named(plugin: Plugin) -> str:
    return f"plugin {plugin.name} ({plugin.origin})"


def _check(plugin: Plugin) -> None:
    """Whether every function that is marked as a hook is one, with arguments that the specification has."""
    marker = f"{specs.PROJECT}_impl"
    for name in dir(plugin.implementation):
        # As it is written: asking an instance would run its properties.
        attribute = inspect.getattr_static(plugin.implementation, name)
        function = getattr(attribute, "__func__", attribute)
        options = getattr(function, marker, None)
        if not isinstance(options, dict) or not callable(function):
            continue
        hook = options.get("specname") or name
        if hook not in HOOK_NAMES:
            near = get_close_matches(hook, HOOK_NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(HOOK_NAMES)}"
            raise PluginError(f"{_named(plugin)}: there is no hook {hook}; {hint}")
        if options.get("hookwrapper") or options.get("wrapper"):
            raise PluginError(f"{_named(plugin)}: {hook} is a wrapper; hooks are called as they are")
        known = tuple(inspect.signature(getattr(specs, hook)).parameters)
        for argument in _arguments_of(plugin, hook, getattr(plugin.implementation, name)):
            if argument not in known:
                there_are = f"there are {', '.join(known)}" if known else "it has none"
                raise PluginError(f"{_named(plugin)}: {hook} has no argument {argument}; {there_are}")


def _arguments_of(plugin: Plugin, hook: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a plugin's arguments, with those that have a default, without ``self``."""
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise PluginError(f"{_named(plugin)}: {hook} has {parameter}; its arguments have to be named, one by one")
    return tuple(parameter.name for parameter in parameters)


def _check_kind(plugin: Plugin, name: str, function: object, specification: object) -> None:
    """``def`` or ``async def``, as in the specification."""
    wanted = inspect.iscoroutinefunction(specification)
    if inspect.iscoroutinefunction(function) != wanted:
        kinds = ("async def", "def") if wanted else ("def", "async def")
        raise PluginError(f"{_named(plugin)}: {name} must be {kinds[0]}, and is {kinds[1]}")


def _with_all_arguments(
    function: Callable[..., Any], wanted: tuple[str, ...], given: tuple[str, ...]
) -> Callable[..., Any]:
    """The function as one of all the arguments of its specification, by position."""
    if tuple(wanted) == given:
        return function
    places = tuple(given.index(name) for name in wanted)

    def call(*arguments: object) -> object:
        return function(*(arguments[place] for place in places))

    return call


async def first_answer(hooks: Hooks, *arguments: object) -> Any:
    """The first answer other than None, asking one plugin after the other; None from everybody is None."""
    for hook in hooks:
        answer = hook.call(*arguments)
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer is not None:
            return answer
    return None
