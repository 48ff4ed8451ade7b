"""What a password file says, line by line, and all that is wrong with one."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.auth.password_file import PasswordFileError, check_user_name, parse_passwords, read_passwords
from noctule.auth.password_hashes import Argon2Parameters, HashKind, make_hash, parse_hash

HASH = str(make_hash(b"secret", HashKind.SHA512_PBKDF2, iterations=1))
OTHER = str(make_hash(b"other", argon2=Argon2Parameters(8, 1)))


def errors(content: bytes) -> list[str]:
    with pytest.raises(PasswordFileError) as raised:
        parse_passwords(content, "passwd")
    assert HASH not in str(raised.value)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("content", "users"),
    [
        ("", {}),
        ("\n\n", {}),
        (f"alice:{HASH}", {"alice": 1}),
        (f"alice:{HASH}\n", {"alice": 1}),
        (f"alice:{HASH}\r\nbob:{OTHER}\r\n", {"alice": 1, "bob": 2}),
        (f" \talice \t:  {HASH} \t\n", {"alice": 1}),
        (f"# alice:{HASH}\n#\n\nbob:{OTHER}\n", {"bob": 4}),
        (f" # no comment:{HASH}\n".replace(" #", "x#"), {"x# no comment": 1}),
        (f"Alice:{HASH}\nalice:{OTHER}\n", {"Alice": 1, "alice": 2}),
        (f"alice smith:{HASH}\n", {"alice smith": 1}),
        (f"Zoë🦇:{HASH}\n", {"Zoë🦇": 1}),
        (f"$SYS/+/#:{HASH}\n", {"$SYS/+/#": 1}),
        (f"a\u2028b:{HASH}\n", {"a\u2028b": 1}),  # a line end for Python, and none for the file
        (f"{'u' * 65_535}:{HASH}\n", {"u" * 65_535: 1}),
    ],
)
def test_users(content: str, users: dict[str, int]) -> None:
    passwords = parse_passwords(content.encode(), "passwd")
    assert {name: entry.line for name, entry in passwords.entries.items()} == users
    assert all(entry.user_name == name for name, entry in passwords.entries.items())


def test_lines_that_say_nothing_are_told() -> None:
    passwords = parse_passwords(f"# comment\nalice\n \t\r\nbob:{HASH}\n#\nwhat\n".encode(), "passwd")
    assert list(passwords.entries) == ["bob"]
    assert passwords.ignored_lines == (2, 6)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (f":{HASH}", "no user name before the ':'; a comment begins with '#'"),
        (f" \t:{HASH}", "no user name before the ':'; a comment begins with '#'"),
        (":", "no user name before the ':'; a comment begins with '#'"),
        (f" #x:{HASH}", "\"#x\" begins or ends with a blank, or begins with '#', which a file cannot hold"),
        ("bob:", 'no hash for "bob"; set a password with `noctule passwd passwd USER`'),
        (
            "bob:hunter2",
            'the password of "bob" is not hashed; `noctule passwd -U passwd` hashes all that are not',
        ),
        (f"bob:{HASH}:x", '"bob": a bad $7$ hash: expected $7$ITERATIONS$SALT$HASH; set the password anew with '),
        ("bob:$5$x", '"bob": unknown kind of hash: expected one that begins with $argon2id$, $7$ or $6$; set '),
        ("bob:$é", '"bob": a hash with characters that none has; set the password anew with '),
        (f"bo\0b:{HASH}", '"bo\\x00b" has control characters'),
        (f"bo\x1b[31mb:{HASH}", '"bo\\x1b[31mb" has control characters'),
        (f"bo\x85b:{HASH}", '"bo\\x85b" has control characters'),
        (f"{'u' * 65_536}:{HASH}", "a user name of 65536 bytes: expected at most 65535"),
        (f"alice:{OTHER}", '"alice" is there already in line 1: keep one of the two'),
    ],
)
def test_bad_lines(line: str, error: str) -> None:
    (found,) = errors(f"alice:{HASH}\n#\n{line}\ncarol:{HASH}\n".encode())
    assert found.startswith(f"passwd:3: error: {error}")
    assert "hunter2" not in found


def test_bytes_that_are_no_text() -> None:
    assert errors(b"\xff\xfe:" + HASH.encode()) == ["passwd:1: error: the user name is not UTF-8"]
    assert errors(b"\xef\xbb\xbfalice:" + HASH.encode()) == [
        "passwd:1: error: begins with a byte order mark: save it as UTF-8 without one"
    ]


def test_every_error_at_once() -> None:
    content = f"a:plain\nb:{HASH}\nb:{OTHER}\nc\n:{HASH}\nd:$7$0$x$y\n"
    assert [line.split(" ")[0] for line in errors(content.encode())] == [f"passwd:{n}:" for n in (1, 3, 5, 6)]


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), min_size=1, max_size=12)
BLANKS = st.text(" \t\r", max_size=3)


@given(
    st.lists(
        st.one_of(
            st.tuples(NAMES, BLANKS, BLANKS, BLANKS, st.sampled_from([HASH, OTHER])),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n:")),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")).map(lambda text: "#" + text),
        ),
        max_size=8,
        unique_by=lambda item: item[0] if isinstance(item, tuple) else object(),
    ),
    st.booleans(),
)
def test_any_good_file(items: list[tuple[str, str, str, str, str] | str], ends: bool) -> None:
    expected, lines = {}, []
    for item in items:
        if isinstance(item, str):
            lines.append(item)
            continue
        name, before, middle, after, text = item
        try:
            check_user_name(name)
        except ValueError:
            assert name.encode() != name.encode().strip() or name.startswith("#")
            continue
        expected[name] = text
        lines.append(f"{before}{name}{middle}:{before}{text}{after}")
    content = "\n".join(lines) + ("\n" if ends else "")
    passwords = parse_passwords(content.encode(), "passwd")
    assert {name: entry.hash_text for name, entry in passwords.entries.items()} == expected


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"a", b":", b"#", b"\n", b" ", HASH.encode()])).map(b"".join)
)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        passwords = parse_passwords(content, "passwd")
    except PasswordFileError:
        return
    for name, entry in passwords.entries.items():
        check_user_name(name)
        assert parse_hash(entry.hash_text) == entry.hash


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def error(path: Path) -> str:
        with pytest.raises(PasswordFileError) as raised:
            read_passwords(path)
        return str(raised.value)

    none = tmp_path / "none"
    assert error(none) == (
        f"{none}: error: cannot be read: No such file or directory; make it with `noctule passwd -c {none} USER`"
    )
    assert error(tmp_path) == f"{tmp_path}: error: is no file; expected a password file"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert error(pipe) == f"{pipe}: error: is no file; expected a password file"


def test_a_file_through_links(tmp_path: Path) -> None:
    """As Kubernetes mounts it: a link to a link to a folder that is exchanged."""
    data = tmp_path / "..2026"
    data.mkdir()
    (data / "passwd").write_text(f"alice:{HASH}\n")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "passwd").symlink_to("..data/passwd")
    assert list(read_passwords(tmp_path / "passwd").entries) == ["alice"]
