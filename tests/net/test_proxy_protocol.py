"""The header of the PROXY protocol: a table of bytes, cut anywhere, and anything at all."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.net.proxy_protocol import ProxyError, ProxyHeader, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = b"\xc0\x00\x02\x01\xc6\x33\x64\x02\xdd\xd5\x07\x5b"  # 192.0.2.1 to 198.51.100.2, 56789 to 1883
V6 = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002") + b"\xdd\xd5\x07\x5b"


def binary(body: bytes, command: int = 0x21, family: int = 0x11, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body) if size is None else size) + body


def field(kind: int, content: bytes, size: int | None = None) -> bytes:
    return struct.pack(">BH", kind, len(content) if size is None else size) + content


def tls(client: int, verify: int, *fields: bytes) -> bytes:
    return field(0x20, struct.pack(">BI", client, verify) + b"".join(fields))


FROM_V4 = ProxyHeader("192.0.2.1", 56789)

#: Name: version, bytes, what they say.
GOOD: dict[str, tuple[int, bytes, ProxyHeader]] = {
    "1, TCP4": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 56789 1883\r\n", FROM_V4),
    "1, TCP6": (
        1,
        b"PROXY TCP6 2001:DB8::1 2001:db8::2 56789 1883\r\n",
        ProxyHeader("2001:db8::1", 56789),
    ),
    "1, the longest": (
        1,
        b"PROXY TCP6 ffff:f...:ffff:ffff ".replace(b"ffff:f...:ffff:ffff", b":".join([b"ffff"] * 8))
        + b":".join([b"ffff"] * 8)
        + b" 65535 65535\r\n",
        ProxyHeader(":".join(["ffff"] * 8), 65535),
    ),
    "1, unknown": (1, b"PROXY UNKNOWN\r\n", ProxyHeader()),
    "1, unknown with more": (1, b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxyHeader()),
    "1, ports of 0": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n", ProxyHeader("192.0.2.1", 0)),
    "2, TCP over IPv4": (2, binary(V4), FROM_V4),
    "2, TCP over IPv6": (2, binary(V6, family=0x21), ProxyHeader("2001:db8::1", 56789)),
    "2, unix": (2, binary(b"/a".ljust(108, b"\0") * 2, family=0x31), ProxyHeader("")),
    "2, unspecified": (2, binary(b"", family=0x00), ProxyHeader()),
    "2, local": (2, binary(b"", command=0x20, family=0x00), ProxyHeader()),
    "2, local, with what does not count": (2, binary(b"any\xffthing", command=0x20, family=0xFF), ProxyHeader()),
    "2, other fields": (2, binary(V4 + field(0x01, b"mqtt") + field(0x04, b"\0" * 3) + field(0xEE, b"")), FROM_V4),
    "2, TLS": (2, binary(V4 + tls(0x01, 1)), ProxyHeader("192.0.2.1", 56789, True)),
    "2, TLS with a certificate": (
        2,
        binary(V4 + tls(0x07, 0, field(0x21, b"TLSv1.3"), field(0x22, "pümpe 7".encode()))),
        ProxyHeader("192.0.2.1", 56789, True, True, True, "pümpe 7"),
    ),
    "2, TLS with a certificate that is not valid": (
        2,
        binary(V4 + tls(0x03, 18, field(0x22, b"pump"))),
        ProxyHeader("192.0.2.1", 56789, True, True, False, "pump"),
    ),
    "2, the largest": (2, binary(V4 + field(0xEE, b"x" * (4_096 - 12 - 3))), FROM_V4),
}

#: Name: version, bytes, a part of what is said.
BAD: dict[str, tuple[int, bytes, str]] = {
    "1, MQTT": (1, b"\x10\x0d\x00\x04MQTT", "no header of version 1"),
    "1, version 2": (1, binary(V4), "malformed"),
    "1, nothing behind the word": (1, b"PROXY\r\n", "malformed"),
    "1, small letters": (1, b"proxy TCP4 192.0.2.1 198.51.100.2 56789 1883\r\n", "malformed"),
    "1, two blanks": (1, b"PROXY TCP4  192.0.2.1 198.51.100.2 56789 1883\r\n", "malformed"),
    "1, a field less": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 56789\r\n", "malformed"),
    "1, a field more": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 56789 1883 1\r\n", "malformed"),
    "1, a line feed alone": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 56789 1883\n" + b"x" * 80, "too long"),
    "1, no end": (1, b"PROXY UNKNOWN " + b"x" * 93, "too long"),
    "1, an end too late": (1, b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "too long"),
    "1, UDP": (1, b"PROXY UDP4 192.0.2.1 198.51.100.2 56789 1883\r\n", "malformed"),
    "1, IPv6 as TCP4": (1, b"PROXY TCP4 ::1 ::1 56789 1883\r\n", "another family"),
    "1, IPv4 as TCP6": (1, b"PROXY TCP6 192.0.2.1 192.0.2.1 56789 1883\r\n", "another family"),
    "1, no address": (1, b"PROXY TCP4 1.2.3 198.51.100.2 56789 1883\r\n", "an address that is none"),
    "1, an address with leading zeros": (1, b"PROXY TCP4 192.0.2.01 198.51.100.2 1 1\r\n", "an address that is none"),
    "1, no port": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 1883\r\n", "a port that is none"),
    "1, a port of many digits": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 " + b"1" * 30 + b" 1\r\n", "a port"),
    "1, the other port": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 1 99999\r\n", "a port that is none"),
    "1, a port with a zero in front": (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 01883 1\r\n", "a port that is none"),
    "1, digits of another script": (1, "PROXY TCP4 192.0.2.1 198.51.100.2 ١ 1\r\n".encode(), "malformed"),
    "2, version 1": (2, b"PROXY TCP4 192.0.2.1 198.51.100.2 56789 1883\r\n", "no header of version 2"),
    "2, MQTT": (2, b"\x10", "no header of version 2"),
    "2, the signature with a fault in it": (2, b"\r\n\r\n\x00\r\nQUIT\r", "no header of version 2"),
    "2, another version": (2, binary(V4, command=0x11), "a version or command"),
    "2, another command": (2, binary(V4, command=0x22), "a version or command"),
    "2, UDP": (2, binary(V4, family=0x12), "an address family or transport"),
    "2, too long": (2, binary(b"", size=4_097), "too long"),
    "2, an address that is cut": (2, binary(V4[:11]), "ends within a field"),
    "2, an IPv6 address that is cut": (2, binary(V6[:35], family=0x21), "ends within a field"),
    "2, a field that is cut": (2, binary(V4 + b"\x01\x00"), "ends within a field"),
    "2, a field that says more than there is": (2, binary(V4 + field(0x01, b"mqtt", 5)), "ends within a field"),
    "2, TLS that is cut": (2, binary(V4 + field(0x20, b"\x01\x00")), "ends within a field"),
    "2, a name that is cut": (2, binary(V4 + tls(0x03, 0, field(0x22, b"pump", 5))), "ends within a field"),
    "2, TLS twice": (2, binary(V4 + tls(0x01, 1) + tls(0x07, 0, field(0x22, b"root"))), "told of twice"),
    "2, two names": (2, binary(V4 + tls(0x07, 0, field(0x22, b"a"), field(0x22, b"b"))), "a second common name"),
    "2, a name that is no UTF-8": (2, binary(V4 + tls(0x07, 0, field(0x22, b"\xc0\xaf"))), "no UTF-8"),
    "2, a name with a null character": (2, binary(V4 + tls(0x07, 0, field(0x22, b"root\0x"))), "a null character"),
}


@pytest.mark.parametrize("name", GOOD)
def test_header(name: str) -> None:
    """Whole, with what follows, and cut at every byte."""
    version, data, expected = GOOD[name]
    assert read_header(data, version) == (expected, len(data))
    assert read_header(data + b"\x10\x0c\0\4MQTT", version) == (expected, len(data))
    for size in range(len(data)):
        assert read_header(data[:size], version) is None


@pytest.mark.parametrize("name", BAD)
def test_bad_header(name: str) -> None:
    version, data, expected = BAD[name]
    with pytest.raises(ProxyError, match=expected):
        read_header(data, version)
    # Byte by byte it is refused at the end at the latest, and never taken before.
    for size in range(len(data)):
        try:
            assert read_header(data[:size], version) is None
        except ProxyError:
            break


@given(st.sampled_from([1, 2]), st.binary(max_size=300))
def test_any_bytes(version: int, data: bytes) -> None:
    check(version, data)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_good_headers_with_something_changed(name: str, data: st.DataObject) -> None:
    version, header, _ = GOOD[name]
    changed = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    check(version, bytes(changed))


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=260))
def test_any_fields(command: int, family: int, body: bytes) -> None:
    check(2, binary(body, command, family))
    check(2, binary(V4 + body))
    check(2, binary(V4 + tls(7, 0, body)))


def check(version: int, data: bytes) -> None:
    """A header, or a fault, or more is needed: nothing else, and never more than the bytes that there are."""
    try:
        found = read_header(data, version)
    except ProxyError:
        return
    if found is None:
        assert len(data) < 16 + 4_096
    else:
        header, size = found
        assert size <= len(data)
        assert header.common_name is None or "\0" not in header.common_name
