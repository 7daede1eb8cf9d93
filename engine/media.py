"""Where pictures lie: sealed files named by the digest of what is in them."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Protocol

from engine.errors import LedgerError
from engine.vault import Vault

PURPOSE = "media"


class MediaStore(Protocol):
    """Real one: FolderStore."""

    def put(self, data: bytes) -> str:
        """Keep the bytes; returns their name. The same bytes are kept once."""

    def get(self, name: str) -> bytes | None:
        """The bytes, or None when they are gone (blanked, or never there)."""

    def delete(self, name: str) -> None:
        """Let go of them; nothing happens when they are gone."""


class FolderStore:
    """A folder `aa/aabbcc...` of sealed files, each written whole and synced before it has its name."""

    def __init__(self, root: Path, vault: Vault) -> None:
        self._root = root
        self._vault = vault

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    def put(self, data: bytes) -> str:
        """See MediaStore. Raises LedgerError when the disk refuses."""
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        if path.exists():
            return name
        aside = path.with_name(f".{name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._vault.seal_bytes(data, PURPOSE))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise LedgerError(f"A picture cannot be kept: {error.strerror}") from error
        return name

    def get(self, name: str) -> bytes | None:
        """See MediaStore. Raises LedgerError for a file that does not open with this key."""
        try:
            sealed = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        return self._vault.open_bytes(sealed, PURPOSE)

    def delete(self, name: str) -> None:
        """See MediaStore."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Everything that is kept."""
        return sorted(path.name for path in self._root.glob("??/*") if path.name[0] != ".")
