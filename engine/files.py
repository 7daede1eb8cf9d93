"""Write a file or a folder whole: after a kill or a power cut there is the old one or the new one.

What is written lies aside first, and takes its name, synced, by one rename. A `private` one is for its
owner only, and lies aside under a name that no other process and no other thread uses.
"""

import errno
import glob
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

MOST_LOG = 5 << 20

BUILT_IN = Path(str(files("engine"))) / "experts"  # cards that are shipped


def owner_only(path: str, flags: int) -> int:
    """Open a file for its owner only, also one that was there; an `opener`."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def open_log(path: Path) -> IO[bytes]:
    """Open what a child of ours writes to; beyond MOST_LOG bytes it begins anew."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep = path.exists() and path.stat().st_size < MOST_LOG
    return open(path, "ab" if keep else "wb", opener=owner_only)


def write_file(path: Path, data: str | bytes, *, private: bool = False) -> None:
    """Replace a file as a whole, and make its folder. Raises OSError; then the old file stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    with whole_file(path, private=private) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    write_file(path, f"{text}\n", private=private)


def append(path: Path, text: str, *, private: bool = False) -> None:
    """Add text to a file, on disk before this returns."""
    with open(path, "ab", opener=owner_only if private else None) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a path to write to; the file takes the name `path` when the block ends well."""
    part = _aside(path, "part", private=private)
    if private:
        _sweep(path)
        os.close(owner_only(str(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    try:
        yield part
        sync(part)
        part.replace(path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, private: bool = False, replace: bool = True) -> Iterator[Path]:
    """Give a folder to fill; it takes the name `path` when the block ends well. A kill between the two
    renames leaves the old one aside; the next call puts it back first. Raises OSError."""
    part, old = _aside(path, "part", private=private), _aside(path, "old", private=private)
    path.parent.mkdir(parents=True, exist_ok=True)
    restore(path, private=private)
    if private:
        _sweep(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700 if private else 0o777)
    try:
        yield part
        for file in (*part.rglob("*"), part):
            if file.exists():  # a link that leads nowhere does not
                sync(file)
        if path.exists() and any(path.iterdir()):
            if not replace:  # looked at last: another process may have filled it meanwhile
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            path.replace(old)
        part.replace(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def restore(path: Path, *, private: bool = False) -> None:
    """Put back what a kill between two renames left aside; let go of what was replaced."""
    old = _aside(path, "old", private=private)
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(path)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Not every file system can sync a folder; that a file could not be must be heard of.
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aside(path: Path, kind: str, *, private: bool) -> Path:
    if not private:
        return path.with_name(f"{path.name}.{kind}")
    by = f".{os.getpid()}.{threading.get_ident()}" if kind == "part" else ""
    return path.with_name(f".{path.name}{by}.{kind}")


def _sweep(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not alive(left.name.removeprefix(f".{path.name}.").partition(".")[0]):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
