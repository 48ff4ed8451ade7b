"""The plugin access_file: both forms of its rules, every error with its line, names meant to deceive, reloads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noctule.api import Access, Action, Broker, Client, PluginError, Positions, PublishRight
from noctule.config.checking import check_table
from noctule.config.loading import load
from noctule.config.problems import ConfigError
from noctule.config.schema import group_schema
from noctule.config.toml_text import toml_value
from noctule.core.access_rules import NO_RULE_COVERS, NO_RULE_MATCHES
from noctule.plugins.access_file import AccessFile, AccessTables

PUBLISH, RECEIVE, SUBSCRIBE = Action.PUBLISH, Action.RECEIVE, Action.SUBSCRIBE


def client(user_name: str | None = "ann", client_id: str = "lamp") -> Client:
    return Client(client_id, user_name, "127.0.0.1", "127.0.0.1:5", "127.0.0.1:1883", 5)


def asked(plugin: AccessFile, user_name: str | None = "ann", client_id: str = "lamp") -> Access:
    """What ``load_access`` answers, which it does without waiting for anything."""
    coroutine = plugin.load_access(client(user_name, client_id))
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    answer: Access = stopped.value.value
    return answer


def rights(access: Access, topic: str) -> str:
    """p, r, s: what is allowed at a topic."""
    letters = "p" * (access.publish_right(topic) is not None) + "r" * access.may_receive(topic)
    return letters + "s" * (access.subscribe_qos_max(topic, None) is not None)


def from_file(path: Path, **options: Any) -> AccessFile:
    return AccessFile(AccessFile.Config(path=path, **options))


def from_text(folder: Path, text: str | bytes, name: str = "acl.conf", **options: Any) -> AccessFile:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return from_file(path, **options)


def errors(folder: Path, text: str | bytes, name: str = "acl.conf") -> list[str]:
    """The lines of the refusal, without the folder."""
    with pytest.raises(PluginError) as refused:
        from_text(folder, text, name)
    return str(refused.value).replace(f"{folder}/", "").splitlines()


# --- Mosquitto's form ----------------------------------------------------------------------

MOSQUITTO = """\
# This affects access control for clients with no username.
topic read $SYS/#
topic write in/#
topic deny in/secret

user roger
topic foo/bar
topic read a b
topic deny foo/never/#

# This affects all clients.
pattern write $SYS/broker/connection/%c/state
pattern read own/%u/#
pattern foo/#
"""

RIGHTS = [
    # user name, topic, what is allowed
    (None, "$SYS/broker/uptime", "rs"),
    (None, "$SYS/broker/connection/lamp/state", "prs"),
    (None, "in/x", "p"),
    (None, "in/secret", ""),
    (None, "own/None/x", ""),
    (None, "foo/bar", "prs"),
    ("roger", "foo/bar", "prs"),
    ("roger", "foo/never/x", ""),
    ("roger", "a b", "rs"),
    ("roger", "in/x", ""),
    ("roger", "$SYS/broker/uptime", ""),
    ("roger", "$SYS/broker/connection/lamp/state", "p"),
    ("roger", "$SYS/broker/connection/other/state", ""),
    ("roger", "own/roger/x", "rs"),
    ("roger", "own/ann/x", ""),
    ("ann", "foo/bar", "prs"),
    ("ann", "own/ann", "rs"),
    ("ann", "a b", ""),
]


@pytest.mark.parametrize(("user_name", "topic", "expected"), RIGHTS)
def test_mosquitto_rules(tmp_path: Path, user_name: str | None, topic: str, expected: str) -> None:
    assert rights(asked(from_text(tmp_path, MOSQUITTO), user_name), topic) == expected


def test_mosquitto_subscriptions(tmp_path: Path) -> None:
    """Granted where a rule covers them, or all of them, as Mosquitto does."""
    ours = asked(from_text(tmp_path, "user ann\ntopic read a/#\n"))
    theirs = asked(from_text(tmp_path, "user ann\ntopic read a/#\n", mosquitto_subscriptions=True))
    for wanted, granted in [("a/b", 2), ("a/#", 2), ("#", None), ("+/secret", None), ("$SYS/#", None)]:
        for share_name in (None, "g"):
            assert ours.subscribe_qos_max(wanted, share_name) == granted
            assert theirs.subscribe_qos_max(wanted, share_name) == 2
    assert [theirs.may_receive(topic) for topic in ("a/b", "b/secret", "$SYS/x")] == [True, False, False]


def test_which_line_decided(tmp_path: Path) -> None:
    access = asked(from_text(tmp_path, MOSQUITTO), "roger")
    assert access.rule_of(PUBLISH, "foo/bar") == "acl.conf:7"
    assert access.rule_of(PUBLISH, "foo/never/x") == "acl.conf:9"
    assert access.rule_of(RECEIVE, "foo/other") == "acl.conf:14"
    assert access.rule_of(RECEIVE, "other") == NO_RULE_MATCHES
    assert access.rule_of(SUBSCRIBE, "#") == NO_RULE_COVERS


WRITABLE = [
    ("$SYS/#", True),
    ("$SYS/broker/#", True),
    ("$SYS/+/connection/+/state", True),
    ("$SYS/broker/connection/x/state/#", True),
    ("$SYS/broker/connection/x/+", True),
    ("$SYS/broker/connection/y/#", False),
    ("$SYS/broker/connection/+/state/x", False),
    ("$SYS/broker/connection/+", False),
    ("$SYS/broker", False),
    ("#", False),
]


@pytest.mark.parametrize(("topic", "may_write_state"), WRITABLE)
def test_nobody_writes_below_sys(tmp_path: Path, topic: str, may_write_state: bool) -> None:
    """But what bridges say of themselves."""
    access = asked(from_text(tmp_path, f"user ann\ntopic {topic}\ntopic $SYSTEM/#\ntopic $share/#\n"))
    assert (access.publish_right("$SYS/broker/connection/x/state") is not None) is may_write_state
    for never in ("$SYS", "$SYS/broker/connection/x", "$SYS/broker/connection/x/state/y", "$SYS/a", "$SYSTEM/x"):
        assert access.publish_right(never) is None
    assert rights(access, "$SYSTEM/x") == "rs"
    assert rights(access, "$share/x") == "s"


MOSQUITTO_ERRORS: list[tuple[str | bytes, list[str]]] = [
    ("topic", ["1: error: topic: the topic is missing: expected topic [read|write|readwrite|deny] TOPIC"]),
    ("pattern \t", ["1: error: pattern: the topic is missing: expected pattern [read|write|readwrite|deny] TOPIC"]),
    ("\nuser", ["2: error: user: the name is missing: expected user NAME"]),
    (
        "topic raed a/b",
        [
            '1: error: topic: "raed" is no access: expected read, write, readwrite or deny before the topic; '
            'did you mean "read"?'
        ],
    ),
    (
        "topic a b",
        ['1: error: topic: "a" is no access: expected read, write, readwrite or deny before the topic'],
    ),
    (
        "topics a",
        ['1: error: unknown line "topics a": expected topic, pattern, user, or # and a comment; did you mean "topic"?'],
    ),
    (
        "x" * 90,
        ['1: error: unknown line "' + "x" * 57 + '...": expected topic, pattern, user, or # and a comment'],
    ),
    (" # x", ["1: error: a comment begins at the start of the line: expected no blanks before #"]),
    ("topic\tread a", ['1: error: expected blanks, not a tab, behind "topic"']),
    ("topic read\ta/b", ["1: error: topic: expected blanks, not a tab, before the topic"]),
    (
        "topic read a+/b",
        ["1: error: topic: 'a+/b' is no topic filter: '+' in a topic filter is not a whole level"],
    ),
    (
        "pattern a/#/b",
        ["1: error: pattern: 'a/#/b' is no topic filter: '#' in a topic filter is not a whole last level"],
    ),
    ("pattern $%c/x", ['1: error: pattern: "$%c": what begins with $ cannot depend on who the client is']),
    (b"topic a\ntopic \xff\n", ["2: error: byte 0xFF is not UTF-8 text"]),
    (b"topic a\0b", ["1: error: the null character is not text"]),
    (
        "topic a\nuzer b\ntopic c\npattern deni %c\n#\nuser \n",
        [
            '2: error: unknown line "uzer b": expected topic, pattern, user, or # and a comment; did you mean "user"?',
            '4: error: pattern: "deni" is no access: expected read, write, readwrite or deny before the topic; '
            'did you mean "deny"?',
            "6: error: user: the name is missing: expected user NAME",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), MOSQUITTO_ERRORS)
def test_every_error_with_its_line(tmp_path: Path, text: str | bytes, expected: list[str]) -> None:
    assert errors(tmp_path, text) == [f"acl.conf:{line}" for line in expected]


EMPTY = "error: no rule for anybody, so that nobody could do anything: write rules, or load no access_file"


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing\n", "user ann\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text) == [f"acl.conf: {EMPTY}"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("acl.conf", "acl.toml"):
        with pytest.raises(
            PluginError, match=r"^.*/acl\.(conf|toml): error: cannot be read: No such file or directory$"
        ):
            from_file(tmp_path / name)
    with pytest.raises(PluginError, match="cannot be read: Is a directory"):
        from_file(tmp_path)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    text = errors(tmp_path, b"#" * 16_777_217)
    assert text == ["acl.conf: error: is larger than 16777216 bytes: not a file of rules"]


def test_what_may_not_be_meant(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = from_text(tmp_path, "user ann\ntopic own/%u\ntopic read\npattern x/%u\n")
    assert [record.getMessage().replace(f"{tmp_path}/", "") for record in caplog.records] == [
        "acl.conf:2: warning: topic: %c and %u stand for themselves here: expected pattern own/%u to have them filled "
        "in",
        'acl.conf:3: warning: topic: allows the topic "read" itself: expected topic read TOPIC',
    ]
    access = asked(plugin)
    assert [rights(access, topic) for topic in ("own/%u", "own/ann", "read", "x/ann")] == ["prs", "", "prs", "prs"]


def test_a_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    plugin = from_text(tmp_path, b"\xef\xbb\xbfuser ann\r\ntopic read a/b\r\n")
    assert rights(asked(plugin), "a/b") == "rs"


def test_what_divides_lines(tmp_path: Path) -> None:
    """Line feeds alone: no other character that some take for the end of a line can hide a rule in a comment."""
    plugin = from_text(tmp_path, "user ann\ntopic a\n# x\vtopic b\x85topic c\u2028topic d\rtopic e\n")
    assert [rights(asked(plugin), topic) for topic in "abcde"] == ["prs", "", "", "", ""]


# --- names meant to deceive ------------------------------------------------------------------

HOSTILE = ["+", "#", "a/b", "ann/#", "+/+", "", "$SYS", "a\0b", "%u", "%c", ".*", "ann/../bob", "^", "ann+"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    """In either placeholder of either form: nobody's but its own level, and no way past what is denied to all."""
    mosquitto = "topic read nothing\npattern own/%c/#\npattern own/%u/#\npattern %u/#\npattern deny all/secret\n"
    toml = """
    [everybody]
    rules = [
        {topic = "own/%c/#", allow = ["publish", "receive", "subscribe"]},
        {topic = "own/%u/#", allow = ["publish", "receive", "subscribe"]},
        {topic = "%u/#", allow = ["publish", "receive", "subscribe"]},
        {topic = "all/secret", deny = ["publish", "receive", "subscribe"]},
    ]
    """
    for plugin in (from_text(tmp_path, mosquitto), from_text(tmp_path, toml, "access.toml")):
        for access in (asked(plugin, name, "lamp"), asked(plugin, "lamp", name), asked(plugin, name, name)):
            for topic in ("own/bob/x", "own/ann", "ann/x", "all/secret", "$SYS/x", "own", "bob", "nothing"):
                assert rights(access, topic) == ""
            for wanted in ("#", "+/#", "own/#", "own/+", "own/+/#", "+/bob/#", "$SYS/#"):
                assert access.subscribe_qos_max(wanted, None) is None
                assert access.subscribe_qos_max(wanted, "group") is None


@pytest.mark.parametrize(("user_name", "client_id"), [("a+b", "x"), ("#", "x"), ("ann", "+"), (None, "x#")])
def test_no_pattern_for_names_with_wildcards(tmp_path: Path, user_name: str | None, client_id: str) -> None:
    """As Mosquitto has it: not even one without a placeholder. What they are given by name stays."""
    file = "topic mine\nuser a+b\ntopic mine\nuser #\ntopic mine\nuser ann\ntopic mine\npattern all/#\npattern deny x\n"
    access = asked(from_text(tmp_path, file), user_name, client_id)
    assert [rights(access, topic) for topic in ("mine", "all/x", "x")] == ["prs", "", ""]
    config = inline(
        "[everybody]\nrules = [{topic = '#', allow = ['publish']}]\n[anonymous]\n", path=str(tmp_path / "acl.conf")
    )
    mixed = asked(AccessFile(config), user_name, client_id)
    assert [rights(mixed, topic) for topic in ("all/x", "x")] == ["p", ""]


def test_a_denied_name_with_a_slash(tmp_path: Path) -> None:
    access = asked(from_text(tmp_path, "pattern a/#\npattern deny a/%u/#\n"), "x/y")
    assert [rights(access, topic) for topic in ("a/x/y", "a/x/y/z", "a/x", "a/y")] == ["", "", "prs", "prs"]


# --- TOML ----------------------------------------------------------------------------------


def inline(text: str, **options: Any) -> AccessFile.Config:
    """The options as ``[plugins.access_file]`` would have them."""
    checked = check_table({**tomli.loads(text), **options}, AccessFile.Config, Positions({}))
    assert isinstance(checked, AccessFile.Config), [problem.line("error") for problem in checked]
    return checked


TOML = """\
[roles.operator]
rules = [
    { topic = "plant/#", allow = ["receive", "subscribe"] },
    { topic = "plant/+/set", allow = ["publish"], max_qos = 1, retain = false },
]

[users.ann]
roles = ["operator"]
rules = [{ topic = "plant/secret/#", allow = ["publish"], deny = ["receive", "subscribe"] }]

[users."+"]
rules = [{ topic = "plus", allow = ["publish"] }]

[groups.night]
members = ["bob", "carl", "ann"]
roles = ["operator"]
rules = [{ topic = "plant/7/#", deny = ["publish", "receive", "subscribe"] }]

[anonymous]
rules = [{ topic = "public/#", allow = ["receive", "subscribe"] }]

[everybody]
rules = [
    { topic = "dev/%c/#", allow = ["publish", "receive", "subscribe"] },
    { topic = "plant/7/door", allow = ["publish", "receive", "subscribe"] },
]
"""

TOML_RIGHTS = [
    ("ann", "plant/1", "rs"),
    ("ann", "plant/1/set", "prs"),
    ("ann", "plant/secret/x", "p"),
    ("ann", "plant/7/x", "rs"),  # her own rules, by her role, come before those of the group
    ("ann", "plant/7/set", "prs"),
    ("bob", "plant/1/set", "prs"),
    ("bob", "plant/7/set", ""),
    ("bob", "plant/7/door", ""),
    ("bob", "plant/secret/x", "rs"),
    ("dora", "plant/7/door", "prs"),
    ("dora", "plant/1", ""),
    ("dora", "dev/lamp/x", "prs"),
    ("dora", "public/x", ""),
    (None, "public/x", "rs"),
    (None, "dev/lamp/x", "prs"),
    ("+", "plus", "p"),
]


@pytest.mark.parametrize(("user_name", "topic", "expected"), TOML_RIGHTS)
def test_toml_rules(tmp_path: Path, user_name: str | None, topic: str, expected: str) -> None:
    """In a file of their own and among the options."""
    for plugin in (from_text(tmp_path, TOML, "access.toml"), AccessFile(inline(TOML))):
        assert rights(asked(plugin, user_name), topic) == expected


def test_how_it_may_be_published(tmp_path: Path) -> None:
    assert asked(from_text(tmp_path, TOML, "access.toml"), "bob").publish_right("plant/1/set") == PublishRight(1, False)


def test_the_place_of_a_rule(tmp_path: Path) -> None:
    in_file = asked(from_text(tmp_path, TOML, "access.toml"))
    among_options = asked(AccessFile(inline(TOML)))
    assert in_file.rule_of(RECEIVE, "plant/1") == "access.toml:3"
    assert in_file.rule_of(RECEIVE, "plant/secret/x") == "access.toml:9"
    assert among_options.rule_of(RECEIVE, "plant/1") == "roles.operator.rules[0]"
    assert among_options.rule_of(RECEIVE, "plant/secret/x") == "users.ann.rules[0]"


def test_options_and_a_file_together(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text("user ann\ntopic read a\npattern b\n")
    plugin = AccessFile(inline("[users.ann]\nrules = [{topic = 'c', allow = ['publish']}]\n", path=str(path)))
    assert [rights(asked(plugin), topic) for topic in "abc"] == ["rs", "prs", "p"]
    assert [rights(asked(plugin, "bob"), topic) for topic in "abc"] == ["", "prs", ""]


def test_who_shares_an_object(tmp_path: Path) -> None:
    text = """
    groups.one = {members = ["ann", "bob", "carl"], rules = [{topic = "x", allow = ["publish"]}]}
    users.carl = {rules = [{topic = "y", allow = ["publish"]}]}
    """
    plugin = from_text(tmp_path, text, "access.toml")
    assert asked(plugin, "ann", "1") is asked(plugin, "bob", "2")
    assert asked(plugin, "dora") is asked(plugin, "eva") is asked(plugin, None)
    assert len({id(asked(plugin, name)) for name in ("ann", "carl", "dora")}) == 3


TOML_ERRORS = [
    ("[users.ann]\nrule = []", ['2: error: users.ann.rule: unknown key; did you mean "rules"?']),
    ("[user.ann]", ['1: error: user: unknown key; did you mean "users"?']),
    (
        "[users.ann]\nrules = [\n{allow = ['publish']}]",
        ['3: error: users.ann.rules[0]: "topic" is missing: expected a text in quotes'],
    ),
    (
        "[everybody]\nrules = [{topic = 'a'}]",
        ['2: error: everybody.rules[0]: expected "allow" or "deny" with some of "publish", "receive", "subscribe"'],
    ),
    (
        "[everybody]\nrules = [\n  {topic = 'a', allow = ['recieve']},\n  {topic = 'a/#/b', deny = ['publish']}\n]",
        [
            '3: error: everybody.rules[0].allow[0]: expected one of "publish", "receive", "subscribe"; did you mean '
            '"receive"; got "recieve"',
            "4: error: everybody.rules[1]: 'a/#/b' is no topic filter: '#' in a topic filter is not a whole last level",
        ],
    ),
    (
        "[anonymous]\nrules = [{topic = 'a', allow = ['publish'], max_qos = 3}]",
        ["2: error: anonymous.rules[0].max_qos: expected a whole number from 0 to 2; got 3"],
    ),
    (
        "[anonymous]\nrules = [{topic = 'a', allow = ['publish'], deny = ['publish']}]",
        ['2: error: anonymous.rules[0]: "publish" is both allowed and denied: one of the two'],
    ),
    (
        "[anonymous]\nrules = [{topic = 'a', deny = ['publish'], retain = false}]",
        ['2: error: anonymous.rules[0]: "max_qos" and "retain" are about what is allowed, and nothing is'],
    ),
    (
        "[roles.reader]\nrules = [{topic = 'a', allow = ['receive']}]\n[users.ann]\nroles = [\n  'raeder']\n"
        "[groups.one]\nmembers = []\nroles = ['writer']",
        [
            '5: error: users.ann.roles[0]: no role "raeder" is defined; did you mean "reader"?',
            '8: error: groups.one.roles[0]: no role "writer" is defined',
        ],
    ),
    (
        "[anonymous]\nrules = [{topic = 'a/%u', allow = ['publish']}]",
        ["2: error: anonymous.rules[0]: %u: these clients have no user name, the rule would never count"],
    ),
    ("[groups.one]\nroles = []", ['1: error: groups.one: "members" is missing: expected an array']),
    ("[users.ann\n", ["1: error: not TOML: Expected ']' at the end of a table declaration (column 11)"]),
]


@pytest.mark.parametrize(("text", "expected"), TOML_ERRORS)
def test_every_error_in_toml(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert errors(tmp_path, text, "access.toml") == [f"access.toml:{line}" for line in expected]


@pytest.mark.parametrize(
    "text", ["", "[users.ann]\nrules = []\n", "[roles.a]\nrules = [{topic = 'a', deny = ['publish']}]\n"]
)
def test_an_empty_file_of_toml(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text, "access.toml") == [f"access.toml: {EMPTY}"]


def loaded_errors(folder: Path, text: str) -> list[str]:
    """What the broker says of a whole configuration."""
    path = folder / "noctule.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path, environment={}, config_of_plugin=lambda name: AccessFile.Config)
    return [problem.line("error").replace(f"{folder}/", "") for problem in refused.value.problems]


def test_errors_among_the_options(tmp_path: Path) -> None:
    assert loaded_errors(tmp_path, "[plugins.access_file]\n") == [
        'noctule.toml:1: error: plugins.access_file: no rule for anybody: expected "path", or rules in "users", '
        '"groups", "anonymous" or "everybody"'
    ]
    text = "[plugins.access_file]\nusers.ann.roles = ['x']\ngroups.b = {members = ['a'], roles = ['y']}\n"
    assert loaded_errors(tmp_path, text) == [
        'noctule.toml:1: error: plugins.access_file: users.ann.roles[0]: no role "x" is defined; '
        'groups.b.roles[0]: no role "y" is defined'
    ]
    text = (
        "[plugins.access_file]\n[plugins.access_file.everybody]\nrules = [\n{topic = '+a', allow = ['publish']},\n{}]\n"
    )
    assert loaded_errors(tmp_path, text) == [
        "noctule.toml:4: error: plugins.access_file.everybody.rules[0]: '+a' is no topic filter: '+' in a topic filter "
        "is not a whole level",
        'noctule.toml:5: error: plugins.access_file.everybody.rules[1]: "topic" is missing: expected a text in quotes',
    ]


def test_a_path_starts_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "acl.conf").write_text("topic a\n")
    path = tmp_path / "noctule.toml"
    path.write_text('[plugins.access_file]\npath = "acl.conf"\n')
    (plugin,) = load(path, environment={}, config_of_plugin=lambda name: AccessFile.Config).settings.plugins
    assert isinstance(plugin.config, AccessFile.Config)
    assert rights(asked(AccessFile(plugin.config), None), "a") == "prs"


def test_the_schema_has_the_options() -> None:
    assert set(group_schema(AccessFile.Config)["properties"]) == {
        *("users", "groups", "roles", "anonymous", "everybody", "path", "mosquitto_subscriptions")
    }


# --- reload --------------------------------------------------------------------------------


class Told(Broker):
    """Stands for the broker, and counts what it is told."""

    def __init__(self) -> None:
        self.changes = 0

    def access_changed(self, client_id: str | None = None) -> None:
        assert client_id is None
        self.changes += 1


def test_a_reload(tmp_path: Path) -> None:
    """Nothing changes before the function is called, nor where the file is wrong."""
    trio.run(reload_in, tmp_path)


async def reload_in(tmp_path: Path) -> None:
    plugin, broker = from_text(tmp_path, "topic a\n"), Told()
    config = AccessFile.Config(path=tmp_path / "acl.conf")
    await plugin.broker_starting(broker)

    async def allowed() -> list[str]:
        access = await plugin.load_access(client(None))
        return [topic for topic in "ab" if access.may_receive(topic)]

    (tmp_path / "acl.conf").write_text("topic b\n")
    apply: Callable[[], None] = await plugin.prepare_reload(config)
    assert (await allowed(), broker.changes) == (["a"], 0)
    apply()
    assert (await allowed(), broker.changes) == (["b"], 1)
    for wrong in ("", "topic a\ntopix\n"):
        (tmp_path / "acl.conf").write_text(wrong)
        with pytest.raises(PluginError, match=r"acl\.conf"):
            await plugin.prepare_reload(config)
        assert (await allowed(), broker.changes) == (["b"], 1)


# --- whatever a file says ------------------------------------------------------------------

MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
WORDS = st.sampled_from(
    [
        "topic",
        "pattern",
        "user",
        "read",
        "write",
        "readwrite",
        "deny",
        "a/b",
        "#",
        "+",
        "a+",
        "$SYS/#",
        "%c",
        "%u/x",
        "ann",
    ]
)
LINES = st.lists(st.lists(WORDS | st.text(max_size=4), max_size=5).map(" ".join), max_size=6).map("\n".join)


def read_or_refused(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    try:
        plugin = from_file(folder / name)
    except PluginError as error:
        for line in str(error).split("\n"):
            assert line.startswith(f"{folder / name}:"), line
            assert ": error: " in line
            assert line.isprintable(), line
            assert len(line) < 1_000
        return
    for user_name, client_id in [("ann", "lamp"), (None, "+"), ("a/b", "$x")]:
        access = asked(plugin, user_name, client_id)
        for topic in ("a", "a/b", "$SYS/x", "ann/x"):
            assert access.may_receive(topic) or access.rule_of(RECEIVE, topic)
            assert access.publish_right(topic) is None or not topic.startswith("$SYS") or name.endswith("toml")


@MANY
@given(st.binary(max_size=200) | LINES.map(str.encode), st.sampled_from(["acl.conf", "acl.toml"]))
def test_any_bytes(tmp_path: Path, content: bytes, name: str) -> None:
    read_or_refused(tmp_path, content, name)


KEYS = st.sampled_from(
    ["users", "groups", "roles", "rules", "members", "anonymous", "everybody", "topic", "allow", "deny"]
)
VALUES = st.recursive(
    st.one_of(WORDS, st.booleans(), st.integers(-1, 3), st.sampled_from(["publish", "receive"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.just("ann"), inner, max_size=4),
    max_leaves=12,
)


@MANY
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_toml(tmp_path: Path, document: dict[str, Any]) -> None:
    text = "\n".join(f"{key} = {toml_value(value)}" for key, value in document.items())
    read_or_refused(tmp_path, text.encode(), "acl.toml")


def test_tables_of_a_file_are_those_of_the_options() -> None:
    assert set(group_schema(AccessTables)["properties"]) < set(group_schema(AccessFile.Config)["properties"])
