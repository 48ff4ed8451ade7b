"""The Debian package: built, looked into, installed into a fresh Debian, used, removed and purged."""

import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging_support.debian_root import quick_compiler
from packaging_support.scratch_root import (
    NO_NAMESPACES,
    Inside,
    has_namespaces,
    lacking,
    overlay,
    publish_and_receive,
    refused,
)

ROOT = Path(__file__).parent.parent.parent.parent
MISSING = lacking("debootstrap", "dpkg-deb", "unshare", "nsenter", "mosquitto_pub", "mosquitto_sub")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"the machine lacks {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    # As somebody has it who works in no environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"CC": str(quick_compiler(folder)), "DPKG_DEB_COMPRESSOR_LEVEL": "0"}
    done = subprocess.run(
        ["sh", str(ROOT / "packaging/debian/build.sh"), str(folder)],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def contents(package: Path) -> dict[str, tarfile.TarInfo]:
    """Everything that is in it, by its absolute path."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            return {member.name.removeprefix("."): member for member in archive}


@pytest.fixture(scope="module")
def machine(package: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh Debian with the package installed by apt, which finds what it depends on."""
    if not has_namespaces():
        pytest.skip(f"{NO_NAMESPACES} (test_it_works_where_it_is_unpacked needs none)")
    with overlay(request.getfixturevalue("debian"), tmp_path_factory.mktemp("machine")) as root:
        shutil.copy(package, root / "root")
        inside(root, "apt-get", "install", "-y", "-q", "--no-install-recommends", f"/root/{package.name}")
        yield root


def inside(root: Path, *words: str) -> str:
    """Run a program in the folder as root there, with the network of this machine; what it printed."""
    done = subprocess.run(
        ["chroot", str(root), *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(root: Path) -> Inside:
    """The broker as its unit starts it."""
    unit = (root / "usr/lib/systemd/system/noctule.service").read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=(.*)$", unit, re.M)
    assert command is not None
    user, group = inside(root, "id", "-u", "noctule"), inside(root, "id", "-g", "noctule")
    return Inside(
        root,
        command[1].split(),
        {"PATH": "/usr/bin:/bin"},
        user=int(user),
        group=int(group),
        folder="/var/lib/noctule",
    )


def test_where_things_are(contents: dict[str, tarfile.TarInfo]) -> None:
    for path in (
        "/usr/bin/noctule",
        "/usr/lib/systemd/system/noctule.service",
        "/usr/lib/systemd/system/noctule.socket",
        "/usr/lib/sysusers.d/noctule.conf",
        "/usr/lib/tmpfiles.d/noctule.conf",
        "/etc/noctule/noctule.toml",
        "/etc/noctule/conf.d/README",
        "/etc/logrotate.d/noctule",
        "/usr/share/man/man1/noctule.1.gz",
        "/usr/share/bash-completion/completions/noctule",
        "/usr/share/zsh/vendor-completions/_noctule",
        "/usr/share/fish/vendor_completions.d/noctule.fish",
        "/usr/share/doc/noctule/copyright",
    ):
        assert contents[path].isfile(), path
        assert contents[path].size, path
    assert {path.split("/")[1] for path in contents if path.strip("/")} == {"etc", "usr"}
    assert all((member.uid, member.gid) == (0, 0) for member in contents.values())
    assert not [path for path, member in contents.items() if member.mode & 0o022 and not member.issym()]
    assert not [path for path in contents if path.endswith((".pyc", "/direct_url.json"))]


def test_it_does_not_know_where_it_was_built(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    knows = subprocess.run(
        ["grep", "-rlaE", r"/tmp/tmp\.[A-Za-z0-9]{10}", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert knows.stdout == ""


def test_what_it_says_of_itself(package: Path) -> None:
    def field(name: str) -> str:
        done = subprocess.run(["dpkg-deb", "-f", str(package), name], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    version = re.search(r'"(.*)"', (ROOT / "broker/_version.py").read_text(encoding="utf-8").splitlines()[-1])
    assert version is not None
    assert field("Version") == f"{version[1]}-1"
    assert re.search(r"python3 \(>= 3\.\d+~\), python3 \(<< 3\.\d+~\)", field("Depends"))
    conffiles = subprocess.run(
        ["dpkg-deb", "-I", str(package), "conffiles"], capture_output=True, text=True, check=True
    )
    assert conffiles.stdout.split() == [
        "/etc/logrotate.d/noctule",
        "/etc/noctule/conf.d/README",
        "/etc/noctule/noctule.toml",
    ]


def test_it_works_where_it_is_unpacked(package: Path, tmp_path: Path) -> None:
    """Its command, with this machine's Python, in no root of its own."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    command = (tmp_path / "usr/bin/noctule").read_text(encoding="utf-8")
    interpreter, options = command.splitlines()[0].removeprefix("#!").split()
    script = shutil.copy(ROOT / "packaging/try_wheel.py", tmp_path)
    python = f"{tmp_path}{interpreter}"
    done = subprocess.run([python, options, "-B", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [python, options, str(tmp_path / "usr/bin/noctule"), "check", "-c", str(tmp_path / "etc/noctule/noctule.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_installed(machine: Path) -> None:
    assert inside(machine, "noctule", "--version").startswith("noctule ")
    assert inside(machine, "stat", "-c", "%U:%G %a", "/etc/noctule/conf.d") == "root:noctule 750\n"
    assert inside(machine, "stat", "-c", "%U:%G %a", "/var/lib/noctule") == "noctule:noctule 750\n"
    assert inside(machine, "getent", "passwd", "noctule").strip().endswith(":/var/lib/noctule:/usr/sbin/nologin")
    inside(machine, "noctule", "check", "-c", "/etc/noctule/noctule.toml")
    assert (machine / "etc/systemd/system/multi-user.target.wants/noctule.service").is_symlink(), "it is not enabled"
    assert "OK" in inside(
        machine, "sh", "-c", "cd / && md5sum --quiet -c /var/lib/dpkg/info/noctule.md5sums && echo OK"
    )


def test_the_callers_environment_changes_nothing(machine: Path) -> None:
    (machine / "tmp/trio.py").write_text("raise SystemExit('the wrong trio')\n", encoding="utf-8")
    assert inside(machine, "env", "-C", "/tmp", "PYTHONPATH=/tmp", "noctule", "--version").startswith("noctule ")


def test_as_it_is_installed_it_is_for_this_machine_alone(machine: Path) -> None:
    with start(machine) as broker:
        broker.printed(r"INFO Listening on mqtt://127\.0\.0\.1:1883")
        publish_and_receive(broker)
        listening = Path(f"/proc/{broker.process}/net/tcp").read_text(encoding="ascii")
        listening += Path(f"/proc/{broker.process}/net/tcp6").read_text(encoding="ascii")
        assert set(re.findall(r": (\w+):\w{4} \w+:0000 0A", listening)) == {"0100007F"}
        broker.stop()


def test_other_machines_are_let_in(machine: Path) -> None:
    """As the comment in the configuration says."""
    text = (machine / "etc/noctule/noctule.toml").read_text(encoding="utf-8")
    commands = "\n".join(line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   "))
    assert commands.count("\n") == 3
    # The password comes by standard input there, and there is no service manager.
    commands = commands.replace("noctule passwd", "echo secret | noctule passwd").replace(
        "systemctl restart noctule", ":"
    )
    inside(machine, "sh", "-ec", commands)
    with start(machine) as broker:
        broker.printed(r"INFO Listening on mqtt://0\.0\.0\.0:1883")
        assert refused(broker)
        publish_and_receive(broker, "-u", "alice", "-P", "secret")
        # Another user, by a reload.
        inside(machine, "noctule", "passwd", "-b", "/etc/noctule/conf.d/passwd", "bob", "pw")
        broker.signal(signal.SIGHUP)
        broker.printed("The configuration is in effect")
        assert not refused(broker, "-u", "bob", "-P", "pw")
        broker.stop()


def test_the_state_stays(machine: Path) -> None:
    with start(machine) as broker:
        broker.printed("INFO Listening on")
        done = broker.beside("mosquitto_sub", "-u", "alice", "-P", "secret", "-t", "t", "-C", "1", "-W", "10")
        assert done.returncode == 0, done.stderr + broker.output
        broker.stop()


def test_an_upgrade_keeps_what_the_administrator_has(machine: Path, package: Path) -> None:
    with (machine / "etc/noctule/noctule.toml").open("a", encoding="utf-8") as file:
        file.write("\n# mine\n")
    inside(machine, "dpkg", "-i", f"/root/{package.name}")
    assert (machine / "etc/noctule/noctule.toml").read_text(encoding="utf-8").endswith("# mine\n")
    assert (machine / "etc/noctule/conf.d/network.toml").exists()


def test_removed_and_purged(machine: Path) -> None:
    """The last, since nothing is left then."""
    inside(machine, "dpkg", "--remove", "noctule")
    assert not (machine / "usr/lib/noctule").exists()
    assert not (machine / "usr/bin/noctule").exists()
    assert (machine / "etc/noctule/noctule.toml").exists()
    assert (machine / "var/lib/noctule").exists()
    inside(machine, "dpkg", "--purge", "noctule")
    assert not (machine / "var/lib/noctule").exists()
    assert not (machine / "var/log/noctule").exists()
    assert not (machine / "etc/systemd/system/multi-user.target.wants/noctule.service").is_symlink()
    # What the administrator has made stays.
    assert sorted(path.name for path in (machine / "etc/noctule").rglob("*") if path.is_file()) == [
        "network.toml",
        "passwd",
    ]
