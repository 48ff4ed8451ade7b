"""The files that brokers are given: passwords, access rules, a certificate. Both brokers read the same ones."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Final

#: The users of the load generator: user0 with "password 0", and so on.
USERS: Final = 100
ARGON2_USERS: Final = 20
_PBKDF2_ROUNDS: Final = 101  # what mosquitto_passwd takes


def _pbkdf2_line(user_name: str, password: str) -> str:
    salt = hashlib.sha256(user_name.encode()).digest()[:12]
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PBKDF2_ROUNDS)
    return f"{user_name}:$7${_PBKDF2_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@functools.cache
def passwords() -> str:
    """A password file as mosquitto_passwd writes it, with PBKDF2."""
    return "".join(_pbkdf2_line(f"user{number}", f"password {number}") + "\n" for number in range(USERS))


@functools.cache
def argon2_passwords() -> str:
    """A password file with argon2id, of argon2-cffi's own strength."""
    import argon2  # only this set-up needs it

    hasher = argon2.PasswordHasher()
    return "".join(f"user{number}:{hasher.hash(f'password {number}')}\n" for number in range(ARGON2_USERS))


@functools.cache
def access_rules(count: int) -> str:
    """An ACL file with so many rules for everybody, of which the last allows what the benchmarks do."""
    lines = []
    for number in range(count - 2):
        kind = ("read", "write", "readwrite")[number % 3]
        topic = (f"plant/{number}/+/state", f"site/{number}/#", f"bench/{number}/other", f"+/{number}/set")[number % 4]
        lines.append(f"topic {kind} {topic}")
    return "\n".join([*lines, "topic readwrite bench/#", "topic readwrite site/+/line/#"]) + "\n"


@functools.cache
def certificate() -> tuple[bytes, bytes, bytes]:
    """A new authority, and a certificate (P-256) for localhost: the chain, the key, the authority, in PEM."""
    import trustme  # only TLS needs it

    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    return chain, server.private_key_pem.bytes(), authority.cert_pem.bytes()


def write_fixtures(folder: Path, setup: str) -> None:
    """Write what a set-up needs into the folder."""
    if setup in ("password", "hashing"):
        (folder / "passwords").write_text(passwords())
    elif setup == "hashing-argon2":
        (folder / "passwords-argon2").write_text(argon2_passwords())
    elif setup.startswith("access-"):
        count = int(setup.removeprefix("access-"))
        (folder / f"access-{count}.acl").write_text(access_rules(count))
    elif setup in ("tls", "wss"):
        chain, key, authority = certificate()
        (folder / "server.crt").write_bytes(chain)
        (folder / "server.key").write_bytes(key)
        (folder / "ca.crt").write_bytes(authority)
    for path in folder.iterdir():
        path.chmod(0o600)
