"""MQTT's rules for UTF-8 strings, checked on received bytes."""

def utf8_fault(data: bytes | bytearray | memoryview) -> str | None:
    """What is wrong with ``data`` as an MQTT UTF-8 string, in words; None where nothing is."""
