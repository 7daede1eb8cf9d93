"""Who owns a data folder: a locked file that says the owner's pid and where it listens."""

import fcntl
import os
from pathlib import Path
from typing import IO

LOCK = "owner.lock"


def take_lock(home: Path, socket: Path, name: str = LOCK) -> IO[str] | None:
    """Lock a data folder; None when another process owns it. Closing the file lets it go."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n{socket}\n")
    file.flush()
    return file


def owners_pid(home: Path, name: str = LOCK) -> str:
    """Read the pid of who holds the lock, or held it last; "?" when nobody ever did."""
    return (_lines(home, name) or ["?"])[0]


def owners_socket(home: Path) -> Path | None:
    """Read where the owner listens, whatever its environment was; None when no owner ever was."""
    lines = _lines(home, LOCK)
    return Path(lines[1]) if len(lines) > 1 else None


def _lines(home: Path, name: str) -> list[str]:
    try:
        return (home / name).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
