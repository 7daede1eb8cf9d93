"""Keep pictures: sealed, each under the digest of what is in it, in a folder that a fleet may share."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import MediaError
from engine.files import write_file
from engine.vault import Vault

PURPOSE = "media"
NAME = re.compile(r"[0-9a-f]{64}")


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _translated(fault: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"{fault}: {error.strerror}") from error


class PictureStore:
    """Keep sealed files `aa/aabbcc...`, each whole and synced; every method may raise MediaError."""

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
        """Give the bytes, None when they are gone. Raises LedgerError for those of another key."""
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
        """List what has been there for longer than some seconds, sorted."""
        latest = time.time() - older
        found = (path for path in self._root.glob("??/*") if NAME.fullmatch(path.name))
        return sorted(path.name for path in found if not older or path.stat().st_mtime < latest)

    def check(self) -> None:
        with _translated("The folder of pictures cannot be made"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise MediaError("The folder of pictures cannot be written; mend its permissions.")
