"""Where the ledger's key lies, and the vault made of it."""

import contextlib
import os
import secrets
from pathlib import Path

from engine.errors import LedgerError
from engine.settings import Settings
from engine.vault import Vault, load_key


def load_vault(settings: Settings, *, may_create: bool) -> Vault:
    """The key from PASTICHE_KEY or its file; made at the first start, never beside an old ledger."""
    if settings.key is not None:
        try:
            return Vault(bytes.fromhex(settings.key.get_secret_value().strip()))
        except ValueError:
            raise LedgerError("PASTICHE_KEY is not a key (64 hex characters).") from None
    return Vault(load_key(key_file(settings), may_create=may_create))


def has_key(settings: Settings) -> bool:
    """Whether a key is set or lies in its file."""
    return settings.key is not None or key_file(settings).exists()


def key_file(settings: Settings) -> Path:
    """Where the key lies: outside the data folder, one for each data folder."""
    if settings.key_file is not None:
        path = settings.key_file.expanduser().absolute()
        if settings.key_file == Path() or path.is_dir():
            raise LedgerError("PASTICHE_KEY_FILE must name a file, outside the data folder.")
    else:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        path = config / "pastiche" / "keys" / f"{_key_name(settings.home)}.key"
    if path.resolve().is_relative_to(settings.home.resolve()):
        raise LedgerError(
            f"The key file {path} lies in the data folder, so a copy of the data would carry its own "
            "key. Name another place with PASTICHE_KEY_FILE."
        )
    return path


def _key_name(home: Path) -> str:
    """The data folder's own random name for its key, so that the folder may be moved."""
    path = home / "key-name"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.with_name(f".key-name.{os.getpid()}")
        aside.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return path.read_text(encoding="ascii").strip()
