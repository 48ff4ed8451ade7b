"""Commands on pages whose blocks are taken apart beside the code: docs/plugins.md, docs/transports.md."""

import re

import pytest
from docs.pages import blocks_of, text_of
from docs.terminal import Machine


def indented(page: str) -> list[str]:
    """The commands in blocks that four blanks make."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for part in re.findall(r"\n\n((?:    \S.*\n)+)", prose) for line in part.splitlines()]


def test_the_plugin_in_ten_minutes(machine: Machine) -> None:
    """The file, the configuration, the three commands; who guesses is not let in."""
    program, configuration = blocks_of("docs/plugins.md")[:2]
    (machine.home / "gate.py").write_text(program.text, encoding="utf-8")
    machine.write("noctule.toml", configuration.text)
    run, let_in, refused = indented("docs/plugins.md")[:3]
    broker = machine.leave_running(run)
    machine.type(let_in)
    broker.shows(r"^ann has come in from 127\.0\.0\.1$")
    assert "Not authorized" in machine.type(refused, expect_code=5)
    machine.finish()


def test_certificates_for_a_try(machine: Machine) -> None:
    """The authority and the certificates that docs/transports.md makes, and its command, over a real connection."""
    page = "docs/transports.md"
    (certificates,) = [block for block in blocks_of(page) if block.language == "sh"]
    machine.run_script(certificates)
    machine.write(
        "noctule.toml",
        'allow_anonymous = true\n[[listeners]]\nport = 8883\n[listeners.tls]\ncertificate_file = "server.crt"\n'
        'key_file = "server.key"\nca_file = "ca.crt"\n',
    )
    machine.leave_running("noctule run -c noctule.toml")
    (subscribe,) = indented(page)
    connection = subscribe.partition(" -t ")[0].removeprefix("mosquitto_sub ")
    machine.type(f"mosquitto_pub {connection} -t a/b -m retained -r -q 1")
    assert machine.type(f"{subscribe} -C 1") == "a/b retained\n"
    machine.finish()


@pytest.mark.parametrize("page", ["docs/client.md", "docs/authentication-web.md"])
def test_what_is_indented_there_is_no_command_of_ours(page: str) -> None:
    assert not any(re.match(r"noctule|mosquitto_", line) for line in indented(page))
