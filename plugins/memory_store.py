"""A store that keeps nothing: what is acknowledged ends with the process."""

from noctule.api import MemoryStore, Settings, Store, hookimpl


class Plugin:
    """Answers ``open_store`` with the store that costs nothing."""

    @hookimpl
    def open_store(self, settings: Settings) -> Store:
        """The same for any settings."""
        del settings
        return MemoryStore()
