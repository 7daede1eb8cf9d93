"""Encryption of the ledger's text columns, and the keyed lookup by which an asker is found.

One secret of 32 bytes lies in a 0600 file outside the data folder (or in PASTICHE_KEY). Two keys are
derived from it: one seals text (AES-256-GCM, a fresh nonce a value, the column's name as associated
data, so that a value moved to another column does not open), one turns a platform id into a lookup
(HMAC-SHA-256), so that the database alone names nobody.
"""

import hashlib
import hmac
import os
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
    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise SetupError(
                f"The ledger's key must be {KEY_BYTES} bytes; this one has {len(secret)}."
            )
        self._seal = AESGCM(_derive(secret, b"pastiche ledger text"))
        self._lookup = _derive(secret, b"pastiche asker lookup")

    def seal(self, text: str, column: str) -> bytes:
        return self.seal_bytes(text.encode(), column)

    def seal_bytes(self, data: bytes, column: str) -> bytes:
        """Encrypt to version | nonce | ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._seal.encrypt(nonce, data, column.encode())

    def open(self, sealed: bytes, column: str) -> str:
        return self.open_bytes(sealed, column).decode()

    def open_bytes(self, sealed: bytes, column: str) -> bytes:
        """Decrypt. Raises LedgerError for another key, another column or a changed value."""
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
        """Make 64 hex characters: the same for the same person, meaningless without the key."""
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
    vault = getattr(dialect, "pastiche_vault", None)
    if not isinstance(vault, Vault):
        raise LedgerError("The database was opened without its key.")
    return vault
