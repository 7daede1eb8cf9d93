"""The store that an address names: a folder's or an object store's."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.errors import SetupError
from engine.media.object_store import RemoteStore
from engine.media.store import FolderStore
from engine.vault import Vault

MediaStore = FolderStore | RemoteStore


def open_media(where: Path | str, vault: Vault) -> MediaStore:
    """Open a folder, or an address that fsspec knows. Raises SetupError."""
    if isinstance(where, Path):
        return FolderStore(where, vault)
    parts = urlsplit(where)
    if parts.password or (parts.username and parts.scheme.startswith("s3")):
        raise SetupError(
            "PASTICHE_MEDIA_URL holds a password. Take it out; its variables are the store's own, for "
            "S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return FolderStore(Path(unquote(parts.path)), vault)
    return RemoteStore(where, vault)
