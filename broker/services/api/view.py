"""What the interface can see of the broker, in one place."""

from collections.abc import Callable
from dataclasses import dataclass

from noctule.config.settings import Settings
from noctule.core.state import State
from noctule.handlers.means import Means
from noctule.hooks.metrics import Metrics
from noctule.services.readings import Observer
from noctule.services.sys_topics import SysTopics


@dataclass(frozen=True, slots=True)
class View:
    """One broker."""

    means: Means
    observer: Observer
    sys_topics: SysTopics
    metrics: Metrics

    #: The addresses that are listened on, as URLs.
    urls: Callable[[], tuple[str, ...]]

    @property
    def state(self) -> State:
        """Sessions, links and trees."""
        return self.means.state

    @property
    def settings(self) -> Settings:
        """Those in effect."""
        return self.means.state.settings

    @property
    def is_open(self) -> bool:
        """Whether the broker itself tells everybody everything, so that this port hides nothing from anybody."""
        hooks = self.means.hooks
        settings = self.settings
        return not (hooks.load_access or hooks.authorize) and all(map(settings.admits_anonymous, settings.listeners))

    @property
    def unready_because(self) -> str:
        """Why clients are not served whole; empty where they are."""
        if self.state.is_stopping:
            return "the broker is stopping"
        journal = self.state.plane.journal
        if journal is not None and not journal.is_usable:
            return "the store takes nothing"
        return ""
