"""The store as JSON lines: all of it comes back, and a file that is not whole is refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.storage import json_lines
from noctule.storage.json_lines import LineError
from noctule.storage.operations import Operation, PutQueued, PutRetained
from noctule.testing.store_contract import FULL, operations_strategy


def written(operations: list[Operation]) -> str:
    file = io.StringIO()
    assert json_lines.write(operations, file) == len(operations)
    return file.getvalue()


PUTS = operations_strategy().filter(lambda operation: type(operation).__name__.startswith("Put"))


@given(st.lists(PUTS))
def test_all_of_it_comes_back(operations: list[Operation]) -> None:
    found = list(json_lines.read(io.StringIO(written(operations))))
    assert found == operations
    assert [type(row) for row in found] == [type(row) for row in operations]


def test_every_field_comes_back_with_its_type() -> None:
    found = list(json_lines.read(io.StringIO(written(list(FULL)))))
    assert found == list(FULL)
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in FULL]


def test_a_line_can_be_read_by_people() -> None:
    assert written([PutRetained("ü/b".encode(), 5)]).splitlines() == [
        '{"noctule_store": 1}',
        '{"kind": "retained", "topic": "ü/b", "message_id": 5}',
        '{"end": 1}',
    ]


HEAD = '{"noctule_store": 1}\n'
RETAINED = '{"kind": "retained", "topic": "t", "message_id": 5}\n'
QUEUED = written([PutQueued(1, 1, 1, 1, 0, 0, False, b"", b"")]).splitlines()[1] + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the last line is missing"),
        (HEAD, "line 2: the last line is missing"),
        (HEAD + RETAINED, "line 3: the last line is missing"),
        ('{"noctule_store": 2}\n', "line 1: expected .* no export of this version"),
        ("[]\n", "line 1: expected an object"),
        (HEAD + "{\n", "line 2: not JSON"),
        (HEAD + RETAINED + '{"end": 2}\n', "line 3: there are 1 lines, not 2"),
        (HEAD + '{"end": 0}\n' + RETAINED, "line 3: there is more"),
        (HEAD + RETAINED.replace("retained", "kept"), "line 2: kind must be one of message, .* not 'kept'"),
        (HEAD + RETAINED.replace('"kind": "retained", ', ""), "line 2: kind must be"),
        (HEAD + RETAINED.replace('"retained"', "[]"), "line 2: kind must be"),
        (HEAD + RETAINED.replace("topic", "topik"), "line 2: .*missing are topic, unknown are topik"),
        (HEAD + RETAINED.replace("5", '"5"'), "line 2: message_id: '5' is not what"),
        (HEAD + RETAINED.replace("5", "true"), "line 2: message_id: True is not what"),
        (HEAD + RETAINED.replace("5", "5.0"), "line 2: message_id: 5.0 is not what"),
        (HEAD + RETAINED.replace("5", "-5"), "line 2: message_id: -5 is not what"),
        (HEAD + RETAINED.replace("5", str(2**63)), "line 2: message_id"),
        (HEAD + RETAINED.replace('"t"', "null"), "line 2: topic: None is not what"),
        (HEAD + RETAINED.replace('"t"', '"\\ud800"'), "line 2: topic: "),
        (HEAD + QUEUED.replace('"identifiers": ""', '"identifiers": "*"'), "line 2: identifiers: "),
        (HEAD + QUEUED.replace("false", "0"), "line 2: is_released: 0 is not what"),
    ],
)
def test_a_file_that_is_not_as_it_must_be(text: str, message: str) -> None:
    with pytest.raises(LineError, match=message):
        list(json_lines.read(io.StringIO(text)))
