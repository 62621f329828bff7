"""Which files may run code: those that this user's own i2i exported.

A TorchScript or ``.pt2`` file can carry code, so it is opened only with ``--trust`` or when the report beside it holds
a seal: an HMAC over the file's checksum, made with a random key that only this user can read. Nobody else can make
one, and a file that was changed afterwards no longer fits its own.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from pathlib import Path

from i2i.errors import StorageError
from i2i.files import open_regular

_KEY_FILE = "export_key"
_KEY_BYTES = 32
# What is sealed says what it is, so that no other use of the key could ever pass for this one.
_PURPOSE = b"i2i exported file\n"
_LONGEST_REPORT = 1 << 20


def config_folder() -> Path:
    """``$I2I_CONFIG``, ``$XDG_CONFIG_HOME/i2i`` or ``~/.config/i2i``: what must stay, unlike a cache."""
    configured, common = os.environ.get("I2I_CONFIG"), os.environ.get("XDG_CONFIG_HOME")
    if configured:
        return Path(configured)
    # As the convention has it, a relative path there means nothing.
    return (Path(common) if common and Path(common).is_absolute() else Path("~/.config").expanduser()) / "i2i"


def report_path(path: Path) -> Path:
    """Where the report on the exported file `path` lies: beside it, with ``.json`` after its whole name."""
    return path.with_name(path.name + ".json")


def seal(sha256: str) -> str:
    """The seal of a file with this checksum, as 64 hexadecimal digits; the key is made at the first call.

    Raises:
        StorageError: there is no key that this user alone can read, and none can be made.
    """
    file = config_folder() / _KEY_FILE
    try:
        key = _read_key(file)
        if key is None:
            _make_key(file)
            key = _read_key(file)
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror or error} - choose another folder with I2I_CONFIG") from error
    if key is None:
        raise StorageError(f"{file}: damaged, or others can read or have written it - delete it")
    return _seal(key, sha256)


def is_sealed(path: Path, sha256: str) -> bool:
    """Whether this user's own i2i exported what has this checksum, by the report beside `path`.

    The checksum must be that of the bytes that are going to run: the file may be replaced at any moment.
    """
    try:
        key = _read_key(config_folder() / _KEY_FILE)
        with open_regular(report_path(path)) as file:
            found = json.loads(file.read(_LONGEST_REPORT))["seal"]
        return key is not None and isinstance(found, str) and _fits(key, found, sha256)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return False


def _fits(key: bytes, found: str, sha256: str) -> bool:
    return hmac.compare_digest(_seal(key, sha256).encode(), found.encode())


def _seal(key: bytes, sha256: str) -> str:
    return hmac.new(key, _PURPOSE + sha256.encode(), "sha256").hexdigest()


def _read_key(file: Path) -> bytes | None:
    """The key; None if there is none or it is not secret."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - what is asked below is of this very file
        if os.name == "posix":
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                return None
        key = opened.read(_KEY_BYTES + 1)
    return key if len(key) == _KEY_BYTES else None


def _make_key(file: Path) -> None:
    """Make a key unless there is one: of two processes that try at once, the second takes the first one's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # 0600
    temporary = Path(name)
    try:
        with open(handle, "wb") as opened:  # noqa: PTH123 - the descriptor is open already
            opened.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            _give_name(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, file: Path) -> None:
    """Name a whole file, never over another one."""
    try:
        file.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems know no hard links; the last of two processes wins there.
        if not file.exists():
            temporary.replace(file)
