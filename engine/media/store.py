"""Where pictures lie: sealed, each under the digest of what is in it, in a folder or an object store."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from engine.errors import MediaError
from engine.files import write_file
from engine.vault import Vault

PURPOSE = "media"
NAME = re.compile(r"[0-9a-f]{64}")


class MediaStore(Protocol):
    """Keep pictures. All methods may raise MediaError, and block."""

    swept_at_start: bool  # listing it costs little

    def put(self, data: bytes) -> str:
        """Keep the bytes; returns their name. The same bytes are kept once."""

    def get(self, name: str) -> bytes | None:
        """Give the bytes, or None when they are gone (blanked, or never there)."""

    def delete(self, name: str) -> None:
        """Delete the bytes; nothing happens when they are gone."""

    def names(self, older: float = 0.0) -> list[str]:
        """List what has been there for longer than some seconds, sorted."""

    def check(self) -> None:
        """Raise MediaError unless it could be written now."""


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _translated(fault: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"{fault}: {error.strerror}") from error


class FolderStore:
    """Keep sealed files `aa/aabbcc...`, each written whole and synced before it has its name."""

    swept_at_start = True

    def __init__(self, root: Path, vault: Vault) -> None:
        self._root = root
        self._vault = vault

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    def put(self, data: bytes) -> str:
        name = name_of(data)
        path = self._path(name)
        if not path.exists():
            with _translated("A picture cannot be kept"):
                write_file(path, self._vault.seal_bytes(data, PURPOSE), private=True)
        return name

    def get(self, name: str) -> bytes | None:
        """Raise LedgerError for a file that does not open with this key."""
        with _translated("A picture cannot be read"):
            try:
                sealed = self._path(name).read_bytes()
            except FileNotFoundError:
                return None
        return self._vault.open_bytes(sealed, PURPOSE)

    def delete(self, name: str) -> None:
        with _translated("A picture cannot be deleted"):
            self._path(name).unlink(missing_ok=True)

    def names(self, older: float = 0.0) -> list[str]:
        latest = time.time() - older
        found = (path for path in self._root.glob("??/*") if NAME.fullmatch(path.name))
        return sorted(path.name for path in found if not older or path.stat().st_mtime < latest)

    def check(self) -> None:
        with _translated("The folder of pictures cannot be made"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise MediaError("The folder of pictures cannot be written; mend its permissions.")
