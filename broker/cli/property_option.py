"""``-D COMMAND PROPERTY VALUE``: properties of version 5, by the specification's names with dashes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from noctule.cli.option_reading import c_integer, strict_integer
from noctule.cli.outcome import UsageError
from noctule.protocol import PROPERTY_RULES, WILL, PacketType, PropertyId, WireType

#: The packets that properties can be given for; those of others are never asked for by these tools.
_PLACES: Final = {
    "connect": int(PacketType.CONNECT),
    "publish": int(PacketType.PUBLISH),
    "subscribe": int(PacketType.SUBSCRIBE),
    "unsubscribe": int(PacketType.UNSUBSCRIBE),
    "disconnect": int(PacketType.DISCONNECT),
    "will": WILL,
}
_OTHER_COMMANDS: Final = frozenset({"connack", "puback", "pubrec", "pubrel", "pubcomp", "suback", "unsuback", "auth"})
_SIZES: Final = {WireType.BYTE: 0xFF, WireType.TWO_BYTE_INTEGER: 0xFFFF}
_LONG_SIZE: Final = 0xFFFF_FFFF

_BY_NAME: Final = {rule.name.lower().replace(" ", "-"): rule for rule in PROPERTY_RULES.values()}


def property_names(place: int) -> list[str]:
    """The names of the properties that a packet (or ``WILL``) can have."""
    return [name for name, rule in _BY_NAME.items() if place in rule.places]


@dataclass(slots=True)
class GivenProperties:
    """What was given, by packet (or ``WILL``)."""

    by_place: dict[int, dict[PropertyId, Any]] = field(default_factory=dict)

    def of(self, place: int) -> dict[PropertyId, Any]:
        """The properties of one packet."""
        return self.by_place.get(place, {})

    def user_properties(self, place: int) -> tuple[tuple[str, str], ...]:
        """The User Properties of one packet."""
        return tuple(self.of(place).get(PropertyId.USER_PROPERTY, ()))

    def add(self, words: Sequence[str]) -> None:
        """One property: the command, the property, the value; of user-property a name and a value."""
        command, name = words[0].lower(), words[1]
        place = _PLACES.get(command)
        if place is None and command not in _OTHER_COMMANDS:
            raise UsageError(f"Invalid command {words[0]} given in --property argument.")
        rule = _BY_NAME.get(name)
        if rule is None:
            raise UsageError(f"Invalid property name {name} given in --property argument.")
        if place is None:
            raise UsageError(f"{name} property not supported for {words[0]} in --property argument.")
        if place not in rule.places:
            raise UsageError(f"{name} property not allowed for {words[0]} in --property argument.")
        if place == PacketType.PUBLISH and rule.identifier is PropertyId.SUBSCRIPTION_IDENTIFIER:
            raise UsageError(f"{name} property not supported for {words[0]} in --property argument.")
        values = self.by_place.setdefault(place, {})
        if rule.wire_type is WireType.UTF8_STRING_PAIR:
            values.setdefault(rule.identifier, []).append((words[2], words[3]))
            return
        if rule.identifier in values:
            raise UsageError(f"{name} property given twice for {words[0]}.")
        values[rule.identifier] = _value(name, rule.wire_type, words[2])


def words_needed(words: Sequence[str]) -> int:
    """How many words follow ``-D`` here: four where the second names the User Property, else three."""
    return 4 if len(words) > 1 and words[1] == "user-property" else 3


def _value(name: str, wire_type: WireType, text: str) -> int | bytes | str:
    if wire_type is WireType.UTF8_STRING:
        return text
    if wire_type is WireType.BINARY_DATA:
        return text.encode(errors="surrogateescape")
    number = c_integer(text) if wire_type in _SIZES else strict_integer(text)
    if number is None:
        raise UsageError(f"Property value '{text}' not a number.")
    if not 0 <= number <= _SIZES.get(wire_type, _LONG_SIZE):
        raise UsageError(f"Property value ({number}) out of range for property {name}.")
    return number
