"""Password hashes in the three forms of Mosquitto's password file: read, compared with a password, made.

=================================  ==============================================================================
``$argon2id$v=19$m=,t=,p=$s$h``    argon2id (RFC 9106); salt and hash in base64 without padding
``$7$iterations$salt$hash``        PBKDF2-HMAC-SHA512 with 64 bytes of output; base64 with padding
``$6$salt$hash``                   SHA-512 of password and salt, one round: not crypt(3)'s, which has the same tag
=================================  ==============================================================================

A hash says itself how much work it is to compare with. What is read is therefore bounded here, so that a file can
neither stall the broker nor take its memory.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

#: argon2id for new hashes: the second choice of OWASP's password storage cheat sheet, about 30 ms on a usual core.
ARGON2_MEMORY_KIB: Final = 19 * 1024
ARGON2_PASSES: Final = 2
ARGON2_LANES: Final = 1

#: Each hash that is computed has this at most in memory, and there are as many at once as there are workers.
ARGON2_MEMORY_MAX_KIB: Final = 256 * 1024

#: Memory times passes is the work: this much is about a second.
ARGON2_WORK_MAX_KIB: Final = 1024 * 1024

#: Each lane may become a thread in argon2's library.
ARGON2_LANES_MAX: Final = 16

#: RFC 9106, 3.1: at least so much memory for each lane.
ARGON2_MEMORY_OF_LANE_MIN_KIB: Final = 8

#: PBKDF2 for new hashes, after OWASP: about 200 ms. Mosquitto writes 101 (2.0) or 1,000 (2.1), which is little.
PBKDF2_ITERATIONS: Final = 210_000

#: About a second.
PBKDF2_ITERATIONS_MAX: Final = 1_000_000

#: Bytes of a salt that are accepted. Mosquitto's have 12 or 64.
SALT_MIN_BYTES: Final = 8
SALT_MAX_BYTES: Final = 128

#: Bytes of the hash that ``$6$`` and ``$7$`` have.
SHA512_BYTES: Final = 64

#: Bytes of an argon2id hash that are accepted: below this, chance would find a password.
ARGON2_HASH_MIN_BYTES: Final = 16
ARGON2_HASH_MAX_BYTES: Final = 128

#: No form that is within the bounds is longer, in characters.
TEXT_MAX: Final = 512

#: The lengths that every version of Mosquitto reads which knows the form: 2.0 wants 12 bytes of salt in ``$7$``.
_NEW_SHA512_SALT_BYTES: Final = 12
_NEW_ARGON2_BYTES: Final = 64

_NUMBER: Final = r"(0|[1-9][0-9]{0,9})"
_BASE64: Final = r"([A-Za-z0-9+/]+={0,2})"
_SHA512_FORM: Final = re.compile(rf"\$6\${_BASE64}\${_BASE64}", re.ASCII)
_PBKDF2_FORM: Final = re.compile(rf"\$7\${_NUMBER}\${_BASE64}\${_BASE64}", re.ASCII)
_ARGON2_FORM: Final = re.compile(
    rf"\$argon2id\$v={_NUMBER}\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64}", re.ASCII
)

#: The one version of argon2 that is accepted: 1.3, in use since 2016.
_ARGON2_VERSION: Final = 19


class HashKind(Enum):
    """The forms by the names that mosquitto_passwd has for them."""

    ARGON2ID = "argon2id"
    SHA512_PBKDF2 = "sha512-pbkdf2"
    SHA512 = "sha512"


class HashingError(Exception):
    """A hash could not be computed; what lacks is memory."""


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """How much work an argon2id hash is. ValueError for what is out of bounds: whoever chose it is wrong."""

    memory_kib: int = ARGON2_MEMORY_KIB
    passes: int = ARGON2_PASSES
    lanes: int = ARGON2_LANES

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError("argon2 makes at least 1 pass")
        if not 1 <= self.lanes <= ARGON2_LANES_MAX:
            raise ValueError(f"argon2 with {self.lanes} lanes: expected 1 to {ARGON2_LANES_MAX}")
        least = ARGON2_MEMORY_OF_LANE_MIN_KIB * self.lanes
        if not least <= self.memory_kib <= ARGON2_MEMORY_MAX_KIB:
            raise ValueError(
                f"argon2 with {self.memory_kib} KiB of memory: expected {least} to {ARGON2_MEMORY_MAX_KIB} KiB"
            )
        if self.work_kib > ARGON2_WORK_MAX_KIB:
            raise ValueError(
                f"argon2 with {self.passes} passes over {self.memory_kib} KiB: expected at most "
                f"{ARGON2_WORK_MAX_KIB} KiB in all passes together"
            )

    @property
    def work_kib(self) -> int:
        """The memory that is gone through in all, in KiB."""
        return self.memory_kib * self.passes


@dataclass(frozen=True, slots=True)
class Sha512Hash:
    """``$6$``: one round of SHA-512, which guesses pass by the million. Mosquitto's until 1.6."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"$6${_encode(self.salt)}${_encode(self.digest)}"

    def matches(self, password: bytes) -> bool:
        """Whether it is the hash of this password."""
        return hmac.compare_digest(_sha512(password, self.salt), self.digest)


@dataclass(frozen=True, slots=True)
class Pbkdf2Hash:
    """``$7$``: PBKDF2-HMAC-SHA512."""

    iterations: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"$7${self.iterations}${_encode(self.salt)}${_encode(self.digest)}"

    def matches(self, password: bytes) -> bool:
        """Whether it is the hash of this password. It takes up to a second, by intent; other threads run meanwhile."""
        return hmac.compare_digest(_pbkdf2(password, self.salt, self.iterations), self.digest)


@dataclass(frozen=True, slots=True)
class Argon2Hash:
    """``$argon2id$``."""

    parameters: Argon2Parameters
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        chosen = self.parameters
        return (
            f"$argon2id$v={_ARGON2_VERSION}$m={chosen.memory_kib},t={chosen.passes},p={chosen.lanes}"
            f"${_encode(self.salt).rstrip('=')}${_encode(self.digest).rstrip('=')}"
        )

    def matches(self, password: bytes) -> bool:
        """Whether it is the hash of this password. It takes up to a second, by intent; other threads run meanwhile.

        HashingError where there is no memory for it.
        """
        return hmac.compare_digest(_argon2id(password, self.salt, self.parameters, len(self.digest)), self.digest)


PasswordHash = Sha512Hash | Pbkdf2Hash | Argon2Hash


def parse_hash(text: str) -> PasswordHash:
    """The hash that is written so. ValueError, with nothing secret in it, where it is none or out of bounds."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a hash of {len(text)} characters: expected at most {TEXT_MAX}")
    if text.startswith("$argon2id$"):
        return _parse_argon2(text)
    if text.startswith("$7$"):
        return _parse_pbkdf2(text)
    if text.startswith("$6$"):
        return _parse_sha512(text)
    if text.startswith("$"):
        raise ValueError("unknown kind of hash: expected one that begins with $argon2id$, $7$ or $6$")
    raise ValueError("no hash: expected one that begins with $argon2id$, $7$ or $6$")


def make_hash(
    password: bytes,
    kind: HashKind = HashKind.ARGON2ID,
    *,
    argon2: Argon2Parameters | None = None,
    iterations: int = PBKDF2_ITERATIONS,
) -> PasswordHash:
    """A hash of the password with a fresh salt. It takes up to a second, by intent; other threads run meanwhile.

    ``argon2`` (None: the defaults) and ``iterations`` are for the kinds that have them. ValueError for iterations out
    of bounds, HashingError where there is no memory for it.
    """
    if kind is HashKind.ARGON2ID:
        parameters = argon2 if argon2 is not None else Argon2Parameters()
        salt = secrets.token_bytes(_NEW_ARGON2_BYTES)
        return Argon2Hash(parameters, salt, _argon2id(password, salt, parameters, _NEW_ARGON2_BYTES))
    salt = secrets.token_bytes(_NEW_SHA512_SALT_BYTES)
    if kind is HashKind.SHA512_PBKDF2:
        _check_iterations(iterations)
        return Pbkdf2Hash(iterations, salt, _pbkdf2(password, salt, iterations))
    return Sha512Hash(salt, _sha512(password, salt))


def is_weaker(stored: PasswordHash, wanted: Argon2Parameters) -> bool:
    """Whether guessing passwords of a hash is cheaper than of one with these parameters."""
    return not isinstance(stored, Argon2Hash) or stored.parameters.work_kib < wanted.work_kib


def blank_hash(stored: PasswordHash) -> PasswordHash:
    """A hash that is as much work to compare with, and that nobody has a password for.

    Equal for all hashes that are equally much work, whatever their salts.
    """
    return replace(stored, salt=bytes(len(stored.salt)), digest=bytes(len(stored.digest)))


def blank_argon2_hash(parameters: Argon2Parameters) -> Argon2Hash:
    """The same of what ``make_hash`` would make."""
    return Argon2Hash(parameters, bytes(_NEW_ARGON2_BYTES), bytes(_NEW_ARGON2_BYTES))


def _parse_argon2(text: str) -> Argon2Hash:
    found = _ARGON2_FORM.fullmatch(text)
    if found is None:
        raise ValueError("a bad argon2id hash: expected $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH")
    version, memory_kib, passes, lanes = (int(number) for number in found.groups()[:4])
    if version != _ARGON2_VERSION:
        raise ValueError(f"argon2 version {version}: expected {_ARGON2_VERSION}")
    parameters = Argon2Parameters(memory_kib, passes, lanes)
    salt, digest = (_decode(part, is_padded=False) for part in found.groups()[4:])
    _check_salt(salt)
    if not ARGON2_HASH_MIN_BYTES <= len(digest) <= ARGON2_HASH_MAX_BYTES:
        raise ValueError(
            f"an argon2id hash of {len(digest)} bytes: expected {ARGON2_HASH_MIN_BYTES} to {ARGON2_HASH_MAX_BYTES}"
        )
    return Argon2Hash(parameters, salt, digest)


def _parse_pbkdf2(text: str) -> Pbkdf2Hash:
    found = _PBKDF2_FORM.fullmatch(text)
    if found is None:
        raise ValueError("a bad $7$ hash: expected $7$ITERATIONS$SALT$HASH")
    iterations = int(found[1])
    _check_iterations(iterations)
    return Pbkdf2Hash(iterations, *_checked_sha512(found[2], found[3]))


def _parse_sha512(text: str) -> Sha512Hash:
    found = _SHA512_FORM.fullmatch(text)
    if found is None:
        # crypt(3)'s has the same tag: salt and hash in another alphabet, and rounds.
        raise ValueError("a bad $6$ hash: expected $6$SALT$HASH as mosquitto_passwd writes it, which is not crypt(3)'s")
    return Sha512Hash(*_checked_sha512(found[1], found[2]))


def _checked_sha512(salt_text: str, digest_text: str) -> tuple[bytes, bytes]:
    salt, digest = _decode(salt_text), _decode(digest_text)
    _check_salt(salt)
    if len(digest) != SHA512_BYTES:
        raise ValueError(f"a SHA-512 hash of {len(digest)} bytes: expected {SHA512_BYTES}")
    return salt, digest


def _check_salt(salt: bytes) -> None:
    if not SALT_MIN_BYTES <= len(salt) <= SALT_MAX_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes: expected {SALT_MIN_BYTES} to {SALT_MAX_BYTES}")


def _check_iterations(iterations: int) -> None:
    if not 1 <= iterations <= PBKDF2_ITERATIONS_MAX:
        raise ValueError(f"{iterations} iterations: expected 1 to {PBKDF2_ITERATIONS_MAX}")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str, *, is_padded: bool = True) -> bytes:
    """What base64 says, where it is written as encoders write it: decoders take more, and differ in what."""
    padded = text if is_padded else text + "=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded, validate=True)
    except binascii.Error:
        data = b""
    if _encode(data) != padded or (not is_padded and text.endswith("=")):
        raise ValueError(f"salt or hash is not base64 {'with its' if is_padded else 'without'} padding (=)")
    return data


def _sha512(password: bytes, salt: bytes) -> bytes:
    return hashlib.sha512(password + salt).digest()


def _pbkdf2(password: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password, salt, iterations, SHA512_BYTES)


def _argon2id(password: bytes, salt: bytes, parameters: Argon2Parameters, length: int) -> bytes:
    # Imported when the first is computed: no command waits for it that has no passwords to look at.
    from argon2.exceptions import HashingError as LibraryError
    from argon2.low_level import Type, hash_secret_raw

    try:
        return hash_secret_raw(
            secret=password,
            salt=salt,
            time_cost=parameters.passes,
            memory_cost=parameters.memory_kib,
            parallelism=parameters.lanes,
            hash_len=length,
            type=Type.ID,
            version=_ARGON2_VERSION,
        )
    except LibraryError as error:
        raise HashingError(f"argon2: {error}") from None
