"""SCRAM-SHA-256: the example of its RFC, users that exist and users that do not, and clients that lie."""

import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable
from typing import Any

import pytest
from handlers.direct_links import V5, DirectBroker, DirectClient
from hypothesis import given
from hypothesis import strategies as st
from noctule.auth.scram import (
    MESSAGE_MAX_BYTES,
    METHOD,
    ScramCredential,
    ScramExchange,
    ScramSha256,
    derive_credential,
)
from noctule.core.authentication import AuthContinue, AuthRefused, AuthSuccess, Claimant
from noctule.protocol import Auth, Connect, decode_auth, decode_connack, encode_auth, encode_connect
from scramp import ScramClient, ScramException

# RFC 7677, section 3.
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

USER = derive_credential("pencil", 4096, SALT)


class Users(dict[str, ScramCredential]):
    def find(self, user_name: str) -> ScramCredential | None:
        return self.get(user_name)


class AwaitedUsers(Users):
    def find(self, user_name: str) -> Any:
        async def later() -> ScramCredential | None:
            return self.get(user_name)

        return later()


def finish(awaited: object) -> Any:
    """What a coroutine that waits for nothing gives."""
    assert isinstance(awaited, Awaitable)
    try:
        awaited.send(None)  # type: ignore[attr-defined]
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


def method_of(users: Users | None = None, **options: Any) -> ScramSha256:
    return ScramSha256(Users(user=USER) if users is None else users, **{"iterations": 4096, **options})


def exchange_of(users: Users | None = None) -> ScramExchange:
    return ScramExchange(Users(user=USER) if users is None else users, method_of()._made_up, SERVER_NONCE)


def started(method: ScramSha256) -> Any:
    return method.start(Claimant("c", None, "peer"))


def log_in(method: ScramSha256, user: str, password: str) -> Any:
    """The last answer to a client that does all as it should; its own check of the server where it is let in."""
    client = ScramClient([METHOD], user, password)
    exchange = started(method)
    step = exchange.step(client.get_client_first().encode())
    assert isinstance(step, AuthContinue)
    assert step.data is not None
    client.set_server_first(step.data.decode())
    last = exchange.step(client.get_client_final().encode())
    if isinstance(last, AuthSuccess):
        assert last.data is not None
        client.set_server_final(last.data.decode())
    return last


# --- right ---


def test_the_example_of_the_rfc() -> None:
    """RFC 7677, section 3"""
    exchange = exchange_of()
    assert exchange.step(CLIENT_FIRST) == AuthContinue(SERVER_FIRST)
    assert exchange.step(CLIENT_FINAL) == AuthSuccess("user", SERVER_FINAL)


def test_credentials_that_have_to_be_waited_for() -> None:
    exchange = exchange_of(AwaitedUsers(user=USER))
    assert finish(exchange.step(CLIENT_FIRST)) == AuthContinue(SERVER_FIRST)
    assert exchange.step(CLIENT_FINAL) == AuthSuccess("user", SERVER_FINAL)


def test_a_client_that_sends_nothing_with_connect_is_asked_to_begin() -> None:
    """RFC 5802, section 5: the client begins."""
    exchange = exchange_of()
    assert exchange.step(None) == AuthContinue()
    assert exchange.step(CLIENT_FIRST) == AuthContinue(SERVER_FIRST)


def test_a_client_that_never_begins_is_refused() -> None:
    exchange = exchange_of()
    exchange.step(None)
    assert isinstance(exchange.step(None), AuthRefused)


@pytest.mark.parametrize("name", ["user", "a,b=c", "ä", "u" * 200])
def test_right_passwords_are_let_in(name: str) -> None:
    users = Users({name: derive_credential("pässwörd", 4096)})
    assert log_in(method_of(users), name, "pässwörd").identity == name


def test_names_and_passwords_are_prepared() -> None:
    """RFC 4013: what looks the same is the same."""
    users = Users(fi=derive_credential("\u00aa", 4096))
    assert log_in(method_of(users), "\ufb01", "a").identity == "fi"


def test_a_flag_that_no_channel_binding_is_offered_is_taken() -> None:
    """RFC 5802, section 6: "y" is right, since we offer none."""
    assert isinstance(exchange_of().step(b"y" + CLIENT_FIRST[1:]), AuthContinue)


def test_every_exchange_has_a_nonce_of_its_own() -> None:
    method = method_of()
    found = {started(method).step(CLIENT_FIRST).data for _ in range(100)}
    assert len(found) == 100
    assert all(data.startswith(b"r=" + CLIENT_NONCE.encode()) for data in found)


# --- wrong ---

FIRST_MESSAGES = [
    b"",
    b"n,,",
    b"n",
    b"n,,n=user",
    b"n,,r=abc",
    b"n,,r=abc,n=user",
    b"n,,n=user,r=",
    b"n,,n=,r=abc",
    b"n,,n=user,r=a b",
    b"n,,n=user,r=\xc3\xa4",
    b"n,,n=us=er,r=abc",
    b"n,,n=us\0er,r=abc",
    b"n,,m=x,n=user,r=abc",
    b"n,,n=user,n=user,r=abc",
    b"n,a=admin,n=user,r=abc",
    b"p=tls-unique,,n=user,r=abc",
    b"p=,,n=user,r=abc",
    b"x,,n=user,r=abc",
    b"n,,n=\xff,r=abc",
    b"n,,n=\xe2\x80\xae,r=abc",
    b"n,,n=" + b"u" * MESSAGE_MAX_BYTES + b",r=abc",
    b"n,,n=user,r=" + b"r" * MESSAGE_MAX_BYTES,
    CLIENT_FINAL,
    SERVER_FIRST,
    bytes(65_535),
]


@pytest.mark.parametrize("data", FIRST_MESSAGES, ids=lambda data: ascii(data[:30]))
def test_first_messages_that_are_wrong(data: bytes) -> None:
    assert isinstance(exchange_of().step(data), AuthRefused)


NONCE = (CLIENT_NONCE + SERVER_NONCE).encode()
PROOF = CLIENT_FINAL.rpartition(b",p=")[2]
FINAL_MESSAGES = [
    None,
    b"",
    CLIENT_FIRST,
    CLIENT_FINAL[:-1],
    CLIENT_FINAL + b"=",
    CLIENT_FINAL + b",x=y",
    CLIENT_FINAL.replace(b"biws", b"eSws"),  # "y" where the first message had "n"
    CLIENT_FINAL.replace(b"biws", b"***"),
    CLIENT_FINAL.replace(b"hNlF$k0", b"hNlF$k1"),
    b"c=biws,r=" + CLIENT_NONCE.encode() + b",p=" + PROOF,
    b"c=biws,r=" + NONCE,
    b"c=biws,r=" + NONCE + b",p=",
    b"c=biws,r=" + NONCE + b",p=AAAA",
    b"c=biws,r=" + NONCE + b",p=" + base64.b64encode(bytes(32)),
    b"c=biws,r=" + NONCE + b",p=" + base64.b64encode(USER.stored_key),
    b"c=biws,r=" + NONCE + b",p=\xc3\xa4",
    b"r=" + NONCE + b",c=biws,p=" + PROOF,
    b"c=biws,r=" + NONCE + b",m=x,p=" + PROOF,
    b"\xff",
    CLIENT_FINAL + b" " * MESSAGE_MAX_BYTES,
]


@pytest.mark.parametrize("data", FINAL_MESSAGES, ids=lambda data: ascii(data)[:40])
def test_final_messages_that_are_wrong(data: bytes | None) -> None:
    exchange = exchange_of()
    exchange.step(CLIENT_FIRST)
    assert isinstance(exchange.step(data), AuthRefused)


@given(st.data())
def test_changed_messages_are_refused_and_nothing_else(data: st.DataObject) -> None:
    """Whatever comes, a step is a step: no exception, no success but with the right message."""
    exchange = exchange_of()
    for message in (CLIENT_FIRST, CLIENT_FINAL):
        kept = bytearray(message)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(kept)))
            kept[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        step = exchange.step(bytes(kept))
        if isinstance(step, AuthSuccess):
            assert bytes(kept) == CLIENT_FINAL
        if not isinstance(step, AuthContinue):
            return


def test_a_proof_does_not_fit_another_exchange() -> None:
    """Replay: the server's part of the nonce is new."""
    method = method_of()
    client = ScramClient([METHOD], "user", "pencil", c_nonce=CLIENT_NONCE)
    first = client.get_client_first().encode()
    exchange = started(method)
    client.set_server_first(exchange.step(first).data.decode())
    final = client.get_client_final().encode()
    assert isinstance(exchange.step(final), AuthSuccess)
    exchange = started(method)
    exchange.step(first)
    assert isinstance(exchange.step(final), AuthRefused)


# --- users that do not exist ---


def test_a_user_that_does_not_exist_looks_like_one_that_does() -> None:
    """The same messages, the same salt each time, the same refusal."""
    secret = bytes(32)
    method = method_of(Users(user=derive_credential("pencil", 4096)), secret=secret)
    refusals = [log_in(method, name, "wrong") for name in ("user", "nobody")]
    assert [refused.reason_code for refused in refusals] == [0x87, 0x87]
    shape = re.compile(rb"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=(\d+)")
    salts: dict[str, set[bytes]] = {}
    sizes: set[tuple[int, int, bytes]] = set()
    for method_again in (method, method, method_of(Users(user=method._credentials.find("user")), secret=secret)):  # type: ignore[arg-type]
        for name in ("user", "nobody", "nobody2"):
            step = started(method_again).step(b"n,,n=" + name.encode() + b",r=abc")
            found = shape.fullmatch(step.data)
            assert found is not None
            nonce, salt, iterations = found.groups()
            salts.setdefault(name, set()).add(salt)
            sizes.add((len(nonce), len(salt), iterations))
    assert len(sizes) == 1
    assert [len(found) for found in salts.values()] == [1, 1, 1]
    assert len(set.union(*salts.values())) == 3


def test_another_broker_makes_up_other_salts() -> None:
    found = {started(method_of()).step(b"n,,n=nobody,r=abc").data.partition(b",s=")[2] for _ in range(2)}
    assert len(found) == 2


def test_nobody_gets_in_as_a_user_that_does_not_exist() -> None:
    for password in ("", " ", "nobody", "pencil"):
        if password:
            assert isinstance(log_in(method_of(), "nobody", password), AuthRefused)


# --- credentials ---


def test_a_credential_is_made_of_a_password() -> None:
    credential = derive_credential("pencil")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", credential.salt, credential.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert credential.stored_key == hashlib.sha256(client_key).digest()
    assert credential.server_key == hmac.digest(salted, b"Server Key", "sha256")
    assert credential.salt != derive_credential("pencil").salt
    assert "key" not in repr(credential)


@pytest.mark.parametrize(
    ("password", "iterations", "salt"),
    [("", 4096, SALT), ("\0", 4096, SALT), ("x", 4095, SALT), ("x", 4096, b"short"), ("\u00ad", 4096, SALT)],
    ids=["empty", "control", "iterations", "salt", "nothing left"],
)
def test_what_no_credential_can_be_made_of(password: str, iterations: int, salt: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        derive_credential(password, iterations, salt)


@pytest.mark.parametrize(
    "fields",
    [(b"short", 4096, bytes(32), bytes(32)), (SALT, 1, bytes(32), bytes(32)), (SALT, 4096, b"", bytes(32))],
    ids=["salt", "iterations", "key"],
)
def test_credentials_that_cannot_be(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"at least|bytes"):
        ScramCredential(*fields)


# --- over MQTT ---


def speak(client: DirectClient, user: str, password: str, again: bool = False) -> tuple[int, Any]:
    """Authenticate over the link; the first byte and the packet of the broker's last answer."""
    scram = ScramClient([METHOD], user, password)
    first = scram.get_client_first().encode()
    if again:
        client.send(encode_auth(Auth(0x19, METHOD, first), V5))
    else:
        client.send(encode_connect(Connect(V5, "c", authentication_method=METHOD, authentication_data=first)))
    ((byte, body),) = client.received()
    challenge = decode_auth(body, V5, byte)
    assert (challenge.reason_code, challenge.authentication_method) == (0x18, METHOD)
    assert challenge.authentication_data is not None
    scram.set_server_first(challenge.authentication_data.decode())
    client.send(encode_auth(Auth(0x18, METHOD, scram.get_client_final().encode()), V5))
    ((byte, body),) = client.received()
    packet: Any = decode_connack(body, V5, byte) if byte == 0x20 else (byte, body)
    if byte == 0xF0:
        packet = decode_auth(body, V5, byte)
    data = getattr(packet, "authentication_data", None)
    if data is not None:
        scram.set_server_final(data.decode())
    return byte, packet


def scram_broker() -> DirectBroker:
    broker = DirectBroker()
    users = Users(ann=derive_credential("pencil", 4096), eve=derive_credential("eve", 4096))
    broker.state.authentication_methods = {METHOD: method_of(users)}
    return broker


def test_a_client_comes_in_and_authenticates_again() -> None:
    """[MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-4.12.1-1]: and the broker has proven itself each time."""
    client = scram_broker().open()
    byte, connack = speak(client, "ann", "pencil")
    assert (byte, connack.reason_code, connack.authentication_method) == (0x20, 0, METHOD)
    assert connack.authentication_data is not None
    assert client.link.session.client.user_name == "ann"
    byte, auth = speak(client, "ann", "pencil", again=True)
    assert (byte, auth.reason_code) == (0xF0, 0)
    assert auth.authentication_data is not None


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("nobody", "pencil")])
def test_who_does_not_know_the_password_stays_out(user: str, password: str) -> None:
    """[MQTT-4.12.0-4]: told the same, whichever of the two was wrong."""
    broker = scram_broker()
    client = broker.open()
    byte, connack = speak(client, user, password)
    assert (byte, connack.reason_code, connack.authentication_data) == (0x20, 0x87, None)
    assert connack.reason_string == "the authentication has failed"
    assert len(broker.state.sessions) == 0


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("eve", "eve")])
def test_a_connection_does_not_outlive_a_failed_proof(user: str, password: str) -> None:
    """[MQTT-4.12.1-2], also where the proof is right and another user's."""
    client = scram_broker().open()
    speak(client, "ann", "pencil")
    byte, (_, body) = speak(client, user, password, again=True)
    assert (byte, body[0]) == (0xE0, 0x87)


def test_scramp_complains_in_the_way_we_expect() -> None:
    """A guard for new versions of it: errors of a peer's are ScramException."""
    with pytest.raises(ScramException):
        ScramClient([METHOD], "user", "x").set_server_final("v=AAAA")
