"""The systemd files: as systemd reads them, and a broker that runs under the system call filter of its unit."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "packaging" / "systemd"
SERVICE = (UNITS / "noctule.service").read_text(encoding="utf-8")
DEADLINE_S = 30.0

#: Above this `systemd-analyze security` calls a unit exposed; ours is at 1.2.
EXPOSURE_MAX = 1.5


def needs(program: str) -> str:
    """The program's path; the test is skipped where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def values(name: str) -> list[str]:
    """What the service's unit says of this setting, line by line."""
    return re.findall(rf"^{name}=(.*)$", SERVICE, re.M)


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """With a program in place of the one that is not installed here, and no manual."""
    for name in ("noctule.service", "noctule.socket"):
        text = (UNITS / name).read_text(encoding="utf-8").replace("/usr/bin/noctule", "/bin/true")
        text = re.sub(r"^(Documentation|User|Group)=.*\n", "", text, flags=re.M)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "noctule" in line]
    assert (done.returncode, ours) == (0, [])


def test_how_much_the_service_is_exposed() -> None:
    done = subprocess.run(
        [needs("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNITS / "noctule.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level for noctule.service: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= EXPOSURE_MAX


def test_the_user_and_the_folders(tmp_path: Path) -> None:
    """systemd makes them in an empty root."""
    (tmp_path / "etc").mkdir()
    for program, name in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        words = [f"--root={tmp_path}", *(["--create"] if name == "tmpfiles" else []), str(UNITS / f"noctule.{name}")]
        done = subprocess.run([needs(program), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert re.search(r"^noctule:x:\d+:\d+:Noctule", (tmp_path / "etc/passwd").read_text(encoding="utf-8"), re.M)
    assert (tmp_path / "var/lib/noctule").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "etc/noctule/conf.d").is_dir()


def test_logrotate_takes_its_file(tmp_path: Path) -> None:
    text = (UNITS / "noctule.logrotate").read_text(encoding="utf-8")
    text = re.sub(r"^\tsu .*\n|noctule noctule$", "", text, flags=re.M).replace("/var/log/noctule", str(tmp_path))
    (tmp_path / "noctule.log").write_text("a line\n", encoding="utf-8")
    (tmp_path / "rotate").write_text(text, encoding="utf-8")
    (tmp_path / "rotate").chmod(0o644)
    done = subprocess.run(
        [needs("logrotate"), "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rotate")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "noctule.log.1").read_text(encoding="utf-8") == "a line\n"


def test_the_configuration_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    shutil.copy(UNITS / "noctule.toml", tmp_path)
    shutil.copy(UNITS / "conf.d-README", tmp_path / "conf.d" / "README")
    done = subprocess.run(
        [sys.executable, "-m", "noctule", "check", "-c", str(tmp_path / "noctule.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reload_is_what_the_broker_reloads_at() -> None:
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert values("Type") == ["notify"]


#: Run by a Python of its own: fills a filter from the names, shows that it works, and runs the rest of its words.
#: libseccomp is what systemd itself uses.
FILTERED = """
import ctypes, ctypes.util, errno, os, sys
library = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2", use_errno=True)
library.seccomp_init.restype = ctypes.c_void_p
filtering = ctypes.c_void_p(library.seccomp_init(0x00050000 | errno.EPERM))
for name in sys.argv[1].split(","):
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        assert library.seccomp_rule_add(filtering, 0x7FFF0000, number, 0) == 0
assert library.seccomp_load(filtering) == 0
try:
    os.nice(1)
except PermissionError:
    print("filtered", flush=True)
os.execv(sys.argv[2], sys.argv[2:])
"""


def allowed_calls() -> set[str]:
    """The system calls that SystemCallFilter lets through, by systemd's own list of its groups."""

    def of_group(name: str) -> set[str]:
        done = subprocess.run(
            [needs("systemd-analyze"), "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
        )
        found = set()
        for word in (line.strip() for line in done.stdout.splitlines()[1:]):
            if word and not word.startswith("#"):
                found |= of_group(word) if word.startswith("@") else {word}
        return found

    # What systemd lets through whatever is said.
    allowed = of_group("@default")
    for line in values("SystemCallFilter"):
        calls = set().union(*(of_group(word) for word in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | {"execve"}


@pytest.mark.slow
def test_a_broker_under_the_filter(tmp_path: Path) -> None:
    """It starts, keeps state, hashes a password, reloads and stops; what it may not do it does not miss."""
    calls = ",".join(sorted(allowed_calls()))
    (tmp_path / "noctule.toml").write_text(
        f'data_directory = "{tmp_path}/state"\n[[listeners]]\nport = 0\n[plugins.password_file]\npath = "passwd"\n',
        encoding="utf-8",
    )
    noctule = [sys.executable, "-m", "noctule"]
    subprocess.run([*noctule, "passwd", "-c", "-b", str(tmp_path / "passwd"), "alice", "pw"], check=True)
    broker = subprocess.Popen(
        [sys.executable, "-c", FILTERED, calls, *noctule, "run", "-c", str(tmp_path / "noctule.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert broker.stdout is not None
    lines = []
    try:
        for line in broker.stdout:
            lines.append(line)
            if "State is kept in" in line:
                break
        printed = "".join(lines)
        assert "filtered" in printed, printed
        port = re.search(r"mqtt://127\.0\.0\.1:(\d+)", printed)
        assert port is not None, printed
        options = ("-p", port[1], "-u", "alice", "-P", "pw", "-q", "1", "-t", "t")
        subprocess.run([needs("mosquitto_pub"), *options, "-m", "kept", "-r"], check=True, timeout=DEADLINE_S)
        done = subprocess.run(
            [needs("mosquitto_sub"), *options, "-C", "1", "-W", "10"],
            capture_output=True,
            check=True,
            timeout=DEADLINE_S,
        )
        assert done.stdout == b"kept\n"
        broker.send_signal(signal.SIGHUP)
        for line in broker.stdout:
            lines.append(line)
            if "The configuration is in effect" in line:
                break
        broker.send_signal(signal.SIGTERM)
        lines += broker.stdout
        assert broker.wait(DEADLINE_S) == 0, "".join(lines)
        assert "Traceback" not in "".join(lines)
    finally:
        broker.kill()
        broker.wait()
        broker.stdout.close()
