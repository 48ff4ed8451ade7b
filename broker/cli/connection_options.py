"""The options that ``noctule pub``, ``sub`` and ``rr`` have in common: connection, TLS, Will, properties."""

import os
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from noctule.cli.option_reading import OptionTable, defaults_files
from noctule.cli.outcome import UsageError, tell
from noctule.cli.property_option import GivenProperties
from noctule.cli.service_records import look_up
from noctule.client import (
    TLS_VERSIONS,
    Address,
    AuthenticationError,
    Client,
    Proxy,
    Reconnect,
    TlsOptions,
    Transport,
    UnreachableError,
    connect,
)
from noctule.protocol import (
    CAPABILITIES,
    SESSION_NEVER_EXPIRES,
    WILL,
    Disconnect,
    PacketError,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    Will,
    check_topic_name,
    encode_property_block,
    split_filter,
)

PLAIN_PORT: Final = 1883
TLS_PORT: Final = 8883
_WEBSOCKET_PATH: Final = "/mqtt"

#: What Mosquitto's tools announce as Receive Maximum; they take fewer where they are to exit after fewer.
_RECEIVE_MAXIMUM: Final = 20

#: After a lost connection: about as eager as Mosquitto's tools, which try every second.
_RECONNECT: Final = Reconnect(first_delay_s=1.0, maximum_delay_s=10.0)


@dataclass(slots=True)
class ConnectionOptions:
    """What was given, with the defaults where nothing was; filled word by word, then checked by ``check``."""

    tool: str
    host: str = "localhost"
    port: int | None = None
    unix_path: str | None = None

    #: Whether ``host`` is a domain whose SRV records name the server.
    is_by_service_record: bool = False
    is_websocket: bool = False
    local_address: str | None = None
    proxy: Proxy | None = None

    client_id: str | None = None
    client_id_prefix: str | None = None
    version: ProtocolVersion = ProtocolVersion.V3_1_1
    clean_start: bool = True
    session_expiry_interval_s: int | None = None
    keep_alive_s: int = 60
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)

    will_topic: str | None = None
    will_payload: bytes | None = None
    will_qos: int = 0
    will_retain: bool = False
    properties: GivenProperties = field(default_factory=GivenProperties)

    no_tls: bool = False
    ca_file: str | None = None
    ca_path: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_form: str | None = None
    ciphers: str | None = None
    tls_version: str | None = None
    alpn: str | None = None
    use_system_authorities: bool = False
    insecure: bool = False
    keylog_file: str | None = None
    psk: str | None = field(default=None, repr=False)
    psk_identity: str | None = None

    qos: int = 0
    #: Of sub any number, of pub and rr the last one given.
    topics: list[str] = field(default_factory=list)
    is_debug: bool = False
    is_quiet: bool = False

    #: How many messages end the command; None: no number does.
    count: int | None = None

    #: Whether a connection that is lost is made again.
    reconnects: bool = False

    @property
    def needs_topic(self) -> bool:
        """Whether a URL must have a topic: that of Mosquitto's tools has to."""
        return self.tool in ("pub", "sub", "rr")

    @property
    def takes_filters(self) -> bool:
        """Whether the topics are filters to subscribe to, and not names to publish to."""
        return self.tool == "sub"

    def add_topic(self, topic: str, given_by: str = "-t") -> None:
        """One more topic, checked."""
        check_text(topic, given_by)
        if self.takes_filters:
            check_filter(topic, "subscription")
            self.topics.append(topic)
            return
        check_name(topic, "publish")
        self.topics = [topic]

    def check(self) -> None:
        """Look at what belongs together. UsageError for what cannot be."""
        if self.will_topic is None and self.will_payload is not None:
            raise UsageError("Will payload given, but no will topic given.")
        if self.will_topic is None and self.will_retain:
            raise UsageError("Will retain given, but no will topic given.")
        if (self.certificate_file is None) != (self.key_file is None):
            raise UsageError("Both certfile and keyfile must be provided if one of them is set.")
        if self.key_form is not None and self.key_file is None:
            raise UsageError("If keyform is set, keyfile must be also specified.")
        if (self.ca_file or self.ca_path) and self.psk is not None:
            raise UsageError("Only one of --psk or --cafile/--capath may be used at once.")
        if self.psk is not None and self.psk_identity is None:
            raise UsageError("--psk-identity required if --psk used.")
        if not self.clean_start and self.session_expiry_interval_s is None:
            self.session_expiry_interval_s = SESSION_NEVER_EXPIRES
        if self.version is ProtocolVersion.V5:
            if self.session_expiry_interval_s == SESSION_NEVER_EXPIRES and not self.client_id:
                raise UsageError("You must provide a client id if you are using an infinite session expiry interval.")
        elif not self.clean_start and not self.client_id:
            raise UsageError("You must provide a client id if you are using the -c option.")
        if self.password is not None and self.user_name is None and self.version is not ProtocolVersion.V5:
            tell("Warning: Not using password since username not set.")
            self.password = None

    @property
    def uses_tls(self) -> bool:
        """Whether anything that was given asks for TLS."""
        if self.no_tls or self.unix_path is not None:
            return False
        asked = self.ca_file or self.ca_path or self.psk is not None or self.use_system_authorities
        return bool(asked) or self.port == TLS_PORT

    def address(self) -> Address:
        """Where the server is."""
        if self.unix_path is not None:
            return Address(Transport.UNIX, path=self.unix_path)
        port = self.port
        if port is None:
            port = TLS_PORT if self.ca_file or self.ca_path or self.psk is not None else PLAIN_PORT
        if self.is_websocket:
            transport = Transport.WEBSOCKET_TLS if self.uses_tls else Transport.WEBSOCKET
            return Address(transport, self.host, port, _WEBSOCKET_PATH)
        return Address(Transport.TLS if self.uses_tls else Transport.TCP, self.host, port)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """The connection that the options ask for. UsageError for files that cannot be read."""
        addresses = [self.address()]
        if self.is_by_service_record and self.unix_path is None:
            records = await look_up(self.host, uses_tls=self.uses_tls)
            addresses = [replace(addresses[0], host=record.host, port=record.port) for record in records]
        async with AsyncExitStack() as stack:
            for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
                try:
                    client = await stack.enter_async_context(self._connection(address))
                except UnreachableError:
                    if not left:
                        raise
                else:
                    yield client
                    return

    def _connection(self, address: Address) -> AbstractAsyncContextManager[Client]:
        given = self.properties.of(PacketType.CONNECT)
        method = given.get(PropertyId.AUTHENTICATION_METHOD)
        expiry_s = self.session_expiry_interval_s
        if expiry_s is None:
            expiry_s = given.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0)
        receive_maximum = min(self.count or _RECEIVE_MAXIMUM, _RECEIVE_MAXIMUM)
        return connect(
            address,
            client_id=self._client_id(),
            version=self.version,
            clean_start=self.clean_start,
            keep_alive_s=self.keep_alive_s,
            user_name=self.user_name,
            password=self.password,
            will=self._will(),
            session_expiry_interval_s=expiry_s,
            receive_maximum=given.get(PropertyId.RECEIVE_MAXIMUM, receive_maximum),
            maximum_packet_size=given.get(PropertyId.MAXIMUM_PACKET_SIZE),
            topic_alias_maximum=given.get(PropertyId.TOPIC_ALIAS_MAXIMUM, 0),
            request_response_information=given.get(PropertyId.REQUEST_RESPONSE_INFORMATION) == 1,
            request_problem_information=given.get(PropertyId.REQUEST_PROBLEM_INFORMATION, 1) == 1,
            user_properties=self.properties.user_properties(PacketType.CONNECT),
            authentication=None
            if method is None
            else lambda: _GivenAuthentication(method, given.get(PropertyId.AUTHENTICATION_DATA)),
            tls=self.tls_context(),
            proxy=self.proxy,
            local_address=self.local_address,
            reconnect=_RECONNECT if self.reconnects else None,
        )

    def goodbye(self, reason_code: int = ReasonCode.NORMAL_DISCONNECTION) -> Disconnect:
        """What is said at the end."""
        given = self.properties.of(PacketType.DISCONNECT)
        return Disconnect(
            reason_code,
            given.get(PropertyId.SESSION_EXPIRY_INTERVAL),
            given.get(PropertyId.REASON_STRING),
            self.properties.user_properties(PacketType.DISCONNECT),
        )

    def _client_id(self) -> str:
        if self.client_id_prefix is not None:
            return f"{self.client_id_prefix}{os.getpid()}"
        if not self.client_id and not CAPABILITIES[self.version].empty_client_id_allowed:
            return f"noctule-{secrets.token_hex(6)}"
        return self.client_id or ""

    def _will(self) -> Will | None:
        if self.will_topic is None:
            return None
        values = dict(self.properties.of(WILL))
        delay_s = values.pop(PropertyId.WILL_DELAY_INTERVAL, 0)
        block = encode_property_block(values, PacketType.PUBLISH)
        return Will(self.will_topic, self.will_payload or b"", self.will_qos, self.will_retain, delay_s, block)

    def tls_context(self) -> ssl.SSLContext | None:
        """What was said about TLS; None where there is to be none. UsageError for files that cannot be read."""
        if not self.uses_tls:
            return None
        options = TlsOptions(
            ca_file=None if self.ca_file is None else Path(self.ca_file),
            ca_path=None if self.ca_path is None else Path(self.ca_path),
            use_system_authorities=self.use_system_authorities,
            certificate_file=None if self.certificate_file is None else Path(self.certificate_file),
            key_file=None if self.key_file is None else Path(self.key_file),
            ciphers=self.ciphers,
            version=None if self.tls_version is None else TLS_VERSIONS[self.tls_version],
            alpn=() if self.alpn is None else (self.alpn,),
            check_host_name=not self.insecure,
            keylog_file=None if self.keylog_file is None else Path(self.keylog_file),
            psk=None if self.psk is None else bytes.fromhex(self.psk),
            psk_identity=self.psk_identity or "",
        )
        try:
            return options.context()
        except ValueError as error:
            raise UsageError(f"Problem setting TLS options: {error}.") from None
        except ssl.SSLError as error:
            raise UsageError(f"Problem setting TLS options: {error.reason or error}.") from None
        except OSError as error:
            name = error.filename or self.ca_file or self.certificate_file or self.ca_path
            raise UsageError(f'Problem setting TLS options: "{name}": {error.strerror}.') from None


OptionsT = TypeVar("OptionsT", bound=ConnectionOptions)


class _GivenAuthentication:
    """Enhanced authentication with what ``-D connect authentication-...`` says, of one step alone."""

    def __init__(self, method: str, data: bytes | None) -> None:
        self.method = method
        self._data = data

    async def start(self) -> bytes | None:
        return self._data

    async def respond(self, _data: bytes | None) -> bytes | None:
        raise AuthenticationError(f"the server asks for another step of {self.method}, and there is none to be given")

    async def finish(self, _data: bytes | None) -> None:
        return


def read_command_line(table: OptionTable[OptionsT], words: Sequence[str], options: OptionsT) -> None:
    """Fill the options from the defaults files (or the one that ``-o`` names) and then the command line."""
    named = [words[index + 1] for index, word in enumerate(words[:-1]) if word == "-o"]
    if len(named) > 1:
        raise UsageError("Duplicate -o argument given.")
    if named:
        table.read_file(Path(named[0]), options, required=True)
    else:
        for path in defaults_files(options.tool):
            table.read_file(path, options)
    table.read(words, options)
    options.check()


def with_url_first(words: Sequence[str]) -> list[str]:
    """The command line with ``-L`` before a URL that stands first, for tools that need nothing else."""
    return ["-L", *words] if words and not words[0].startswith("-") else list(words)


def check_name(topic: str, what: str) -> None:
    """UsageError for a Topic Name that is none."""
    try:
        check_topic_name(topic)
    except PacketError:
        raise UsageError(f"Invalid {what} topic '{topic}', does it contain '+' or '#'?") from None


def check_filter(topic: str, what: str) -> None:
    """UsageError for a Topic Filter that is none."""
    try:
        split_filter(topic)
    except PacketError:
        raise UsageError(f"Invalid {what} topic '{topic}', are all '+' and '#' wildcards correct?") from None


def check_text(text: str, given_by: str) -> None:
    """UsageError for what was no UTF-8 on the command line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"Malformed UTF-8 in {given_by} argument.") from None
