"""Files that cannot be used: each error with its line, its key, what was expected, and the nearest known word."""

from pathlib import Path

import pytest
from config.reading import errors, written

BAD: dict[str, tuple[str, list[str]]] = {
    "misspelt key": (
        "allow_anonymus = true",
        ['1: error: allow_anonymus: unknown key; did you mean "allow_anonymous"?'],
    ),
    "misspelt table": ("\n[limts]\nx = 1", ['2: error: limts: unknown key; did you mean "limits"?']),
    "key in the wrong table": (
        "[limits]\nallow_anonymous = true\nlevel = 'debug'",
        [
            "2: error: limits.allow_anonymous: unknown key; it belongs to the top of the file, before the first "
            "[table] or [[listeners]] or [[mqtt_sn]]",
            "3: error: limits.level: unknown key; it belongs to [logging]",
        ],
    ),
    "wrong word": (
        "share_strategy = 'roundrobin'",
        [
            '1: error: share_strategy: expected one of "round_robin", "least_inflight", "sticky", "hash_topic", '
            '"hash_publisher"; did you mean "round_robin"; got "roundrobin"'
        ],
    ),
    "number for a word": (
        "durability = 3",
        ['1: error: durability: expected one of "disk", "os", "memory"; got 3'],
    ),
    "number in quotes": (
        "[[listeners]]\nport = '1883'",
        ['2: error: listeners[0].port: expected a whole number from 0 to 65535; got "1883"'],
    ),
    "number too large": (
        "[[listeners]]\n[[listeners]]\nport = 90010",
        ["3: error: listeners[1].port: expected a whole number from 0 to 65535; got 90010"],
    ),
    "true for a number": (
        "[limits]\nreceive_maximum = true",
        ["2: error: limits.receive_maximum: expected a whole number from 1 to 65535; got true"],
    ),
    "number for true": ("response_information = 1", ["1: error: response_information: expected true or false; got 1"]),
    "size without sense": (
        "[limits]\nmax_packet_size = '2 parsecs'\nmax_connect_size = '1M'\nmax_write_buffer = 1.5",
        [
            '2: error: limits.max_packet_size: "parsecs" is not a unit of size: expected B, kB, MB, GB, KiB, MiB or '
            'GiB; got "2 parsecs"',
            '3: error: limits.max_connect_size: the unit "M" is not clear: write "1MB" or "1MiB"; got "1M"',
            '4: error: limits.max_write_buffer: expected a size such as "2MB" or "64KiB" from 1KiB to 1GB; got 1.5',
        ],
    ),
    "time without sense": (
        "keep_alive_maximum = '500ms'\n[limits]\nconnect_timeout = 'soon'\nstop_timeout = -1\ndecision_timeout = inf",
        [
            '1: error: keep_alive_maximum: expected a time in whole seconds such as "30s" from 0s to 65535s; '
            'got "500ms"',
            '3: error: limits.connect_timeout: expected a time such as "500ms", "30s" or "7d"; got "soon"',
            '4: error: limits.stop_timeout: expected a time such as "500ms", "30s" or "7d", at least 0s; got -1',
            '5: error: limits.decision_timeout: expected a time such as "500ms", "30s" or "7d", at least 10ms; got inf',
        ],
    ),
    "value for a table": ("limits = 3", ["1: error: limits: expected a table; got 3"]),
    "table for a list": (
        "[listeners]\nport = 1883",
        ["1: error: listeners: expected an array of tables ([[...]]); got a table"],
    ),
    "items of a list": (
        "[[listeners]]\naddress = [\n  '10.0.0.1',\n  5,\n]\n[listeners.websocket]\norigins = 'https://example.org'",
        [
            "4: error: listeners[0].address[1]: expected a text in quotes; got 5",
            '7: error: listeners[0].websocket.origins: expected an array; got "https://example.org"',
        ],
    ),
    "nothing to listen on": (
        "[[listeners]]\naddress = []",
        ['1: error: listeners[0]: "address" names nothing to listen on'],
    ),
    "one address twice": (
        "[[listeners]]\n[[listeners]]\naddress = ['10.0.0.1', '127.0.0.1']\nallow_anonymous = true",
        ["2: error: listeners[1]: 127.0.0.1:1883 is taken by the listener of noctule.toml:1"],
    ),
    "a map of words": (
        "[logging.levels]\n'noctule.net' = 'verbose'",
        [
            '2: error: logging.levels."noctule.net": expected one of "debug", "info", "warning", "error", "none"; '
            'got "verbose"'
        ],
    ),
    "nobody could connect": (
        "[[listeners]]\naddress = '*'",
        [
            "1: error: listeners[0]: nobody could connect: clients without a user name are not let in, and no plugin "
            "knows others; name one that does (password_file), or set allow_anonymous to true"
        ],
    ),
    "plugin that is not there": (
        "plugins = ['password_file', 'passwordfile']",
        ["1: error: plugins.passwordfile: no plugin of the name passwordfile is installed"],
    ),
    "plugin by another name": (
        "[plugins.inside]\nplugin = 'ldap'",
        ["2: error: plugins.inside.plugin: no plugin of the name ldap is installed"],
    ),
    "plugins of the wrong kind": (
        "plugins = 'password_file'",
        ["1: error: plugins: expected the names of plugins in an array, or a table [plugins.NAME] for each"],
    ),
    "plugin that is no table": (
        "[plugins]\npassword_file = true",
        ["2: error: plugins.password_file: expected a table [plugins.password_file]"],
    ),
    "plugin without a name": (
        "plugins = ['a', 2]",
        [
            "1: error: plugins[1]: expected the name of a plugin, in quotes",
            "1: error: plugins.a: no plugin of the name a is installed",
        ],
    ),
    "not here yet": (
        "share_strategy = 'sticky'\n[[listeners]]\nmount_point = 'a/'\nauthentication = ['a']",
        [
            "4: error: listeners[0].authentication: authentication by listener: not available in this version yet",
        ],
    ),
    "mount point without an end": (
        "[[listeners]]\nmount_point = 'a'",
        [
            '1: error: listeners[0]: "mount_point": expected the beginning of topics that ends with "/", without '
            'wildcards, and no "$" in front'
        ],
    ),
    "halves of a pair": (
        "[[listeners]]\n[listeners.tls]\ncertificate_file = 'a'",
        ['2: error: listeners[0].tls: "certificate_file" and "key_file" go together'],
    ),
    "TLS without a certificate": (
        "[[listeners]]\n[listeners.tls]\nca_file = 'a'",
        ['2: error: listeners[0].tls: expected "certificate_file" and "key_file"'],
    ),
    "client certificates that nobody has signed": (
        "[[listeners]]\n[listeners.tls]\ncertificate_file = 'a'\nkey_file = 'b'\nrequire_certificate = true",
        ['2: error: listeners[0].tls: "require_certificate" needs "ca_file" or "ca_directory": whom to believe'],
    ),
    "a user name from a certificate that nobody has signed": (
        "[[listeners]]\n[listeners.tls]\ncertificate_file = 'a'\nkey_file = 'b'\nuser_name_from = 'uri'",
        ['2: error: listeners[0].tls: "user_name_from" needs "ca_file" or "ca_directory": whom to believe'],
    ),
    "keys without a hint": (
        "[[listeners]]\n[listeners.tls]\ncertificate_file = 'a'\nkey_file = 'b'\npsk_file = 'c'",
        ['2: error: listeners[0].tls: "psk_file" needs "psk_hint", which turns pre-shared keys on'],
    ),
    "half of one more certificate": (
        "[[listeners]]\n[listeners.tls]\ncertificate_file = 'a'\nkey_file = 'b'\n[[listeners.tls.certificates]]\n"
        "key_file = 'c'",
        ['5: error: listeners[0].tls.certificates[0]: "certificate_file" is missing: expected a path in quotes'],
    ),
    "a proxy that anybody may be": (
        "[[listeners]]\n[listeners.proxy]\nprotocol_version = 2",
        [
            '2: error: listeners[0].proxy: "protocol_version" needs "trusted": the proxies, from which alone it is '
            "believed"
        ],
    ),
    "a proxy that is no network": (
        "[[listeners]]\n[listeners.proxy]\ntrusted = ['10.0.0.1/8']",
        ['2: error: listeners[0].proxy: "trusted": 10.0.0.1/8 has host bits set'],
    ),
    "a certificate that version 1 cannot tell": (
        "[[listeners]]\n[listeners.proxy]\ntrusted = ['10.0.0.0/8']\nprotocol_version = 1\nrequire_tls = true",
        ['2: error: listeners[0].proxy: "require_tls" needs version 2 of the PROXY protocol'],
    ),
    "permissions that are none": (
        "[[listeners]]\n[listeners.unix]\nmode = 'rw-rw----'",
        ['2: error: listeners[0].unix: "mode": expected permissions such as "0660"; got "rw-rw----"'],
    ),
    "a path that is none": (
        "[[listeners]]\n[listeners.websocket]\npath = 'mqtt'",
        ['2: error: listeners[0].websocket: "path": expected a path that begins with /; got "mqtt"'],
    ),
    "an origin that is none": (
        "[[listeners]]\n[listeners.websocket]\norigins = ['panel.example']",
        [
            '2: error: listeners[0].websocket: "origins": expected a site as browsers name it, such as '
            '"https://panel.example"; got "panel.example"'
        ],
    ),
    "two unix sockets of one path": (
        "[[listeners]]\npath = '/run/x.sock'\n[[listeners]]\npath = '/run/x.sock'",
        ["3: error: listeners[1]: /run/x.sock is taken by the listener of noctule.toml:1"],
    ),
    "two places to listen on": (
        "[[listeners]]\npath = '/run/x.sock'\nsystemd_socket = 'mqtt'",
        ['1: error: listeners[0]: "path" and "systemd_socket" are two places to listen on: one of them'],
    ),
    "text without quotes": (
        "a = 1\nshare_strategy = sticky",
        ['2: error: not TOML: Invalid value (column 18); texts stand in quotes: share_strategy = "sticky"'],
    ),
    "no equals sign": (
        "[limits]\nmax_packet_size 5",
        ["2: error: not TOML: Expected '=' after a key in a key/value pair (column 17); expected KEY = VALUE"],
    ),
    "key twice": ("pid_file = 'a'\npid_file = 'b'", ["2: error: not TOML: Cannot overwrite a value (column 15)"]),
    "path of another kind": ("pid_file = 3", ["1: error: pid_file: expected a path in quotes; got 3"]),
    "long values are cut": (
        f"durability = '{'x' * 500}'",
        ['1: error: durability: expected one of "disk", "os", "memory"; got "' + "x" * 56 + "..."],
    ),
    "control characters are escaped": (
        'durability = "\\u001b[31m"',
        ['1: error: durability: expected one of "disk", "os", "memory"; got "\\x1b[31m"'],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    assert errors(written(tmp_path, text)) == [f"noctule.toml:{line}" for line in expected]


def test_everything_at_once(tmp_path: Path) -> None:
    """The errors of a whole file, in the order of its lines."""
    texts = [text for name, (text, _) in BAD.items() if text.startswith("[limits]") and name != "no equals sign"]
    body = "\n".join(text.removeprefix("[limits]\n") for text in texts)
    found = errors(written(tmp_path, "typo = 1\n[limits]\n" + body))
    assert len(found) == 1 + sum(len(BAD[name][1]) for name, (text, _) in BAD.items() if text in texts)
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)


def test_no_file(tmp_path: Path) -> None:
    assert errors(tmp_path / "none.toml") == ["none.toml: error: cannot be read: No such file or directory"]
    assert errors(tmp_path / "none.conf") == ["none.conf: error: cannot be read: No such file or directory"]


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    assert errors(tmp_path / "a.toml") == ["a.toml: error: cannot be read: Is a directory"]


def test_not_utf_8(tmp_path: Path) -> None:
    path = written(tmp_path, b"# 1\n# gr\xfc\xdfe\n")
    assert errors(path) == ["noctule.toml:2: error: byte 0xFC is not UTF-8 text"]


def test_byte_order_mark(tmp_path: Path) -> None:
    assert errors(written(tmp_path, "\ufeffpid_file = 'x'")) == []


def test_too_large(tmp_path: Path) -> None:
    path = written(tmp_path, b"#" * 16_777_217)
    assert errors(path) == ["noctule.toml: error: is larger than 16777216 bytes: not a configuration"]


def test_nested_too_deeply(tmp_path: Path) -> None:
    found = errors(written(tmp_path, "a = " + "[" * 100_000))
    assert len(found) == 1
    assert "not TOML" in found[0]


def test_a_listener_cannot_keep_what_the_broker_does_not(tmp_path: Path) -> None:
    text = "durability = 'memory'\n[[listeners]]\nport = 1\n[[listeners]]\nport = 2\ndurability = '{}'\n"
    for level in ("disk", "os"):
        assert errors(written(tmp_path, text.format(level))) == [
            f'noctule.toml:6: error: listeners[1].durability: "{level}" needs a store, and with durability = "memory" '
            'for all (noctule.toml:1) there is none; set that to "disk" and this to "memory" where nothing is to be '
            "kept"
        ]
    assert errors(written(tmp_path, text.format("memory"))) == []
    assert errors(written(tmp_path, text.format("disk")), NOCTULE__DURABILITY="os") == []
