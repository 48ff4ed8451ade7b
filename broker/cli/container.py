"""The entry point of the container image: finds the configuration, makes the first user, becomes the broker.

``python -m noctule.cli.container [OPTIONS OF noctule run | PROGRAM WORDS...]``. docs/container.md says what it does
for those who use the image.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noctule.auth.password_file import PasswordFileError, check_user_name, read_passwords
from noctule.auth.password_file_changes import create_password_file, set_password
from noctule.auth.password_hashes import HashingError, HashKind, make_hash
from noctule.cli.config_file import EXIT_BAD_CONFIG
from noctule.cli.main import whole_command
from noctule.config.loading import Examined, examine
from noctule.config.settings import Durability
from noctule.hooks.loading import authenticates, config_of_plugin

#: Who the broker is in a container, as in Mosquitto's image: volumes of one can be used by the other.
USER_ID: Final = 1883
GROUP_ID: Final = 1883

#: The user that is made where nothing says who may connect.
GENERATED_USER: Final = "noctule"

#: Of a generated password: 120 bits, 20 characters.
_GENERATED_BYTES: Final = 15

_USER_NAME: Final = "NOCTULE_USERNAME"
_PASSWORD: Final = "NOCTULE_PASSWORD"  # noqa: S105
_PASSWORD_FILE: Final = "NOCTULE_PASSWORD_FILE"  # noqa: S105
_DATA: Final = "NOCTULE__DATA_DIRECTORY"
_PLUGIN_PATH: Final = "NOCTULE__PLUGINS__PASSWORD_FILE__PATH"
_HTTP_USER: Final = "NOCTULE__HTTP__USER"
_HTTP_PASSWORD: Final = "NOCTULE__HTTP__PASSWORD"  # noqa: S105
_HTTP_PASSWORD_FILE: Final = "NOCTULE__HTTP__PASSWORD_FILE"  # noqa: S105

#: Compose files and tutorials start Mosquitto's program by name in Mosquitto's image.
_MOSQUITTO: Final = "mosquitto"


class ContainerError(Exception):
    """The broker is not started; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in the image."""

    mosquitto_config: Path = Path("/mosquitto/config/mosquitto.conf")
    mosquitto_data: Path = Path("/mosquitto/data")
    mosquitto_log: Path = Path("/mosquitto/log")
    config: Path = Path("/etc/noctule/noctule.toml")
    data: Path = Path("/var/lib/noctule")

    #: What is used where nothing else is mounted.
    own_config: Path = Path("/usr/share/noctule/container.toml")


@dataclass(frozen=True, slots=True)
class FirstUser:
    """A user that the environment asks for."""

    name: str
    password: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """What is to be run."""

    words: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Settled:
    """What the broker will be told, and what that makes of the configuration."""

    environment: dict[str, str]
    examined: Examined

    #: Where state is kept.
    data: Path

    #: The password file that is ours to fill; None where the configuration decides who gets in.
    password_file: Path | None

    #: The file with the password of the HTTP port, where that is ours to make.
    http_password_file: Path | None


def prepare(words: Sequence[str], environment: Mapping[str, str], layout: Layout) -> Start:
    """What to run for this command line, after all that it needs has been made. ContainerError where that failed."""
    if words and Path(words[0]).name == _MOSQUITTO:
        words = [word for word in words[1:] if word not in ("-d", "--daemon")]
    elif words and not words[0].startswith("-"):
        return Start(_program(words), environment)
    config, rest = find_config(words, layout)
    first_user = first_user_of(environment)
    settled = settle(config, rest, environment, first_user, layout)
    _make_data_directory(settled.data, settled.examined, layout)
    password = None
    if first_user is not None:
        password = first_user.password
        _make_first_user(settled.password_file or _configured_password_file(settled.examined), first_user)
    elif settled.password_file is not None and not settled.password_file.exists():
        password = _generate_user(settled.password_file)
    if settled.http_password_file is not None:
        _keep_http_password(settled.http_password_file, password)
    return Start((sys.executable, "-m", "noctule", "run", "-c", str(config), *rest), settled.environment)


def settle(
    config: Path, words: Sequence[str], environment: Mapping[str, str], first_user: FirstUser | None, layout: Layout
) -> Settled:
    """What the broker will be told beside its command line; nothing is made."""
    # The password stays out of what other programs in the container can read.
    cleaned = {name: value for name, value in environment.items() if name not in (_PASSWORD, _PASSWORD_FILE)}
    examined = _examined(config, cleaned)
    said = examined.document.values.get("data_directory")
    data = _named_data(words) or _path_of_store(examined)
    if data is None:
        if isinstance(said, str) and said:
            data = config.parent / said
        else:
            is_mosquitto = config == layout.mosquitto_config or os.path.ismount(layout.mosquitto_data)
            data = layout.mosquitto_data if is_mosquitto else layout.data
        cleaned[_DATA] = str(data)
    password_file = None
    is_own = config == layout.own_config
    if _PLUGIN_PATH not in cleaned and (is_own or (first_user is not None and not _names_password_file(examined))):
        password_file = data / "passwd"
        cleaned[_PLUGIN_PATH] = str(password_file)
    http_password_file = None
    # Its password cannot be kept as a hash, so a file of its own has it; another configuration says its own.
    if is_own and "http" in examined.document.values and not {_HTTP_PASSWORD, _HTTP_PASSWORD_FILE} & cleaned.keys():
        http_password_file = data / "http-password"
        cleaned[_HTTP_PASSWORD_FILE] = str(http_password_file)
        cleaned.setdefault(_HTTP_USER, GENERATED_USER if first_user is None else first_user.name)
    return Settled(cleaned, _examined(config, cleaned), data, password_file, http_password_file)


def _path_of_store(examined: Examined) -> Path | None:
    """The directory that the options of the store itself name; None where they leave it to ``data_directory``."""
    for plugin in examined.settings.plugins if examined.settings is not None else ():
        path = getattr(plugin.config, "path", None)
        if plugin.plugin == "sqlite_store" and "path" in plugin.options and isinstance(path, Path):
            return path
    return None


def _named_data(words: Sequence[str]) -> Path | None:
    """The directory that the command line names."""
    for index, word in enumerate(words):
        if word == "--data" and index + 1 < len(words):
            return Path(words[index + 1])
        if word.startswith("--data="):
            return Path(word.removeprefix("--data="))
    return None


def find_config(words: Sequence[str], layout: Layout) -> tuple[Path, list[str]]:
    """The configuration to use, and the words of the command line without it."""
    rest = list(words)
    for index, word in enumerate(rest):
        if word in ("-c", "--config", "--config-file") and index + 1 < len(rest):
            return Path(rest[index + 1]), rest[:index] + rest[index + 2 :]
        if word.startswith("--config="):
            return Path(word.removeprefix("--config=")), rest[:index] + rest[index + 1 :]
    for path in (layout.mosquitto_config, layout.config):
        if path.is_file():
            return path, rest
    return layout.own_config, rest


def first_user_of(environment: Mapping[str, str]) -> FirstUser | None:
    """The user that the environment asks for; None where it asks for none. ContainerError for half a user."""
    name, password, file = (environment.get(variable, "") for variable in (_USER_NAME, _PASSWORD, _PASSWORD_FILE))
    if not (name or password or file):
        return None
    if not name:
        raise ContainerError(f"{_PASSWORD if password else _PASSWORD_FILE} is set, and {_USER_NAME} is not: set both")
    if password and file:
        raise ContainerError(f"{_PASSWORD} and {_PASSWORD_FILE} are both set: leave one of them away")
    try:
        check_user_name(name)
    except ValueError as error:
        raise ContainerError(f"{_USER_NAME}: {error}") from None
    secret = os.fsencode(password)
    if file:
        try:
            # Editors and `echo` end the line; a password does not end with one.
            secret = Path(file).read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise ContainerError(f"{_PASSWORD_FILE}: {file} cannot be read: {error.strerror or error}") from None
    if not secret:
        raise ContainerError(f"{_USER_NAME} is set, and its password is empty: set {_PASSWORD} or {_PASSWORD_FILE}")
    return FirstUser(name, secret)


def _program(words: Sequence[str]) -> tuple[str, ...]:
    """Another program, or one of our commands, that is to be run in place of the broker."""
    if words[0] in {command.name for command in whole_command().commands}:
        return (sys.executable, "-m", "noctule", *words)
    found = shutil.which(words[0])
    if found is None:
        raise ContainerError(f"there is no program {words[0]}; options for the broker begin with a dash")
    return (found, *words[1:])


def _examined(config: Path, environment: Mapping[str, str]) -> Examined:
    return examine(config, environment=environment, config_of_plugin=config_of_plugin, authenticates=authenticates)


def _make_data_directory(data: Path, examined: Examined, layout: Layout) -> None:
    """See that state can be kept; as root, hand the folders over and be root no more."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            for folder in (data, layout.mosquitto_log):
                _hand_over(folder)
            os.setgroups([])
            os.setgid(GROUP_ID)
            os.setuid(USER_ID)
    except OSError as error:
        raise ContainerError(f"{data}: {error.strerror or error}; {_advice(data)}") from None
    keeps_state = examined.settings is None or examined.settings.durability is not Durability.MEMORY
    if keeps_state and not os.access(data, os.W_OK | os.X_OK):
        raise ContainerError(f"{data} cannot be written to; {_advice(data)}")


def _advice(data: Path) -> str:
    return (
        f"mount a volume there that user {os.geteuid()} can write to (chown {USER_ID}:{GROUP_ID} it), or start the "
        f"container as root, which does that and then becomes user {USER_ID}; nothing was to be kept in {data}? "
        "set NOCTULE__DURABILITY=memory"
    )


def _hand_over(folder: Path) -> None:
    """Give what is root's in there to the broker's user; what belongs to others stays as it is."""
    if not folder.is_dir():
        return
    for place, names, files in os.walk(folder):
        for name in ("", *names, *files):
            path = os.path.join(place, name)
            if os.lstat(path).st_uid == 0:
                os.chown(path, USER_ID, GROUP_ID, follow_symlinks=False)


def _names_password_file(examined: Examined) -> bool:
    plugins = examined.document.values.get("plugins", {})
    return isinstance(plugins, dict) and any(
        (table.get("plugin", name) if isinstance(table, dict) else name) == "password_file"
        for name, table in plugins.items()
    )


def _configured_password_file(examined: Examined) -> Path | None:
    """The password file that the configuration names; None where it cannot be used, which the broker will tell."""
    for plugin in examined.settings.plugins if examined.settings is not None else ():
        path = getattr(plugin.config, "path", None)
        if plugin.plugin == "password_file" and isinstance(path, Path):
            return path
    return None


def _make_first_user(path: Path | None, user: FirstUser) -> None:
    """Give the user this password, unless it is the one that is there."""
    if path is None:
        return
    try:
        if not path.exists():
            create_password_file(path, user.name, make_hash(user.password, HashKind.ARGON2ID))
            return
        entry = read_passwords(path).entries.get(user.name)
        if entry is None or not entry.hash.matches(user.password):
            set_password(path, user.name, make_hash(user.password, HashKind.ARGON2ID))
    except (PasswordFileError, HashingError, OSError) as error:
        raise ContainerError(f"the user of {_USER_NAME} cannot be made: {error}") from None


def _generate_user(path: Path) -> bytes:
    """Make a user with a password of our own, and tell it: once, since only its hash is kept. The password."""
    password = secrets.token_urlsafe(_GENERATED_BYTES)
    try:
        create_password_file(path, GENERATED_USER, make_hash(password.encode(), HashKind.ARGON2ID))
    except (PasswordFileError, HashingError, OSError) as error:
        raise ContainerError(f"no first user can be made: {error}") from None
    print(
        "noctule: nothing says who may connect, so a user was made:\n"
        f"noctule:     user name  {GENERATED_USER}\n"
        f"noctule:     password   {password}\n"
        "noctule: The password is not shown again. To choose your own, set NOCTULE_USERNAME and NOCTULE_PASSWORD,\n"
        f"noctule: or run: noctule passwd {path} {GENERATED_USER}",
        file=sys.stderr,
        flush=True,
    )
    return password.encode()


def _keep_http_password(path: Path, password: bytes | None) -> None:
    """Have the file say this password; None: what it says, or a new one, which is told once, where it says nothing."""
    try:
        if password is None:
            if path.exists():
                return
            password = secrets.token_urlsafe(_GENERATED_BYTES).encode()
            print(f"noctule: password of the HTTP port: {password.decode()}", file=sys.stderr, flush=True)
        if not path.exists() or path.read_bytes() != password:
            new = path.with_name(f"{path.name}.new")
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(password)
            new.replace(path)
    except OSError as error:
        raise ContainerError(f"the password of the HTTP port cannot be kept: {path}: {error.strerror}") from None


def main(words: Sequence[str] | None = None) -> int:
    """Become what is to be run; it does not return then. 1: it could not be prepared; 3: nothing to configure it by."""
    try:
        start = prepare(sys.argv[1:] if words is None else words, os.environ, Layout())
    except ContainerError as error:
        print(f"noctule: not started: {error}", file=sys.stderr)
        return 1
    try:
        # In our place, so that it is the process that the engine signals and waits for.
        os.execve(start.words[0], start.words, dict(start.environment))  # noqa: S606
    except OSError as error:
        print(f"noctule: {start.words[0]}: {error.strerror or error}", file=sys.stderr)
    return EXIT_BAD_CONFIG


if __name__ == "__main__":
    sys.exit(main())
