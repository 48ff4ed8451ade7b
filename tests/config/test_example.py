"""The example loads, says every default, and each of its options can be switched on; the schema agrees with it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli
from config.reading import errors, loaded, warnings, written
from config.test_bad_files import BAD
from noctule.config.options import Field, fields_of, is_group, item_of_list
from noctule.config.schema import schema
from noctule.config.settings import Settings
from noctule.config.toml_text import effective_text, example_text

OPTIONS_OFF = [
    number for number, line in enumerate(example_text().splitlines()) if line[:1] == "#" and line[1:2] != " "
]


def test_the_example_is_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, example_text())
    assert loaded(path).settings == Settings()
    assert warnings(path) == []


def test_every_option_is_in_the_example() -> None:
    text = "".join(line.removeprefix("#") for line in example_text().splitlines(keepends=True) if line[:2] != "# ")
    text = text.replace("[plugins.NAME]", "")
    example = tomli.loads(text)

    def look(group: type, table: dict[str, Any]) -> None:
        for field in fields_of(group):
            value = table[field.key]
            if (inner := group_of(field)) is not None:
                look(inner, value[0] if isinstance(value, list) else value)

    look(Settings, example)


def group_of(field: Field) -> type | None:
    for kind in (field.type, item_of_list(field.type)):
        if is_group(kind):
            return kind  # type: ignore[no-any-return]
    return None


@pytest.mark.parametrize("number", OPTIONS_OFF)
def test_an_option_of_the_example_switched_on(tmp_path: Path, number: int) -> None:
    """It is right as it stands there, or this version does not have it, or it is a name to fill in."""
    lines = example_text().splitlines()
    # The header of its table, where that is off as well.
    for before in range(number, -1, -1):
        if lines[before].startswith(("#[", "[")):
            lines[before] = lines[before].removeprefix("#")
            parent = f"#[[{lines[before].strip('[]').partition('.')[0]}]]"
            if parent in lines:
                lines[lines.index(parent)] = parent.removeprefix("#")
            break
    lines[number] = lines[number].removeprefix("#")
    (tmp_path / "conf.d").mkdir()
    for error in errors(written(tmp_path, "\n".join(lines))):
        if "pre-shared keys need Python" in error:
            continue
        assert error.endswith(
            (
                "not available in this version yet",
                "no plugin of the name NAME is installed",
                '"certificate_file" and "key_file" go together',
                'expected "certificate_file" and "key_file"',
                '"password" needs "user_name"',
                'no device could connect: devices are anonymous here, and not let in; give them a "user_name", or set '
                "allow_anonymous to true",
                '"psk_hint" needs "psk_file": the keys',
                "is missing: expected a path in quotes",
                "is missing: expected a text in quotes",
                "is missing: expected an array",
                "is missing: expected an array of tables ([[...]])",
                '"psk_identity" and "psk" go together',
                '"protocol_version" needs "trusted": the proxies, from which alone it is believed',
                "nobody could connect: clients without a user name are not let in, and no plugin knows others; name "
                "one that does (password_file), or set allow_anonymous to true",
            )
        )


def test_what_is_in_effect_is_a_configuration(tmp_path: Path) -> None:
    path = written(
        tmp_path, "allow_anonymous = true\n[limits]\nmax_packet_size = '1.5MB'\n[[listeners]]\naddress = '*'\n"
    )
    first = loaded(path)
    text = effective_text(first.settings, first.positions)
    assert 'max_packet_size = "1500kB"  # ' + f"{path}:3" in text
    assert loaded(written(tmp_path, text, "effective.toml")).settings == first.settings


def test_the_schema_takes_the_example() -> None:
    described = schema()
    json.dumps(described)
    jsonschema.Draft7Validator.check_schema(described)
    jsonschema.Draft7Validator(described).validate(tomli.loads(example_text()))


@pytest.mark.parametrize(
    "name",
    [
        "misspelt key",
        "misspelt table",
        "key in the wrong table",
        "wrong word",
        "number for a word",
        "number in quotes",
        "number too large",
        "true for a number",
        "number for true",
        "value for a table",
        "table for a list",
        "items of a list",
        "a map of words",
        "plugins of the wrong kind",
        "path of another kind",
    ],
)
def test_the_schema_refuses_what_we_refuse(name: str) -> None:
    assert list(jsonschema.Draft7Validator(schema()).iter_errors(tomli.loads(BAD[name][0])))


def test_every_option_is_documented() -> None:
    def look(group: type) -> None:
        for field in fields_of(group):
            assert field.option.doc.endswith("."), f"{group.__name__}.{field.name}"
            if (inner := group_of(field)) is not None:
                look(inner)

    look(Settings)
