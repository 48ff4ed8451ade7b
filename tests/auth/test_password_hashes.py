"""The hashes of password files: all three forms, from other programs and ours, and what is refused of them."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import noctule
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from noctule.auth.password_hashes import (
    ARGON2_MEMORY_MAX_KIB,
    PBKDF2_ITERATIONS_MAX,
    Argon2Hash,
    Argon2Parameters,
    HashKind,
    Pbkdf2Hash,
    Sha512Hash,
    blank_argon2_hash,
    blank_hash,
    is_weaker,
    make_hash,
    parse_hash,
)

QUICK = Argon2Parameters(memory_kib=8, passes=1)

# Written by mosquitto_passwd 2.0.11 for "secret".
SHA512 = "$6$U4C2NYSUu85dnq/0$Bk/2tFUt+iYSjd7l2A9gExvbDcArFC1ns4oNuC4rKE/XsExojWlcW85X+fe3TjNbItvb024NBWuTgyJJUSMT6A=="
PBKDF2 = (
    "$7$101$tzUqK1tw7/P2WdmH$jFTL14NM9UXAr1E99weDiZaWjuwNaSBksSviYcnB+Mq/BgfpyvaaZ/y84NjFdUHNS9wWeXEXGecZ1X8hBuQuOw=="
)
# Written by the argon2 program (Debian's argon2 0~20171227): echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1.
ARGON2 = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

SALT = base64.b64encode(b"s" * 12).decode()
DIGEST = base64.b64encode(b"d" * 64).decode()
SALT_UNPADDED = base64.b64encode(b"s" * 16).decode().rstrip("=")
DIGEST_UNPADDED = base64.b64encode(b"d" * 32).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "password", "kind"),
    [
        (SHA512, b"secret", Sha512Hash),
        (PBKDF2, b"secret", Pbkdf2Hash),
        (ARGON2, b"password", Argon2Hash),
        (PasswordHasher(1, 8, 1).hash("of argon2-cffi"), b"of argon2-cffi", Argon2Hash),
        (PasswordHasher(3, 64, 4, hash_len=64, salt_len=64).hash("é"), "é".encode(), Argon2Hash),
    ],
    ids=["sha512", "pbkdf2", "argon2", "argon2-cffi", "argon2-cffi, other sizes"],
)
def test_hashes_of_other_programs(text: str, password: bytes, kind: type) -> None:
    stored = parse_hash(text)
    assert isinstance(stored, kind)
    assert stored.matches(password)
    assert str(stored) == text
    for wrong in (b"", password + b"x", password[:-1], password.swapcase() + b"\0", password + b"x" * 70_000):
        assert not stored.matches(wrong)


@pytest.mark.parametrize("password", [b"", b"secret", b"\x00\xff", b"a" * 65_535])
@pytest.mark.parametrize("kind", HashKind)
def test_ours(kind: HashKind, password: bytes) -> None:
    made = make_hash(password, kind, argon2=QUICK, iterations=3)
    assert made.matches(password)
    assert not made.matches(password + b"x")
    assert parse_hash(str(made)) == made
    assert str(made) != str(make_hash(password, kind, argon2=QUICK, iterations=3)), "the salt is not fresh"


def test_argon2_cffi_reads_ours() -> None:
    assert PasswordHasher().verify(str(make_hash(b"secret")), "secret")


def test_the_default_is_what_the_documentation_says() -> None:
    assert str(make_hash(b"secret")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert str(make_hash(b"secret", HashKind.SHA512_PBKDF2)).startswith("$7$210000$")


BAD = [
    ("", "no hash: expected one that begins with $argon2id$, $7$ or $6$"),
    ("plain", "no hash: "),
    ("$", "unknown kind of hash: "),
    ("$5$rounds=5000$abc$def", "unknown kind of hash: "),
    ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + DIGEST_UNPADDED, "unknown kind of hash: "),
    ("$6$", "a bad $6$ hash: "),
    ("$6$rounds=5000$usesomesillystri$" + "a" * 86, "a bad $6$ hash: "),
    ("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1", "salt or "),
    (f"$6${SALT}${DIGEST}$", "a bad $6$ hash: "),
    (f"$6${SALT}${DIGEST}:comment", "a bad $6$ hash: "),
    (f"$6${SALT}${DIGEST}\n", "a bad $6$ hash: "),
    (f"$6${SALT}${base64.b64encode(b'd' * 63).decode()}", "a SHA-512 hash of 63 bytes: expected 64"),
    (f"$6${base64.b64encode(b's' * 7).decode()}${DIGEST}", "a salt of 7 bytes: expected 8 to 128"),
    (f"$6${base64.b64encode(b's' * 129).decode()}${DIGEST}", "a salt of 129 bytes: expected 8 to 128"),
    (f"$6${SALT}=${DIGEST}", "salt or hash is not base64 with its padding (=)"),
    (f"$6${SALT}${DIGEST.rstrip('=')}", "salt or hash is not base64 with its padding (=)"),
    (f"$7$0${SALT}${DIGEST}", "0 iterations: expected 1 to 1000000"),
    (f"$7$1000001${SALT}${DIGEST}", "1000001 iterations: expected 1 to 1000000"),
    (f"$7$99999999999${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7$-1${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7$+1${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7$01${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7$1_0${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7$١${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$7${SALT}${DIGEST}", "a bad $7$ hash: "),
    (f"$argon2id$m=8,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "a bad argon2id hash: "),
    (f"$argon2id$v=19$t=1,m=8,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "a bad argon2id hash: "),
    (f"$argon2id$v=16$m=8,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 version 16: expected 19"),
    (f"$argon2id$v=19$m=7,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 7 KiB of memory: expected 8 to "),
    (f"$argon2id$v=19$m=15,t=1,p=2${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 15 KiB of memory: expected 16 "),
    (f"$argon2id$v=19$m=262145,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 262145 KiB of memory: "),
    (f"$argon2id$v=19$m=4294967295,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 4294967295 KiB of "),
    (f"$argon2id$v=19$m=8,t=0,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 makes at least 1 pass"),
    (f"$argon2id$v=19$m=8,t=4294967295,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 4294967295 passes over 8"),
    (f"$argon2id$v=19$m=8,t=1,p=0${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 0 lanes: expected 1 to 16"),
    (f"$argon2id$v=19$m=8192,t=1,p=17${SALT_UNPADDED}${DIGEST_UNPADDED}", "argon2 with 17 lanes: expected 1 to 16"),
    (f"$argon2id$v=19$m=8,t=1,p=1$c2FsdA${DIGEST_UNPADDED}", "a salt of 4 bytes: expected 8 to 128"),
    (f"$argon2id$v=19$m=8,t=1,p=1${SALT_UNPADDED}$c2FsdA", "an argon2id hash of 4 bytes: expected 16 to 128"),
    (
        f"$argon2id$v=19$m=8,t=1,p=1${SALT_UNPADDED}==${DIGEST_UNPADDED}",
        "salt or hash is not base64 without padding (=)",
    ),
    (
        f"$argon2id$v=19$m=8,t=1,p=1${SALT_UNPADDED}AAA${DIGEST_UNPADDED}",
        "salt or hash is not base64 without padding (=)",
    ),
    ("$6$" + "A" * 1_000_000, "a hash of 1000003 characters: expected at most 512"),
]


@pytest.mark.parametrize(("text", "error"), BAD, ids=range(len(BAD)))
def test_bad_hashes(text: str, error: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        parse_hash(text)
    assert str(raised.value).startswith(error)
    assert DIGEST_UNPADDED not in str(raised.value)
    assert DIGEST not in str(raised.value)


@given(st.sampled_from([text for text, _ in BAD[:-1]] + [SHA512, PBKDF2, ARGON2]), st.data())
def test_any_text_is_a_hash_within_bounds_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 12, len(text))))
    changed = text[:start] + data.draw(st.text("$=,0123456789abcmtpv", max_size=8) | st.text(max_size=4)) + text[end:]
    try:
        stored = parse_hash(changed)
    except ValueError:
        return
    match stored:
        case Pbkdf2Hash():
            assert 1 <= stored.iterations <= PBKDF2_ITERATIONS_MAX
        case Argon2Hash():
            assert stored.parameters.memory_kib <= ARGON2_MEMORY_MAX_KIB
            assert stored.parameters.work_kib <= 1024 * 1024
    assert parse_hash(str(stored)) == stored


def test_iterations_out_of_bounds_are_not_made() -> None:
    for iterations in (0, -1, PBKDF2_ITERATIONS_MAX + 1):
        with pytest.raises(ValueError, match="iterations"):
            make_hash(b"x", HashKind.SHA512_PBKDF2, iterations=iterations)


def test_blank_hashes_tell_the_work_and_nothing_else() -> None:
    one, other = (make_hash(b"x", argon2=QUICK) for _ in range(2))
    assert blank_hash(one) == blank_hash(other) == blank_argon2_hash(QUICK)
    assert blank_hash(one) != blank_hash(make_hash(b"x", argon2=Argon2Parameters(16, 1)))
    assert blank_hash(parse_hash(PBKDF2)) != blank_hash(parse_hash(PBKDF2.replace("101", "102")))
    assert not blank_hash(parse_hash(SHA512)).matches(b"secret")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHA512, True),
        (PBKDF2.replace("$101$", "$1000000$"), True),
        (f"$argon2id$v=19$m=19456,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", True),
        (f"$argon2id$v=19$m=19456,t=2,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", False),
        (f"$argon2id$v=19$m=47104,t=1,p=1${SALT_UNPADDED}${DIGEST_UNPADDED}", False),  # as Mosquitto 2.1 writes it
    ],
)
def test_what_is_weaker_than_the_default(text: str, expected: bool) -> None:
    assert is_weaker(parse_hash(text), Argon2Parameters()) is expected


def test_no_secret_in_what_is_shown() -> None:
    for text in (SHA512, PBKDF2, ARGON2):
        shown = repr(parse_hash(text))
        assert not any(part in shown for part in text.split("$") if len(part) > 10), shown


def test_nothing_waits_for_argon2_that_has_no_passwords() -> None:
    """The start of every command, and of the broker: its import takes longer than theirs."""
    code = "import sys, noctule.api, noctule.cli.main, noctule.plugins.password_file; sys.exit('argon2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(noctule.__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=30).returncode == 0
