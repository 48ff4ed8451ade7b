"""The work for users that do not exist: of which kind, how often, and the same each time."""

from collections import Counter

from noctule.auth.password_hashes import (
    Argon2Hash,
    Argon2Parameters,
    HashKind,
    Pbkdf2Hash,
    Sha512Hash,
    make_hash,
)
from noctule.auth.unknown_users import UnknownUsers

QUICK = Argon2Parameters(8, 1)
SHA512 = make_hash(b"x", HashKind.SHA512)
PBKDF2 = make_hash(b"x", HashKind.SHA512_PBKDF2, iterations=1)
ARGON2 = make_hash(b"x", argon2=QUICK)


def kinds(unknown: UnknownUsers) -> dict[type, int]:
    return Counter(type(unknown.hash_of(f"user {number}")) for number in range(1_000))


def test_without_users_the_work_is_the_default() -> None:
    stored = UnknownUsers(QUICK).hash_of("alice")
    assert isinstance(stored, Argon2Hash)
    assert stored.parameters == QUICK


def test_kinds_are_as_frequent_as_among_the_users() -> None:
    unknown = UnknownUsers(QUICK, [SHA512, PBKDF2, PBKDF2, PBKDF2], b"always the same secret")
    found = kinds(unknown)
    assert found.keys() == {Sha512Hash, Pbkdf2Hash}
    assert 200 < found[Sha512Hash] < 300  # 250, standard deviation 14
    again = UnknownUsers(QUICK, [SHA512, PBKDF2, PBKDF2, PBKDF2], b"always the same secret")
    assert all(unknown.hash_of(str(number)) == again.hash_of(str(number)) for number in range(100))


def test_a_secret_of_its_own() -> None:
    one, other = (UnknownUsers(QUICK, [SHA512, PBKDF2]) for _ in range(2))
    assert any(one.hash_of(str(number)) != other.hash_of(str(number)) for number in range(100))


def test_a_user_gets_another_hash() -> None:
    unknown = UnknownUsers(QUICK, [SHA512, PBKDF2])
    unknown.replace(SHA512, ARGON2)
    assert kinds(unknown).keys() == {Argon2Hash, Pbkdf2Hash}
    unknown.replace(PBKDF2, ARGON2)
    assert kinds(unknown) == {Argon2Hash: 1_000}


def test_its_hashes_are_nobodys() -> None:
    unknown = UnknownUsers(QUICK, [SHA512, PBKDF2, ARGON2])
    assert not any(unknown.hash_of(str(number)).matches(b"x") for number in range(30))
