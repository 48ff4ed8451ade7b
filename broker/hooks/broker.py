"""What a plugin can do with the broker that it runs in."""

from typing import Protocol

from noctule.core.clients import Client


class Broker(Protocol):
    """Handed to plugins. Everything is to be called from the broker's own (trio) thread."""

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
    ) -> int:
        """Publish in the broker's own name, past all access rules but those of who receives it; how many sessions it
        reached. ValueError, the caller's fault, where the topic or the properties cannot be sent."""
        ...

    def clients(self) -> list[Client]:
        """Everybody who is connected now."""
        ...

    def disconnect(self, client_id: str, reason_code: int = 0x98, why: str = "") -> bool:
        """End a client's connection (0x98: by an administrative action); False where it has none. Its Will is
        published. ValueError, the caller's fault, for a reason code below 0x80 or one that DISCONNECT cannot have."""
        ...

    def access_changed(self, client_id: str | None = None) -> None:
        """What a client (None: anybody) may do has changed: what was remembered is forgotten, and subscriptions that
        are no longer allowed are dropped."""
        ...
