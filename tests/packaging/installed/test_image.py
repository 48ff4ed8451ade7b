"""The container image: built by its Dockerfile upon a fresh Debian, and used as an engine would start it."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from noctule.auth.password_hashes import HashKind, make_hash
from packaging_support.debian_root import certificates, pip_configuration, quick_compiler
from packaging_support.scratch_root import (
    DEADLINE_S,
    NO_NAMESPACES,
    Inside,
    has_namespaces,
    lacking,
    overlay,
    publish_and_receive,
    refused,
)
from packaging_support.tutorials import TUTORIALS, Tutorial

ROOT = Path(__file__).parent.parent.parent.parent
MISSING = lacking("buildah", "curl", "debootstrap", "unshare", "nsenter", "mosquitto_pub", "mosquitto_sub")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"the machine lacks {', '.join(MISSING)}"),
    pytest.mark.skipif(not has_namespaces(), reason=f"{NO_NAMESPACES} (tests/cli/test_container.py needs none)"),
]


@dataclass(frozen=True)
class Image:
    """An image that was built: its files, and what it tells an engine."""

    root: Path
    config: dict[str, Any]

    def environment_of(self, user_id: str) -> dict[str, str]:
        """What an engine gives a process of that user."""
        said = dict(one.split("=", 1) for one in self.config["Env"])
        users = (self.root / "etc/passwd").read_text(encoding="utf-8")
        home = re.search(rf"^[^:]+:[^:]*:{user_id}:[^:]*:[^:]*:([^:]+):", users, re.M)
        assert home is not None
        return said | {"HOSTNAME": "test", "HOME": home[1]}

    @contextmanager
    def start(
        self,
        work: Path,
        *words: str,
        environment: dict[str, str] | None = None,
        volumes: dict[str, Path] | None = None,
        user: str | None = None,
        read_only: bool = True,
    ) -> Iterator[Inside]:
        """A container: the entry point with these words, with a folder of ``work`` for each volume it declares."""
        declared = {place: work / "volumes" / place.strip("/") for place in self.config["Volumes"]}
        declared = {place: folder for place, folder in declared.items() if place not in (volumes or {})}
        with overlay(self.root, work / "overlay") as root:
            for place, folder in declared.items():
                if not folder.exists():  # as an engine does with a new volume: what the image has there, and its owner
                    shutil.copytree(root / place.strip("/"), folder)
                    owner = (root / place.strip("/")).stat()
                    os.chown(folder, owner.st_uid, owner.st_gid)
            user_id, _, group_id = (user or self.config["User"]).partition(":")
            with Inside(
                root,
                [*self.config["Entrypoint"], *words],
                self.environment_of(user_id) | (environment or {}),
                user=int(user_id),
                group=int(group_id),
                folder=self.config["WorkingDir"],
                volumes={**declared, **(volumes or {})},
                read_only=read_only,
            ) as inside:
                yield inside


@pytest.fixture(scope="module")
def image(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Every step of the Dockerfile, run; its base is a Debian of our own making in place of the registry's."""
    work = tmp_path_factory.mktemp("image")
    buildah = ["buildah", "--root", f"{work}/root", "--runroot", f"{work}/run", "--storage-driver"]
    # Where the file system is an overlay already there can be no other above it; vfs copies, and takes its time.
    can_overlay = subprocess.run([*buildah, "overlay", "images"], capture_output=True, check=False).returncode == 0
    buildah.append("overlay" if can_overlay else "vfs")

    def run(*words: str) -> str:
        done = subprocess.run([*buildah, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.strip()

    container = run("from", "scratch")
    run("add", "--quiet", container, str(debian))
    run("commit", "--quiet", container, "localhost/debian:base")
    # pip in there reaches the package index as this machine's does, and the compiler is quick.
    settings = work / "pip.conf"
    settings.write_text(pip_configuration("/etc/ssl/host.crt"), encoding="utf-8")
    compiler = quick_compiler(work)
    volumes = {settings: "/etc/pip.conf", compiler: f"/usr/local/bin/{compiler.name}"}
    if authorities := certificates():
        volumes[authorities] = "/etc/ssl/host.crt"
    run(
        *("bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--pull-never", "--tag", "noctule"),
        *("--build-arg", "DEBIAN=localhost/debian:base"),
        *(f"--volume={outside}:{inside}:ro" for outside, inside in volumes.items()),
        str(ROOT),
    )
    config = json.loads(run("inspect", "--type", "image", "noctule"))["Docker"]["config"]
    made = run("from", "--pull-never", "localhost/noctule")
    try:
        yield Image(Path(run("mount", made)), config)
    finally:
        run("umount", "--all")
        shutil.rmtree(work)


def wait_until_ready(inside: Inside) -> None:
    inside.printed(r"Listening on mqtt://\S+:1883")


def wait_until_it_listens(inside: Inside, port: int = 1883) -> None:
    """Where the log goes elsewhere."""
    deadline = time.monotonic() + DEADLINE_S
    while not re.search(
        rf": \w+:{port:04X} \w+:0000 0A", Path(f"/proc/{inside.process}/net/tcp").read_text(encoding="ascii")
    ):
        assert time.monotonic() < deadline, inside.output
        time.sleep(0.05)


def http_status(inside: Inside, path: str, user: tuple[str, str] | None = None) -> int:
    """What a GET of the HTTP port is answered with."""
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:9883{path}"]
    done = inside.beside(*words, *(["-u", ":".join(user)] if user else []))
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def owned(folder: Path, user: int = 1883) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, user, user)
    return folder


#: The folders that a compose file for eclipse-mosquitto mounts, and where.
COMPOSE_VOLUMES = re.findall(
    r"- \./(\S+):(/\S+)$", (ROOT / "packaging/container/compose.yaml").read_text(encoding="utf-8"), re.M
)


def mosquitto_folder(work: Path, config: str, users: Sequence[tuple[str, str]] = ()) -> dict[str, Path]:
    """Those folders, with a configuration."""
    folder = owned(work / "mosquitto")
    for name, _ in COMPOSE_VOLUMES:
        owned(work / name)
    (folder / "config" / "mosquitto.conf").write_text(config, encoding="utf-8")
    lines = [
        f"{name}:{make_hash(password.encode(), HashKind.SHA512_PBKDF2, iterations=101)}\n" for name, password in users
    ]
    (folder / "config" / "passwd").write_text("".join(lines), encoding="utf-8")
    (folder / "config" / "passwd").chmod(0o600)
    os.chown(folder / "config" / "passwd", 1883, 1883)
    return {inside: work / name for name, inside in COMPOSE_VOLUMES}


def test_what_an_engine_is_told(image: Image) -> None:
    config = image.config
    assert config["User"] == "1883:1883"
    assert set(config["ExposedPorts"]) == {"1883/tcp", "9001/tcp", "9883/tcp"}
    assert list(config["Volumes"]) == ["/var/lib/noctule"]
    assert config["Healthcheck"]["Test"] == ["CMD", "noctule-health"]
    assert config["StopSignal"] == "SIGTERM"


def test_what_is_in_it(image: Image) -> None:
    """No compiler, no sources, nothing that others than root can change but the places for state."""
    for name in ("usr/bin/gcc", "src", "opt/noctule/bin/pip", "root/.cache/pip"):
        assert not (image.root / name).exists(), name
    open_to_change = []
    for folder, _, names in os.walk(image.root):
        for name in ["", *names]:
            path = Path(folder, name)
            status = path.lstat()
            writable = status.st_uid == 1883 or (status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX)
            if writable and not stat.S_ISLNK(status.st_mode) and not str(path).startswith(f"{image.root}/dev/"):
                open_to_change.append("/" + str(path.relative_to(image.root)))
    assert sorted(open_to_change) == [
        "/mosquitto",
        "/mosquitto/config",
        "/mosquitto/data",
        "/mosquitto/log",
        "/var/lib/noctule",
    ]


def test_nothing_configured(image: Image, tmp_path: Path) -> None:
    """Its ports are open, with one user, whose password is told once, and nobody else gets in."""
    with image.start(tmp_path) as inside:
        wait_until_ready(inside)
        password = inside.printed(r"password +(\S{20})$")[1]
        user = ("-u", "noctule", "-P", password)
        assert refused(inside)
        assert refused(inside, "-u", "noctule", "-P", "guess")
        assert not refused(inside, *user)
        publish_and_receive(inside, *user)
        inside.printed(r"Listening on ws://\S+:9001")
        assert http_status(inside, "/healthz") == 200
        assert http_status(inside, "/metrics") == 401
        assert http_status(inside, "/metrics", ("noctule", password)) == 200
        health = inside.beside("noctule-health", root=True)
        assert (health.returncode, health.stderr) == (0, "")
        inside.stop()
    stored = (tmp_path / "volumes/var/lib/noctule/passwd").read_text(encoding="utf-8")
    assert re.fullmatch(r"noctule:\$argon2id\$\S+\n", stored)
    assert password not in stored
    with image.start(tmp_path) as inside:  # the same volume again
        wait_until_ready(inside)
        done = inside.beside("mosquitto_sub", *user, "-t", "t", "-C", "1", "-W", "10")
        assert done.returncode == 0, "the retained message is gone"
        assert "not shown again" not in inside.output
        assert password not in inside.output
        assert refused(inside)
        inside.stop()


@pytest.mark.parametrize("how", ["in a variable", "in a file"])
def test_a_first_user(image: Image, tmp_path: Path, how: str) -> None:
    environment = {"NOCTULE_USERNAME": "alice", "NOCTULE_PASSWORD": "s3cret pass"}
    volumes = {}
    if how == "in a file":
        del environment["NOCTULE_PASSWORD"]
        (tmp_path / "secret").write_text("s3cret pass\n", encoding="utf-8")
        volumes["/run/secrets/mqtt"] = tmp_path / "secret"
        environment["NOCTULE_PASSWORD_FILE"] = "/run/secrets/mqtt"
    with image.start(tmp_path, environment=environment, volumes=volumes) as inside:
        wait_until_ready(inside)
        publish_and_receive(inside, "-u", "alice", "-P", "s3cret pass")
        assert http_status(inside, "/metrics", ("alice", "s3cret pass")) == 200
        assert refused(inside)
        assert refused(inside, "-u", "alice", "-P", "s3cret")
        # Neither the log nor the process has it.
        assert "s3cret" not in inside.output
        assert b"s3cret" not in Path(f"/proc/{inside.process}/environ").read_bytes()
        health = inside.beside("noctule-health", root=True)
        assert (health.returncode, health.stderr) == (0, "")
        inside.stop()


def test_another_password_for_the_first_user(image: Image, tmp_path: Path) -> None:
    for password in ("one", "two", "two"):
        with image.start(tmp_path, environment={"NOCTULE_USERNAME": "alice", "NOCTULE_PASSWORD": password}) as inside:
            wait_until_ready(inside)
            publish_and_receive(inside, "-u", "alice", "-P", password)
            assert refused(inside, "-u", "alice", "-P", "one" if password == "two" else "two")
            inside.stop()


COMPOSE_CONFIG = """\
persistence true
persistence_location /mosquitto/data/
log_dest file /mosquitto/log/mosquitto.log
log_dest stdout
listener 1883
password_file /mosquitto/config/passwd
allow_anonymous false
"""


def test_in_place_of_mosquitto(image: Image, tmp_path: Path) -> None:
    """The folders of a compose file for eclipse-mosquitto, as they are."""
    volumes = mosquitto_folder(tmp_path, COMPOSE_CONFIG, [("alice", "old password")])
    with image.start(tmp_path, volumes=volumes) as inside:
        wait_until_ready(inside)
        publish_and_receive(inside, "-u", "alice", "-P", "old password")
        assert refused(inside)
        # What people do next, with docker exec.
        done = inside.beside(
            "mosquitto_passwd", "-H", "sha512-pbkdf2", "-b", "/mosquitto/config/passwd", "bob", "pw", root=True
        )
        assert done.returncode == 0, done.stderr
        inside.signal(signal.SIGHUP)
        inside.printed("The configuration is in effect")
        assert not refused(inside, "-u", "bob", "-P", "pw")
        done = inside.beside("mosquitto_sub", "-u", "bob", "-P", "pw", "-t", "t", "-C", "1", root=True)
        assert done.returncode == 0, done.stderr
        # The home of another user, as `su` and `docker exec --user` leave it.
        done = inside.beside(
            *("env", "HOME=/root", "mosquitto_pub", "-u", "bob", "-P", "pw", "-t", "t", "-m", "x"), root=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert inside.beside("noctule-health", root=True).returncode == 0
        inside.stop()
    assert [path.name for path in (tmp_path / "mosquitto/data").iterdir()]
    assert "Stopped" in (tmp_path / "mosquitto/log/mosquitto.log").read_text(encoding="utf-8")
    assert list((tmp_path / "volumes/var/lib/noctule").iterdir()) == []


def test_mosquitto_with_everybody_let_in(image: Image, tmp_path: Path) -> None:
    """As tutorials have it: the command names a file of Mosquitto's image."""
    with image.start(tmp_path, "mosquitto", "-c", "/mosquitto-no-auth.conf") as inside:
        wait_until_ready(inside)
        publish_and_receive(inside)
        inside.stop()


def test_a_configuration_without_users_and_a_first_user(image: Image, tmp_path: Path) -> None:
    volumes = mosquitto_folder(tmp_path, "listener 1883\n")
    with image.start(tmp_path, volumes=volumes) as inside:  # nobody could connect
        assert inside.wait() == 3
        assert "nobody could connect" in inside.output
    with image.start(
        tmp_path, volumes=volumes, environment={"NOCTULE_USERNAME": "alice", "NOCTULE_PASSWORD": "pw"}
    ) as inside:
        wait_until_ready(inside)
        publish_and_receive(inside, "-u", "alice", "-P", "pw")
        assert refused(inside)
        inside.stop()


def test_our_own_configuration(image: Image, tmp_path: Path) -> None:
    folder = owned(tmp_path / "etc")
    (folder / "noctule.toml").write_text(
        '[[listeners]]\naddress = "*"\n[plugins.password_file]\npath = "passwd"\n', encoding="utf-8"
    )
    (folder / "passwd").write_text("", encoding="utf-8")
    os.chown(folder / "passwd", 1883, 1883)
    with image.start(
        tmp_path,
        volumes={"/etc/noctule": folder},
        environment={"NOCTULE_USERNAME": "alice", "NOCTULE_PASSWORD": "pw"},
    ) as inside:
        inside.printed("Configured by /etc/noctule/noctule.toml")
        wait_until_ready(inside)
        publish_and_receive(inside, "-u", "alice", "-P", "pw")
        inside.stop()
    assert (folder / "passwd").read_text(encoding="utf-8").startswith("alice:$argon2id$")


def test_a_volume_that_is_not_ours(image: Image, tmp_path: Path) -> None:
    """It is said what to do; as root the entry point does it, and then is root no more."""
    volumes = {"/var/lib/noctule": tmp_path / "data"}
    (tmp_path / "data").mkdir(mode=0o755)
    with image.start(tmp_path, volumes=volumes) as inside:
        assert inside.wait() == 1
        assert "chown 1883:1883" in inside.output
    with image.start(tmp_path, volumes=volumes, user="0:0") as inside:
        wait_until_ready(inside)
        status = Path(f"/proc/{inside.process}/status").read_text(encoding="ascii")
        assert re.search(r"^Uid:\s+1883\s+1883\s+1883", status, re.M)
        assert re.search(r"^Gid:\s+1883\s+1883\s+1883", status, re.M)
        assert re.search(r"^CapEff:\s+0+$", status, re.M)
        inside.stop()


@pytest.fixture(scope="module")
def paho(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two generations of paho-mqtt, each in a folder."""
    folders = {}
    for version in ("1", "2"):
        folders[version] = tmp_path_factory.mktemp("paho") / version
        words = ["pip", "install", "-q", "--no-deps", "--target", str(folders[version]), f"paho-mqtt=={version}.*"]
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.name)
def test_tutorials(image: Image, paho: dict[str, Path], tutorial: Tutorial, tmp_path: Path) -> None:
    """As they stand, against the container as they start it."""
    volumes = {}
    if tutorial.config:
        volumes = mosquitto_folder(tmp_path, tutorial.config, [(tutorial.user, tutorial.password)])
    with image.start(tmp_path, *tutorial.command, volumes=volumes) as inside:
        wait_until_it_listens(inside)
        done = inside.beside(
            *("env", f"PYTHONPATH={paho[tutorial.paho]}", "PYTHONDONTWRITEBYTECODE=1"),
            *(sys.executable, "-W", "ignore::DeprecationWarning", "-c", tutorial.program),
        )
        assert (done.returncode, done.stderr, done.stdout.splitlines()) == (0, "", tutorial.printed), inside.output
        inside.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_broker(image: Image, tmp_path: Path, number: signal.Signals) -> None:
    """It is the first process, to which the system delivers only signals that it asked for."""
    with image.start(tmp_path) as inside:
        wait_until_ready(inside)
        inside.signal(number)
        assert inside.wait() == 0
        inside.printed("Stopped")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("noctule", "--version"), r"noctule \d"),
        (("passwd", "-c", "-b", "-", "alice", "pw"), r"alice:\$argon2id\$"),
        (("sh", "-c", "id -u"), r"^1883$"),
        (("--help",), "usage: noctule run"),
    ],
)
def test_other_programs(image: Image, tmp_path: Path, words: tuple[str, ...], printed: str) -> None:
    with image.start(tmp_path, *words) as inside:
        assert inside.wait() == 0, inside.output
        inside.printed(printed)


def test_the_health_of_a_broker_that_hangs(image: Image, tmp_path: Path) -> None:
    with image.start(tmp_path) as inside:
        wait_until_ready(inside)
        inside.signal(signal.SIGSTOP)
        health = inside.beside("noctule-health", root=True)
        assert health.returncode == 1
        assert "timed out" in health.stderr
        inside.signal(signal.SIGCONT)
        inside.stop()
