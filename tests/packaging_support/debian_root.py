"""A fresh Debian in a folder, from the mirror that this machine's apt has, with its pip as this machine's is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

#: What pip has to be told in there too. Folders of this machine are not there.
_PIP_SETTINGS = re.compile(r"\.(index-url|extra-index-url|trusted-host|proxy|default-timeout|timeout)='(.*)'$")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def release_of_this_machine() -> str:
    """The code name of its Debian."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.M)
    assert found is not None, text
    return found[1]


def mirror_of(release: str) -> str | None:
    """Where apt gets that release from; None where its sources do not have it."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Release: {release}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return next(iter(done.stdout.split()), None)


def make_debian(release: str, folder: Path) -> Path:
    """A minimal Debian in that folder, in which apt and pip find what this machine's find."""
    mirror = mirror_of(release)
    log = folder.parent / f"{folder.name}.log"
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", release, str(folder), *([mirror] if mirror else [])],
            stdout=output,
            stderr=output,
            check=False,
        )
    assert done.returncode == 0, log.read_text(encoding="utf-8")[-2000:]
    return folder


def pip_configuration(certificates: str) -> str:
    """What pip.conf says in there; ``certificates`` is where this machine's are in there."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    said: dict[str, str] = {}
    # What the environment says comes first there, and counts most.
    for name, value in (match.groups() for line in listed.splitlines() if (match := _PIP_SETTINGS.search(line))):
        words = [word for word in value.split() if not word.startswith("file:")]
        if words:
            said.setdefault(name.removeprefix("default-"), " ".join(words))
    if _CERTIFICATES.is_file():
        said["cert"] = certificates
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in said.items())])


def certificates() -> Path | None:
    """The authorities that this machine trusts, its own among them, as one file."""
    return _CERTIFICATES if _CERTIFICATES.is_file() else None


def quick_compiler(folder: Path, python: str = "/usr/bin/python3") -> Path:
    """A compiler by the name that this Python calls it by; without optimisation, which takes most of a build's time and
    changes nothing that is tested."""
    done = subprocess.run(
        [python, "-c", "import sysconfig; print((sysconfig.get_config_var('CC') or 'cc').split()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    name = Path(done.stdout.strip()).name
    compiler = folder / name
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which(name) or f"/usr/bin/{name}"} "$@" -O0\n', encoding="utf-8")
    compiler.chmod(0o755)
    return compiler
