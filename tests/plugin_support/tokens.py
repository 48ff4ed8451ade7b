"""Keys and tokens: well-formed ones by PyJWT, and those that only an attacker would make, by hand."""

import base64
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = "a shared secret of more than sixty-four bytes, so that HS512 takes it too."
NOW = 1_800_000_000

#: The claims of a good token.
GOOD: dict[str, Any] = {"sub": "ada", "exp": NOW + 3_600}


@cache
def rsa_key(bits: int = 2_048, number: int = 0) -> rsa.RSAPrivateKey:
    """A key; another one for another number."""
    del number
    return rsa.generate_private_key(65_537, bits)


@cache
def private_key(algorithm: str) -> Any:
    """The issuer's key for an algorithm."""
    if algorithm.startswith("HS"):
        return SECRET
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {
            "ES256": ec.SECP256R1(),
            "ES384": ec.SECP384R1(),
            "ES512": ec.SECP521R1(),
        }
        return ec.generate_private_key(curves[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa_key()


def public_pem(algorithm: str) -> bytes:
    """The public half of it."""
    pem: bytes = (
        private_key(algorithm)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pem


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """The public half of an RSA, EC or Ed25519 key in a JWKS."""
    algorithms: Any = jwt.algorithms
    if isinstance(key, rsa.RSAPrivateKey):
        found = algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return {**found, **members}


def token(algorithm: str = "HS256", key: Any = None, headers: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A token with the good claims, changed; None takes one out."""
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return token_of(json.dumps(claims).encode(), algorithm, key, headers)


def token_of(payload: bytes, algorithm: str = "HS256", key: Any = None, headers: dict[str, Any] | None = None) -> bytes:
    """A signed token with these very bytes in it."""
    signed = jwt.PyJWS().encode(payload, private_key(algorithm) if key is None else key, algorithm, headers)
    return signed.encode()


def part(value: object) -> bytes:
    """One part of a token: bytes as they are, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def by_hand(header: object, payload: object, signature: bytes = b"") -> bytes:
    """A token that no library would make."""
    return b".".join((part(header), part(payload), part(signature)))
