"""The keys that tokens are verified with: which algorithm may use which key, and sets of keys by their names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from noctule.plugins.web.strict_json import JsonError, parse_object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

#: Keys of one set. Providers have a handful; beyond it something else was fetched.
KEYS_MAX: Final = 100

#: Bits of an RSA key: fewer can be broken, more only cost time.
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192

#: RSA keys beyond this are verified in a thread: a quarter of a millisecond each, and longer.
_RSA_BITS_QUICK: Final = 4_096


class Algorithm(Enum):
    """How tokens may be signed (RFC 7518, RFC 8037)."""

    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"

    @property
    def is_symmetric(self) -> bool:
        """Whether who can verify a token can make one as well."""
        return self.value.startswith("HS")

    @property
    def secret_bytes_min(self) -> int:
        """The shortest secret (RFC 7518, 3.2)."""
        return int(self.value[2:]) // 8


_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key, and what it is for."""

    #: A public key, or the bytes of a shared secret.
    key: Any = field(repr=False)

    algorithms: frozenset[str]

    #: Whether verifying takes so long that a thread should do it.
    is_slow: bool = False


def secret_key(secret: bytes, algorithms: Iterable[Algorithm]) -> TokenKey:
    """The key of a shared secret. ValueError, with what to do, where it is too short or no secret at all."""
    if b"-----BEGIN " in secret:
        raise ValueError("the secret is a PEM file: a public key is named by public_key")
    wanted = [one for one in algorithms if one.is_symmetric]
    for algorithm in wanted:
        if len(secret) < algorithm.secret_bytes_min:
            raise ValueError(
                f"the secret has {len(secret)} bytes: {algorithm.value} needs {algorithm.secret_bytes_min} at least"
                " (openssl rand -hex 32 makes one of 64)"
            )
    return TokenKey(secret, frozenset(one.value for one in wanted))


def public_key(pem: bytes) -> TokenKey:
    """The key of a PEM file. ValueError, with what to do, where it has none that is usable."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY-----" in pem:
        raise ValueError("it has a private key, which the broker must not have: openssl pkey -in FILE -pubout")
    if b"-----BEGIN CERTIFICATE-----" in pem:
        raise ValueError("it has a certificate: openssl x509 -in FILE -noout -pubkey shows its public key")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError('it has no public key in PEM form ("-----BEGIN PUBLIC KEY-----")') from None
    return _token_key(key)


def _token_key(key: "PublicKeyTypes") -> TokenKey:
    """ValueError for keys that no algorithm of ours uses."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise ValueError(f"an RSA key of {key.key_size} bits: expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")
        names = [one.value for one in Algorithm if one.value[:2] in ("RS", "PS")]
        return TokenKey(key, frozenset(names), is_slow=key.key_size > _RSA_BITS_QUICK)
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = [name for name, curve in _CURVES.items() if curve == key.curve.name]
        if not names:
            raise ValueError(f"a key on the curve {key.curve.name}: expected {', '.join(_CURVES.values())}")
        return TokenKey(key, frozenset(names), is_slow=names != ["ES256"])
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return TokenKey(key, frozenset((Algorithm.EDDSA.value,)), is_slow=isinstance(key, ed448.Ed448PublicKey))
    raise ValueError("a key that is neither RSA, nor on an elliptic curve, nor Ed25519 or Ed448")


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys with names. ``kid`` of a token is looked up here and used for nothing else."""

    named: Mapping[str, TokenKey] = field(default_factory=dict)
    nameless: tuple[TokenKey, ...] = ()

    def __len__(self) -> int:
        return len(self.named) + len(self.nameless)

    def find(self, kid: str | None, algorithm: str) -> TokenKey | None:
        """The key of this name, if it is for the algorithm; without a name the only one that is. None otherwise."""
        if kid is not None and kid in self.named:
            key = self.named[kid]
            return key if algorithm in key.algorithms else None
        # A set of one key often has no names, and its issuer may still write some into tokens.
        candidates = self.nameless if kid is not None else (*self.named.values(), *self.nameless)
        fitting = [key for key in candidates if algorithm in key.algorithms]
        return fitting[0] if len(fitting) == 1 else None


def read_key_set(data: bytes) -> tuple[KeySet, list[str]]:
    """The keys of a JWKS (RFC 7517), and what is wrong with those that were left out. ValueError, its writer's fault,
    where it is none, or none of its keys can be used.

    Left out are keys that are not for signatures, and symmetric ones: a secret has no place in a public list.
    """
    keys = parse_object(data).get("keys")
    if not isinstance(keys, list) or not keys:
        raise JsonError('it is no JWKS: expected an object with an array "keys"')
    if len(keys) > KEYS_MAX:
        raise JsonError(f"it has more than {KEYS_MAX} keys")
    named: dict[str, TokenKey] = {}
    nameless: list[TokenKey] = []
    problems: list[str] = []
    for index, value in enumerate(keys):
        try:
            kid, key = _read_key(value)
            if kid is not None and kid in named:
                raise JsonError("another key has the same kid")
        except ValueError as error:
            problems.append(f"keys[{index}]: {error}")
            continue
        if kid is None:
            nameless.append(key)
        else:
            named[kid] = key
    if not named and not nameless:
        raise JsonError(f"none of its keys can be used ({problems[0]})")
    return KeySet(named, tuple(nameless)), problems


def _read_key(value: object) -> tuple[str | None, TokenKey]:
    import jwt

    if not isinstance(value, dict):
        raise JsonError("not an object")
    members: dict[str, Any] = value
    kid, use, bound = members.get("kid"), members.get("use"), members.get("alg")
    if kid is not None and not isinstance(kid, str):
        raise JsonError("kid is not a text")
    if use is not None and use != "sig":
        raise JsonError("not for signatures")
    operations = members.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise JsonError("not for verifying")
    if members.get("kty") not in ("RSA", "EC", "OKP"):
        raise JsonError("kty is none of RSA, EC and OKP")
    if "d" in members:
        raise JsonError("a private key, which nobody should publish")
    try:
        made = jwt.PyJWK(members, algorithm=_any_algorithm(members)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise JsonError(f"not a usable key ({type(error).__name__})") from None
    key = _token_key(made)
    if bound is None:
        return kid, key
    if not isinstance(bound, str) or bound not in key.algorithms:
        raise JsonError("alg is not one of such a key")
    return kid, TokenKey(key.key, frozenset((bound,)), key.is_slow)


def _any_algorithm(members: Mapping[str, Any]) -> str:
    """One that reads such a key; which ones may use it is decided from what was read."""
    if members["kty"] == "EC":
        return {"P-384": "ES384", "P-521": "ES512"}.get(str(members.get("crv")), "ES256")
    return "RS256" if members["kty"] == "RSA" else "EdDSA"
