"""Jwt: good tokens, bad tokens, tokens of attackers, and keys that are none."""

import hashlib
import hmac
import json
import logging
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule.api import Allow, Deny, PluginError, Settings
from noctule.plugins.jwt import Jwt, JwtConfig
from plugin_support.served import checked, client, shown
from plugin_support.tokens import (
    GOOD,
    NOW,
    SECRET,
    by_hand,
    jwk,
    part,
    private_key,
    public_pem,
    rsa_key,
    token,
    token_of,
)

HS: dict[str, object] = {"algorithms": ["HS256"], "secret": SECRET}


def made(**table: object) -> Jwt:
    config = checked(dict(table) if "algorithms" in table else {**HS, **table}, JwtConfig)
    assert isinstance(config, JwtConfig), config
    return Jwt(config, wall_clock=lambda: NOW)


def answer_of(plugin: Jwt, password: bytes | None, user_name: str | None = "ada", client_id: str = "c1") -> Any:
    return trio.run(plugin.authenticate, client(client_id, user_name), shown(user_name, password))


def refused(plugin: Jwt, password: bytes, user_name: str | None = "ada", client_id: str = "c1") -> str:
    answer = answer_of(plugin, password, user_name, client_id)
    assert isinstance(answer, Deny), answer
    return answer.why


def in_file(folder: Path, content: bytes | str) -> str:
    path = folder / "keys"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# --- good tokens -------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret(algorithm: str) -> None:
    plugin = made(algorithms=[algorithm], secret=SECRET)
    assert answer_of(plugin, token(algorithm)) == Allow(user_name="ada", expires_at=GOOD["exp"] + 10)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_public_keys(algorithm: str, tmp_path: Path) -> None:
    file = in_file(tmp_path, public_pem(algorithm))
    plugin = made(algorithms=[algorithm], public_key=file)
    assert isinstance(answer_of(plugin, token(algorithm)), Allow)
    assert isinstance(answer_of(plugin, token(algorithm, headers={"kid": "any"})), Allow)
    other = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else None
    if other is not None:
        assert refused(plugin, token(algorithm, other)) == "jwt: InvalidSignatureError"
    file = in_file(tmp_path, json.dumps({"keys": [jwk(private_key(algorithm), kid="one")]}))
    plugin = made(algorithms=[algorithm], jwks_file=file)
    assert isinstance(answer_of(plugin, token(algorithm, headers={"kid": "one"})), Allow)
    assert isinstance(answer_of(plugin, token(algorithm)), Allow)  # there is only one that it can be
    assert refused(plugin, token(algorithm, headers={"kid": "two"})) == "jwt: no key for it is known"


def test_a_large_key_is_used_in_a_thread(tmp_path: Path) -> None:
    key = rsa_key(6_144)
    plugin = made(algorithms=["RS256"], jwks_file=in_file(tmp_path, json.dumps({"keys": [jwk(key)]})))
    assert isinstance(answer_of(plugin, token("RS256", key)), Allow)
    assert refused(plugin, token("RS256", rsa_key())) == "jwt: InvalidSignatureError"


def test_the_name_of_a_key_chooses_it(tmp_path: Path) -> None:
    keys = [jwk(rsa_key(number=number), kid=f"k{number}") for number in range(3)]
    plugin = made(algorithms=["RS256"], jwks_file=in_file(tmp_path, json.dumps({"keys": keys})))
    for number in range(3):
        good = token("RS256", rsa_key(number=number), {"kid": f"k{number}"})
        assert isinstance(answer_of(plugin, good), Allow)
        bad = token("RS256", rsa_key(number=number), {"kid": f"k{(number + 1) % 3}"})
        assert refused(plugin, bad) == "jwt: InvalidSignatureError"
    assert refused(plugin, token("RS256", rsa_key(number=0))) == "jwt: no key for it is known"


def test_the_token_may_be_the_user_name() -> None:
    plugin = made(token_in="user_name")
    assert isinstance(answer_of(plugin, None, token().decode()), Allow)
    assert answer_of(plugin, token(), "ada") is None
    assert isinstance(answer_of(plugin, b"anything", token(sub="x").decode()), Allow)


@pytest.mark.parametrize("name", ["ada", "Ädä Løvelace", "数据", "a/b", "x" * 4_000, "🦇", "a b\n"])
def test_user_names(name: str) -> None:
    for user_name in (name, None, ""):
        answer = answer_of(made(), token(sub=name), user_name)
        assert isinstance(answer, Allow)
        assert answer.user_name == name


def test_another_claim_may_have_the_user_name() -> None:
    plugin = made(user_claim="preferred_username")
    answer = answer_of(plugin, token(sub="4711", preferred_username="ada"))
    assert isinstance(answer, Allow)
    assert answer.user_name == "ada"
    assert "no user name" in refused(plugin, token())


def test_the_user_name_must_be_the_tokens() -> None:
    assert refused(made(), token(), "bob") == "jwt: it is another user's"
    assert refused(made(), token(sub="é"), "e\u0301") == "jwt: it is another user's"
    answer = answer_of(made(match_user_name=False), token(), "bob")
    assert isinstance(answer, Allow)
    assert answer.user_name == "ada"


@pytest.mark.parametrize(
    ("claim", "client_id", "let_in"),
    [
        ("c1", "c1", True),
        (["c0", "c1"], "c1", True),
        ("c1", "c10", False),
        ("c10", "c1", False),
        (["c0"], "c1", False),
        ([], "c1", False),
        ("", "", False),
        ([""], "", False),
        (["c1", 7], "c1", False),
        ({"c1": True}, "c1", False),
        (None, "c1", False),
        (True, "c1", False),
    ],
)
def test_client_identifiers(claim: object, client_id: str, let_in: bool) -> None:
    answer = answer_of(made(client_id_claim="cid"), token(cid=claim), client_id=client_id)
    assert isinstance(answer, Allow if let_in else Deny)


# --- what is no token, and what is a bad one ---------------------------------------------


@pytest.mark.parametrize(
    "password",
    [None, b"", b"secret", b"a.b", b"a.b.c", b"my.pass.word", b"e.f.g", b"ey", b"eyJ9", b"ey.a", b"ey..a.b",
     b"eyJ.a.b\n", b" eyJ.a.b", b"eyJ.a b.c", b"\xff.\xff.\xff", "eyé.a.b".encode(), b"x" * 60_000, b"eyJ" * 20_000],
)  # fmt: skip
def test_what_does_not_look_like_a_token_is_left_to_others(password: bytes | None) -> None:
    assert answer_of(made(), password) is None


def _hs256_with(key: bytes, header: object = None) -> bytes:
    signed = part({"alg": "HS256", "typ": "JWT"} if header is None else header) + b"." + part(GOOD)
    return signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))


def _other_characters(good: bytes) -> bytes:
    """The same signature in other characters: the last one of a base64url text has bits that do not count."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return good[:-1] + bytes([alphabet[alphabet.index(good[-1]) ^ 1]])


def bad_tokens() -> list[tuple[str, bytes, str]]:
    good = token()
    head, body, signature = good.split(b".")
    changed = part({**GOOD, "sub": "root"})
    return [
        ("no algorithm", by_hand({"typ": "JWT"}, GOOD, b"x"), "another way"),
        ("none", by_hand({"alg": "none"}, GOOD), "another way"),
        ("None", by_hand({"alg": "None"}, GOOD), "another way"),
        ("none, signed", part({"alg": "none"}) + b"." + body + b"." + signature, "another way"),
        ("alg of a wrong type", by_hand({"alg": ["HS256"]}, GOOD), "another way"),
        ("alg null", by_hand({"alg": None}, GOOD), "another way"),
        ("another HS", token("HS512"), "another way"),
        ("RS", token("RS256"), "another way"),
        ("another secret", _hs256_with(b"x" * 32), "InvalidSignatureError"),
        ("an empty secret", _hs256_with(b""), "InvalidSignatureError"),
        ("alg twice", _hs256_with(SECRET.encode(), b'{"alg":"HS256","alg":"none"}'), "another way"),
        ("changed claims", b".".join((head, changed, signature)), "InvalidSignatureError"),
        ("truncated", good[:-1], ""),
        ("truncated much", good[:-20], ""),
        ("no signature", head + b"." + body + b".", ""),
        ("no claims", head + b".." + signature, "InvalidSignatureError"),
        ("other characters", _other_characters(good), ""),
        ("header cut", b"eyJ.e30.e30", "header"),
        ("header is not UTF-8", part(b'{"alg":"HS256\xff"}') + b"." + body + b"." + signature, "header"),
        ("kid is a number", _hs256_with(SECRET.encode(), {"alg": "HS256", "kid": 7}), ""),
        ("b64", _hs256_with(SECRET.encode(), {"alg": "HS256", "b64": False, "crit": ["b64"]}), ""),
        ("crit", _hs256_with(SECRET.encode(), {"alg": "HS256", "crit": ["exp"]}), ""),
        ("expired", token(exp=NOW - 10), "expired"),
        ("expired long ago", token(exp=0), "expired"),
        ("no end", token(exp=None), "lacks the claim exp"),
        ("null end", token_of(b'{"sub": "ada", "exp": null}'), "lacks the claim exp"),
        ("end is a text", token(exp=str(NOW + 60)), "claim exp is not"),
        ("end is true", token(exp=True), "claim exp is not"),
        ("end is a list", token(exp=[NOW + 60]), "claim exp is not"),
        ("end in milliseconds", token(exp=(NOW + 60) * 1_000), "claim exp is not"),
        ("end is infinite", token_of(b'{"sub": "ada", "exp": Infinity}'), "DecodeError"),
        ("end is beyond all", token_of(b'{"sub": "ada", "exp": 1e999}'), "DecodeError"),
        ("end has many digits", token_of(b'{"sub": "ada", "exp": ' + b"9" * 5_000 + b"}"), "DecodeError"),
        ("end is negative", token(exp=-1), "claim exp is not"),
        ("not yet", token(nbf=NOW + 11), "not valid yet (nbf)"),
        ("issued later", token(iat=NOW + 11), "not valid yet (iat)"),
        ("nbf is a text", token(nbf="0"), "claim nbf is not"),
        ("an audience that nobody expects", token(aud="web"), "InvalidAudienceError"),
        ("no user", token(sub=None), "no user name"),
        ("user is a number", token(sub=7), "InvalidSubjectError"),
        ("user is a list", token(sub=["ada"]), "InvalidSubjectError"),
        ("user is empty", token(sub=""), "no user name"),
        ("user with U+0000", token(sub="a\0"), "no user name"),
        ("user with half a character", token_of(b'{"sub": "\\ud800", "exp": 1900000000}'), "no user name"),
        ("claims twice", token_of(b'{"sub": "ada", "sub": "root", "exp": 1900000000}'), "DecodeError"),
        ("exp twice", token_of(b'{"sub": "ada", "exp": 1, "exp": 1900000000}'), "DecodeError"),
        ("claims are a list", token_of(b'["sub", "ada"]'), "DecodeError"),
        ("claims are not JSON", token_of(b"sub=ada"), "DecodeError"),
        ("claims in UTF-16", token_of(json.dumps(GOOD).encode("utf-16")), "DecodeError"),
        ("a token in a token", token_of(token(), headers={"cty": "JWT"}), "DecodeError"),
        ("a megabyte", token(x="y" * 1_000_000), "bytes"),
        ("a megabyte of header", b"e" + b"y" * 1_000_000 + b".e30.e30", "bytes"),
    ]  # fmt: skip


BAD = bad_tokens()


@pytest.mark.parametrize(("password", "why"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_tokens(password: bytes, why: str) -> None:
    assert why in refused(made(), password, None)


def test_deep_nesting_breaks_nothing() -> None:
    """How deep is too deep is the interpreter's choice; whoever has the issuer's key may try."""
    deep = b"[" * 2_500 + b"]" * 2_500
    assert isinstance(answer_of(made(), by_hand(b'{"a":' + deep + b"}", GOOD)), Deny)
    signed = token_of(b'{"sub": "ada", "exp": 1900000000, "x": ' + deep + b"}")
    assert isinstance(answer_of(made(), signed), Allow | Deny)
    signed = token_of(b'{"sub": "ada", "exp": 1900000000, "mqtt": ' + deep + b"}")
    assert isinstance(answer_of(made(), signed), Deny)


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """The classic: HS256 with the bytes of the public key, which everybody has, as the secret."""
    pem = public_pem("RS256")
    public = private_key("RS256").public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    as_pem = made(algorithms=["RS256"], public_key=in_file(tmp_path, pem))
    keys = {"keys": [jwk(rsa_key(), kid="one")]}
    as_jwks = made(algorithms=["RS256"], jwks_file=in_file(tmp_path, json.dumps(keys)))
    for plugin in (as_pem, as_jwks):
        for key in (pem, pem.strip(), der, json.dumps(keys["keys"][0]).encode(), b""):
            for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": "one"}, {"alg": "RS256"}):
                assert isinstance(answer_of(plugin, _hs256_with(key, header)), Deny)


def test_an_algorithm_takes_only_its_own_keys(tmp_path: Path) -> None:
    keys = [jwk(rsa_key(), kid="rsa", alg="PS256"), jwk(private_key("ES256"), kid="ec")]
    plugin = made(algorithms=["RS256", "PS256", "ES256"], jwks_file=in_file(tmp_path, json.dumps({"keys": [
        *keys, jwk(rsa_key(number=1), kid="free")]})))  # fmt: skip
    assert isinstance(answer_of(plugin, token("PS256", headers={"kid": "rsa"})), Allow)
    assert refused(plugin, token("RS256", headers={"kid": "rsa"})) == "jwt: no key for it is known"
    assert refused(plugin, token("RS256", headers={"kid": "ec"})) == "jwt: no key for it is known"
    assert refused(plugin, token("ES256", headers={"kid": "rsa"})) == "jwt: no key for it is known"


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "/dev/null", "https://evil.example/k", "k'; --", "\0", "", "k" * 3_000]
)
def test_the_name_of_a_key_is_only_looked_up(kid: str, tmp_path: Path) -> None:
    file = in_file(tmp_path, json.dumps({"keys": [jwk(rsa_key(), kid="one")]}))
    plugin = made(algorithms=["RS256"], jwks_file=file)
    headers = {"kid": kid, "jku": "https://evil.example/keys", "jwk": jwk(rsa_key(number=1)), "x5u": "file:///x"}
    assert refused(plugin, token("RS256", rsa_key(number=1), headers)).startswith("jwt: ")
    assert refused(plugin, token("RS256", rsa_key(number=1), {**headers, "kid": "one"})) == "jwt: InvalidSignatureError"


@pytest.mark.parametrize(
    ("claims", "let_in"),
    [
        ({"iss": "https://id.example/", "aud": "mqtt", "tenant": "x"}, True),
        ({"iss": "https://id.example/", "aud": ["web", "mqtt2"], "tenant": "x"}, True),
        ({"iss": "https://id.example", "aud": "mqtt", "tenant": "x"}, False),
        ({"iss": ["https://id.example/"], "aud": "mqtt", "tenant": "x"}, False),
        ({"aud": "mqtt", "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": "web", "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": "mqt", "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": [], "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": ["mqtt", 7], "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": {"mqtt": 1}, "tenant": "x"}, False),
        ({"iss": "https://id.example/", "tenant": "x"}, False),
        ({"iss": "https://id.example/", "aud": "mqtt"}, False),
    ],
)
def test_issuer_audience_and_required_claims(claims: dict[str, Any], let_in: bool) -> None:
    plugin = made(issuer="https://id.example/", audience=["mqtt", "mqtt2"], required_claims=["tenant"])
    assert isinstance(answer_of(plugin, token(**claims)), Allow if let_in else Deny)


def test_clocks_may_differ() -> None:
    plugin = made(leeway="10s")
    for claims in ({"exp": NOW - 9}, {"nbf": NOW + 10}, {"iat": NOW + 10}, {"exp": NOW + 0.5}):
        answer = answer_of(plugin, token(**claims))
        assert isinstance(answer, Allow)
        assert answer.expires_at == claims.get("exp", GOOD["exp"]) + 10
    assert isinstance(answer_of(made(leeway="0s"), token(exp=NOW)), Deny)


def test_a_token_without_an_end_where_that_is_wanted() -> None:
    answer = answer_of(made(require_expiry=False), token(exp=None))
    assert isinstance(answer, Allow)
    assert answer.expires_at is None
    assert isinstance(answer_of(made(require_expiry=False), token(exp=NOW - 60)), Deny)


# --- rules of access ---------------------------------------------------------------------


def test_rules() -> None:
    rules = {"publish": ["plant/%c/#", "all"], "subscribe": ["user/%u/#"]}
    answer = answer_of(made(), token(mqtt=rules), None)
    assert isinstance(answer, Allow)
    access = answer.access
    assert access is not None
    assert access.publish_right("plant/c1/x") is not None
    assert access.publish_right("plant/c2/x") is None
    assert access.publish_right("user/ada/x") is None
    assert access.subscribe_qos_max("user/ada/#", None) == 2
    assert access.may_receive("user/ada/x")
    assert not access.may_receive("all")


def test_receiving_may_be_less_than_subscribing() -> None:
    answer = answer_of(made(), token(mqtt={"subscribe": ["#"], "receive": ["mine/#"]}))
    assert answer.access.subscribe_qos_max("#", None) == 2
    assert answer.access.may_receive("mine/x")
    assert not answer.access.may_receive("other")
    answer = answer_of(made(), token(mqtt={"receive": ["mine/#"]}))
    assert answer.access.subscribe_qos_max("mine/#", None) == 2


def test_without_rules_others_are_asked() -> None:
    assert answer_of(made(), token()).access is None
    assert answer_of(made(access_claim=""), token(mqtt={"publish": ["#"]})).access is None
    assert answer_of(made(), token(mqtt={})).access.publish_right("a") is None  # rules that allow nothing are rules


@pytest.mark.parametrize(
    "rules",
    ["#", 7, True, False, {"publish": "#"}, {"publish": [7]}, {"publish": [""]}, {"publish": ["a/#/b"]},
     {"publish": ["a+"]}, {"publish": ["a\0"]}, {"publish": [["#"]]}, {"publish": [None]}, {"Publish": ["#"]},
     {"publish": ["a"], "deny": ["b"]}, {"publish": None}, ["#"], [{"topic": "#", "actions": "publish"}],
     [{"topic": "#", "actions": ["all"]}], [{"topic": "#", "actions": []}], [{"topic": "#", "allow": 1}],
     [{"topic": "#", "qos_max": True}], [{"topic": "#", "retain": None}], [{"actions": ["publish"]}],
     [{"topic": "#", "unless": "x"}], {"publish": ["a"] * 1_001}],
)  # fmt: skip
def test_rules_that_are_none_let_nobody_in(rules: object) -> None:
    assert "its rules of access cannot be used" in refused(made(), token(mqtt=rules))


def test_rules_of_null_let_nobody_in() -> None:
    assert "rules" in refused(made(), token_of(b'{"sub": "ada", "exp": 1900000000, "mqtt": null}'))


# --- configuration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"secret": SECRET}, '"algorithms" is missing'),
        ({"algorithms": [], "secret": SECRET}, '"algorithms" is empty'),
        ({"algorithms": ["none"], "secret": SECRET}, 'expected one of "HS256"'),
        ({"algorithms": ["HS256"]}, "expected one of secret, public_key, jwks_file, jwks_url; got none"),
        ({**HS, "public_key": "x"}, "got secret, public_key"),
        ({"algorithms": ["RS256", "HS256"], "public_key": "x"}, 'the algorithm "HS256" needs a secret, not public_key'),
        ({"algorithms": ["RS256"], "secret": SECRET}, 'the algorithm "RS256" needs a public key, not secret'),
        ({"algorithms": ["HS256"], "jwks_url": "https://id.example/"}, "needs a secret"),
        ({"algorithms": ["RS256"], "jwks_url": "http://id.example/"}, '"jwks_url": expected https://'),
        ({**HS, "token_size": "1MB"}, "to 65535B"),
        ({**HS, "user_claim": ""}, '"user_claim" is empty'),
    ],
)
def test_bad_configurations(table: dict[str, object], text: str) -> None:
    problems = checked(table, Jwt.Config)
    assert isinstance(problems, list)
    assert any(text in problem for problem in problems), problems
    assert not any(SECRET in problem for problem in problems)


def _private_pem() -> bytes:
    return rsa_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _ec_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP224R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("option", "content", "text"),
    [
        ("public_key", b"", "no public key in PEM form"),
        ("public_key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM form"),
        ("public_key", b"-----BEGIN CERTIFICATE-----\n", "it has a certificate"),
        ("public_key", b"x" * 1_000_001, "larger than 1000000 bytes"),
        ("public_key", _private_pem(), "it has a private key"),
        ("public_key", _ec_pem(), "curve secp224r1"),
        ("public_key", public_pem("ES256"), 'no key for the algorithm "RS256"'),
        ("jwks_file", b"", "not JSON"),
        ("jwks_file", b"{}", "it is no JWKS"),
        ("jwks_file", b'{"keys": []}', "it is no JWKS"),
        ("jwks_file", b'{"keys": [7]}', "not an object"),
        ("jwks_file", b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', "kty is none of"),
        ("jwks_file", b'{"keys": [{"kty": "RSA", "n": 7, "e": "AQAB"}]}', "not a usable key"),
        ("jwks_file", b'{"keys": [{"kty": "RSA", "use": "enc"}]}', "not for signatures"),
        ("jwks_file", json.dumps({"keys": [jwk(rsa_key(), alg="HS256")]}).encode(), "alg is not one of such a key"),
        ("jwks_file", json.dumps({"keys": [jwk(rsa_key(), kid=7)]}).encode(), "kid is not a text"),
        ("jwks_file", json.dumps({"keys": [jwk(rsa_key(), d="AAAA")]}).encode(), "a private key"),
        ("jwks_file", json.dumps({"keys": [jwk(rsa_key(1_024))]}).encode(), "an RSA key of 1024 bits"),
        ("jwks_file", json.dumps({"keys": [jwk(rsa_key())] * 101}).encode(), "more than 100 keys"),
        ("jwks_file", json.dumps({"keys": [jwk(private_key("EdDSA"))]}).encode(), 'no key for the algorithm "RS256"'),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else value,
)
def test_keys_that_are_none(option: str, content: bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        made(algorithms=["RS256"], **{option: in_file(tmp_path, content)})
    assert text in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_secrets_that_are_none() -> None:
    with pytest.raises(PluginError, match="the secret has 5 bytes: HS256 needs 32"):
        made(algorithms=["HS256"], secret="short")
    with pytest.raises(PluginError, match="HS512 needs 64"):
        made(algorithms=["HS256", "HS512"], secret="x" * 63)
    with pytest.raises(PluginError, match="the secret is a PEM file"):
        made(algorithms=["HS256"], secret=public_pem("RS256").decode())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="No such file or directory"):
        made(algorithms=["RS256"], public_key=str(tmp_path / "missing"))


def test_pyjwt_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.plugins.jwt.jwt", None)
    with pytest.raises(PluginError, match=r"pip install noctule\[jwt\]"):
        made()


def test_a_reload() -> None:
    async def main() -> None:
        plugin = made()
        other = SECRET + "2"
        apply = await plugin.prepare_reload(checked({**HS, "secret": other}, JwtConfig), Settings())
        assert isinstance(await plugin.authenticate(client(), shown("ada", token())), Allow)
        apply()
        assert isinstance(await plugin.authenticate(client(), shown("ada", token())), Deny)
        assert isinstance(await plugin.authenticate(client(), shown("ada", token(key=other))), Allow)
        with pytest.raises(PluginError, match="needs 32 at least"):
            await plugin.prepare_reload(checked({**HS, "secret": "short"}, JwtConfig), Settings())
        assert isinstance(await plugin.authenticate(client(), shown("ada", token(key=other))), Allow)

    trio.run(main)


def test_no_part_of_a_token_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for _, bad, _ in BAD:
            answer = answer_of(made(), bad, None)
            told = caplog.text + repr(answer)
            for one in bad.split(b"."):
                assert len(one) < 8 or one.decode() not in told


# --- anything at all ---------------------------------------------------------------------

PLUGIN = made()
PARTS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([part({"alg": "HS256"}), part(GOOD), part({"alg": "none"}), b"eyJ", b""]),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3).map(part),
)


@given(st.one_of(st.binary(max_size=200), st.lists(PARTS, min_size=1, max_size=4).map(b".".join)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_as_a_password(password: bytes) -> None:
    answer = answer_of(PLUGIN, password)
    assert answer is None or isinstance(answer, Deny)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti", "mqtt"]), JSON))
@settings(max_examples=300, deadline=None)
def test_any_claims(claims: dict[str, Any]) -> None:
    answer = answer_of(PLUGIN, token_of(json.dumps({**GOOD, **claims}).encode()), None)
    assert isinstance(answer, Allow | Deny)


def test_a_token_by_pyjwt_itself() -> None:
    assert isinstance(answer_of(made(), jwt.encode(GOOD, SECRET, "HS256").encode()), Allow)
