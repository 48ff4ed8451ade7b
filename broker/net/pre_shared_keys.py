"""The file of pre-shared keys, as Mosquitto has it: a line ``IDENTITY:KEY`` for each, the key in hexadecimal digits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: What OpenSSL takes at most: PSK_MAX_PSK_LEN, PSK_MAX_IDENTITY_LEN.
_KEY_MAX_BYTES: Final = 512
_IDENTITY_MAX_BYTES: Final = 256


def read_keys(path: Path) -> Mapping[str, bytes]:
    """The keys by their identity. ValueError, with the line, where one cannot be read; OSError as ``open`` has it."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        identity, colon, digits = line.strip().rpartition(":")
        # What stands there is secret: an error names the line, never its content.
        if not colon or not identity:
            raise ValueError(f"line {number}: expected IDENTITY:KEY")
        if len(identity.encode()) > _IDENTITY_MAX_BYTES:
            raise ValueError(f"line {number}: the identity has more than {_IDENTITY_MAX_BYTES} bytes")
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(f"line {number}: the key is not written in hexadecimal digits") from None
        if not 1 <= len(key) <= _KEY_MAX_BYTES:
            raise ValueError(f"line {number}: expected a key of 1 to {_KEY_MAX_BYTES} bytes")
        if identity in keys:
            raise ValueError(f"line {number}: the identity stands in a line before it as well")
        keys[identity] = key
    if not keys:
        raise ValueError("there is no key in it")
    return keys
