"""The defaults that docs/security.md names are those of the types."""

import re

from docs.pages import text_of
from noctule.config.options import Field, fields_of, is_group, item_of_list
from noctule.config.settings import Settings
from noctule.config.toml_text import field_text

ROW = re.compile(r"^\| [^|]+ \| `([a-z_.]+)` \| (not set|`[^`]+`)[^|]* \|$", re.MULTILINE)


def option(path: str) -> Field:
    group: type = Settings
    *tables, key = path.split(".")
    for table in tables:
        (field,) = [field for field in fields_of(group) if field.key == table]
        inner = item_of_list(field.type) or field.type
        assert is_group(inner)
        group = inner
    (found,) = [field for field in fields_of(group) if field.key == key]
    return found


def test_the_defaults_of_limits() -> None:
    rows = ROW.findall(text_of("docs/security.md"))
    assert len(rows) == 16
    for path, shown in rows:
        field = option(path)
        assert shown == ("not set" if field.default is None else f"`{field_text(field, field.default)}`"), path
