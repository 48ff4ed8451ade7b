"""Every row of the wire tables: decoded, encoded, cut off at each byte, with one too many, refused as it must be."""

from collections.abc import Callable
from typing import Any

import pytest
from noctule import protocol
from noctule.protocol import PacketError
from protocol.wire_tables import (
    Faulty,
    Valid,
    auth,
    connack,
    connect,
    disconnect,
    suback,
    subscribe,
    take_apart,
    unsuback,
    unsubscribe,
)

TABLES = {
    module.__name__.rpartition(".")[2]: module
    for module in (auth, connack, connect, disconnect, suback, subscribe, unsuback, unsubscribe)
}


def decode(packet: str, row: Valid | Faulty, version: int, first: int, body: bytes) -> Any:
    if packet == "connect":
        return protocol.decode_connect(body, first)
    if packet == "disconnect":
        return protocol.decode_disconnect(body, version, first, from_server=row.from_server)
    decoder: Callable[..., Any] = getattr(protocol, f"decode_{packet}")
    return decoder(body, version, first)


def encode(packet: str, value: Any, version: int) -> bytes:
    if packet == "connect":
        return protocol.encode_connect(value)
    encoder: Callable[..., bytes] = getattr(protocol, f"encode_{packet}")
    return encoder(value, version)


def rows(kind: str) -> list[Any]:
    return [
        pytest.param(packet, row, version, id=f"{packet}-{version}-{row.name}")
        for packet, table in TABLES.items()
        for row in getattr(table, kind)
        for version in row.versions
    ]


@pytest.mark.parametrize(("packet", "row", "version"), rows("VALID"))
def test_a_right_packet_is_read(packet: str, row: Valid, version: int) -> None:
    first, body = take_apart(row.wire)
    assert decode(packet, row, version, first, body) == row.packet


@pytest.mark.parametrize(("packet", "row", "version"), rows("VALID"))
def test_and_written_again(packet: str, row: Valid, version: int) -> None:
    wire = encode(packet, row.packet, version)
    if row.is_canonical:
        assert wire == row.wire
    assert decode(packet, row, version, *take_apart(wire)) == row.packet


@pytest.mark.parametrize(("packet", "row", "version"), rows("VALID"))
def test_a_packet_cut_off_is_refused(packet: str, row: Valid, version: int) -> None:
    first, body = take_apart(row.wire)
    right = set()
    for length in range(len(body)):
        try:
            decode(packet, row, version, first, body[:length])
        except PacketError:
            continue
        right.add(length)
    assert right == row.shorter_bodies


@pytest.mark.parametrize(("packet", "row", "version"), rows("VALID"))
def test_a_byte_too_many_is_refused(packet: str, row: Valid, version: int) -> None:
    first, body = take_apart(row.wire)
    if row.may_grow:
        assert decode(packet, row, version, first, body + b"\0") is not None
    else:
        with pytest.raises(PacketError):
            decode(packet, row, version, first, body + b"\0")


@pytest.mark.parametrize(("packet", "row", "version"), rows("FAULTY"))
def test_a_wrong_packet_is_refused(packet: str, row: Faulty, version: int) -> None:
    first, body = take_apart(row.wire)
    with pytest.raises(PacketError) as caught:
        decode(packet, row, version, first, body)
    assert caught.value.reason_code == row.reason_code, str(caught.value)
    if row.rule:
        assert caught.value.rule == row.rule


@pytest.mark.parametrize(("packet", "row", "version"), rows("VALID"))
def test_any_byte_changed_is_a_packet_or_refused(packet: str, row: Valid, version: int) -> None:
    """Nothing but PacketError may come out of the decoder, whatever stands in a packet."""
    first, body = take_apart(row.wire)
    codes = set()
    for at in range(len(body)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            try:
                decode(packet, row, version, first, body[:at] + bytes((value,)) + body[at + 1 :])
            except PacketError as error:
                codes.add(error.reason_code)
    assert codes <= {0x81, 0x82, 0x84, 0x90}
