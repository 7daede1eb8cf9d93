"""Encryption of the ledger's text columns, and the keyed lookup by which an asker is found.

One secret of 32 bytes lies in a 0600 file outside the data folder (or in PASTICHE_KEY). Two keys are
derived from it: one seals text (AES-256-GCM, a fresh nonce a value, the column's name as associated
data, so that a value moved to another column does not open), one turns a platform id into a lookup
(HMAC-SHA-256), so that the database alone names nobody.
"""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from engine.errors import LedgerError, SetupError

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"


class Vault:
    """Seals, opens and looks up. Shows no key in its repr."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise SetupError(
                f"The ledger's key must be {KEY_BYTES} bytes; this one has {len(secret)}."
            )
        self._seal = AESGCM(_derive(secret, b"pastiche ledger text"))
        self._lookup = _derive(secret, b"pastiche asker lookup")

    def seal(self, text: str, column: str) -> bytes:
        """version | nonce | ciphertext and tag."""
        return self.seal_bytes(text.encode(), column)

    def seal_bytes(self, data: bytes, column: str) -> bytes:
        """version | nonce | ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._seal.encrypt(nonce, data, column.encode())

    def open(self, sealed: bytes, column: str) -> str:
        """Raises LedgerError for another key, another column or a changed value."""
        return self.open_bytes(sealed, column).decode()

    def open_bytes(self, sealed: bytes, column: str) -> bytes:
        """Raises LedgerError for another key, another column or a changed value."""
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            if sealed[:1] != VERSION:
                raise InvalidTag
            return self._seal.decrypt(nonce, body, column.encode())
        except (InvalidTag, ValueError) as error:
            raise LedgerError(
                f"A sealed value of {column} does not open: the ledger was written with another key."
            ) from error

    def lookup(self, platform: str, asker: str) -> str:
        """64 hex characters: the same for the same person, meaningless without the key."""
        message = f"{platform}\0{asker}".encode()
        return hmac.new(self._lookup, message, hashlib.sha256).hexdigest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


class Sealed(TypeDecorator[str]):
    """Text that is encrypted in the database. The vault hangs on the database's own dialect object."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else vault_of(dialect).seal(value, self.column)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else vault_of(dialect).open(bytes(value), self.column)


def vault_of(dialect: Dialect) -> Vault:
    """The vault of the database that this dialect serves."""
    vault = getattr(dialect, "pastiche_vault", None)
    if not isinstance(vault, Vault):
        raise LedgerError("The database was opened without its key.")
    return vault


def load_key(path: Path, *, may_create: bool) -> bytes:
    """Read the key file, or make it at the first start.

    Raises SetupError for a file that others can read, or one that is missing beside an existing
    ledger: without it the sealed text is lost, and a new key would hide that.
    """
    try:
        mode = path.stat().st_mode
    except (PermissionError, NotADirectoryError) as error:
        raise SetupError(f"The key file {path} cannot be reached: {error.strerror}.") from error
    except FileNotFoundError:
        if not may_create:
            raise SetupError(
                f"The ledger's key {path} is missing. Put it back from your backup; without it the "
                "recorded text cannot be read. To start anew, move the data folder away."
            ) from None
        return _create_key(path)
    if stat.S_IMODE(mode) & (0o007 if _is_credential(path) else 0o077):
        raise SetupError(f"Others can read the key file {path}. Run: chmod 600 '{path}'")
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise SetupError(f"The key file {path} is not a key (64 hex characters).") from error
    except OSError as error:
        raise SetupError(f"The key file {path} cannot be read: {error.strerror}.") from error


def _is_credential(path: Path) -> bool:
    """Whether systemd hands it to this service: by an access list, which shows as the group's right."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.parent == Path(str(folder))


def _create_key(path: Path) -> bytes:
    """Write the key, or raise SetupError."""
    try:
        return _link_key(path)
    except OSError as error:
        raise SetupError(
            f"The key file {path} cannot be written ({error.strerror}). Name another place with "
            "PASTICHE_KEY_FILE, outside the data folder."
        ) from error


def _link_key(path: Path) -> bytes:
    """Write the whole file aside, then link it into place: never half a key, never two.

    File and folder are synced, for the ledger may be on disk a moment later.
    """
    secret = secrets.token_bytes(KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    finally:
        aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return secret
