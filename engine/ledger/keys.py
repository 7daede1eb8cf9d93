"""Where the ledger's key lies, and the vault made of it."""

import os
import secrets
import stat
from pathlib import Path

from engine.errors import LedgerError, SetupError
from engine.files import append, sync
from engine.settings import Settings
from engine.vault import KEY_BYTES, Vault


def load_vault(settings: Settings, *, may_create: bool) -> Vault:
    """Get the key from PASTICHE_KEY or its file; made at the first start, never beside an old ledger."""
    if settings.key is not None:
        try:
            return Vault(bytes.fromhex(settings.key.get_secret_value().strip()))
        except ValueError:
            raise LedgerError("PASTICHE_KEY is not a key (64 hex characters).") from None
    return Vault(load_key(key_file(settings), may_create=may_create))


def has_key(settings: Settings) -> bool:
    return settings.key is not None or key_file(settings).exists()


def key_file(settings: Settings) -> Path:
    """Name the key's file: outside the data folder, one for each data folder."""
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
    """Read the data folder's own random name for its key, so that the folder may be moved."""
    path = home / "key-name"
    if not path.exists():
        return _made_once(path, secrets.token_hex(8))
    return path.read_text(encoding="ascii").strip()


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
        try:
            return bytes.fromhex(_made_once(path, secrets.token_hex(KEY_BYTES)))
        except OSError as error:
            raise SetupError(
                f"The key file {path} cannot be written ({error.strerror}). Name another place with "
                "PASTICHE_KEY_FILE, outside the data folder."
            ) from error
    if stat.S_IMODE(mode) & (0o007 if _is_credential(path) else 0o077):
        raise SetupError(f"Others can read the key file {path}. Run: chmod 600 '{path}'")
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise SetupError(f"The key file {path} is not a key (64 hex characters).") from error
    except OSError as error:
        raise SetupError(f"The key file {path} cannot be read: {error.strerror}.") from error


def _is_credential(path: Path) -> bool:
    """Tell whether systemd hands it to us: by an access list, which shows as the group's right."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.parent == Path(str(folder))


def _made_once(path: Path, text: str) -> str:
    """Write a file aside, then link it into place, on disk: never half of one. What it says."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        append(aside, f"{text}\n", private=True)
        os.link(aside, path)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)
    return text
