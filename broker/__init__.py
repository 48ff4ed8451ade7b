"""Noctule, an MQTT broker: MQTT 3.1, 3.1.1 and 5.0 over TCP."""

from noctule._version import __version__

__all__ = ["__version__"]
